"""What the measurements of rewrites teach the table that ships with trtkit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtkit.artifacts.files import read_json, write_json
from trtkit.graph.rewrites import ALL, apply_all
from trtkit.graph.rewrites.remembered import TABLE, Remembered, regions_of
from trtkit.pipeline.rewrite_ground import MeasuringGround
from trtkit.pipeline.rewrite_place import Place
from trtkit.pipeline.rewrite_search import Names, TimeUpError
from trtkit.stages.export import SourceRequest, export

__all__ = ["prefixes", "prototypes", "remember", "taught"]

PROTOTYPES: tuple[tuple[str, str, tuple[str, ...], float], ...] = (
    ("alexnet", "lrn_band", (), 63086 / 45528),
    ("alexnet", "stem_space_to_depth", ("lrn_band",), 109402 / 63086),
    ("googlenet", "lrn_band", (), 28142 / 22272),
    ("googlenet", "stem_space_to_depth", ("lrn_band",), 35144 / 28142),
)
"""Images/s of graphs rewritten by hand before trtkit had rewrites (FP16, batch 1024): model, rewrite, after, gain."""


def prefixes(chosen: Names) -> list[Names]:
    """The sets that :func:`taught` holds against each other: none, the first, the first two, …"""
    return [chosen[:count] for count in range(len(chosen) + 1)]


def taught(name: str, model: Any, chosen: Names, ground: MeasuringGround, place: Place) -> list[Remembered]:
    """An entry for each rewrite: what it gained on top of those before it."""
    entries = []
    for index, rewrite in enumerate(chosen):
        before, after = chosen[:index], chosen[: index + 1]
        if ground.key(before) == ground.key(after):
            continue
        try:
            result = ground.contest(before, after)
        except TimeUpError:
            break
        if isinstance(result, str):
            continue
        sites = ALL[rewrite].find(apply_all(model, before)[0])
        entries.append(
            Remembered(
                rewrite,
                name,
                regions_of(sites),
                tuple(sorted(before)),
                place.can.family,
                place.can.version or "",
                place.device_name,
                place.precision,
                place.batch,
                round(result.gain, 3),
                tuple(round(end, 3) for end in result.interval) if result.interval else None,  # type: ignore[arg-type]
                "tests.perf.optimize",
            )
        )
    return entries


def prototypes() -> list[Remembered]:
    """The numbers of the hand-made prototypes, for the regions that they were measured on."""
    entries = []
    for name, rewrite, after, gain in PROTOTYPES:
        model = apply_all(export(SourceRequest(name)).model, ("global_pool", *after))[0]
        sites = ALL[rewrite].find(model)
        source = "a graph rewritten by hand, before trtkit's own rewrites"
        entries.append(
            Remembered(
                rewrite, name, regions_of(sites), after, "tensorrt-rtx", "1.6.1", "NVIDIA H100", "fp16", 1024,
                round(gain, 3), None, source,
            )
        )  # fmt: skip
    return entries


def remember(entries: Sequence[Remembered]) -> None:
    """Write entries into the table that ships; those of the same measurement are replaced."""

    def what(entry: Remembered) -> tuple[object, ...]:
        return (entry.family, entry.device, entry.model, entry.precision, entry.batch, entry.after, entry.rewrite)

    old = [Remembered.from_json(entry) for entry in read_json(TABLE)["entries"]]
    merged = {what(entry): entry for entry in (*old, *entries)}
    write_json(TABLE, {"entries": [merged[key].to_json() for key in sorted(merged, key=str)]})
