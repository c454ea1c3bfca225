"""The table of rewrites: each model without them, with the safe ones, and with those that ``auto`` finds.

    python -m tests.perf.optimize OUT                          # ONNX Runtime, two threads of the CPU, not spinning
    python -m tests.perf.optimize OUT --family tensorrt-rtx    # on the GPU at hand, one CUDA graph an execution
    python -m tests.perf.optimize OUT --remember               # and write what was found into the table that ships
    python -m tests.perf.optimize --prototype                  # enter the hand-made prototypes' numbers there

Two graphs at a time are loaded side by side and run in turn (:mod:`trtkit.measurement.contest`), so that a busy machine
slows both; the load is written beside the numbers all the same. OUT gets ``optimize.json`` and ``optimize.md``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trtkit import environment
from trtkit.artifacts.device import Device
from trtkit.artifacts.files import read_json, write_bytes, write_json
from trtkit.backends.base import Capabilities
from trtkit.backends.probing import probe
from trtkit.graph import io
from trtkit.graph.rewrites import ALL, apply_all, named, safe
from trtkit.graph.rewrites.remembered import TABLE, Remembered, regions_of
from trtkit.graph.shapes import resolve_profile
from trtkit.measurement.contest import Contest, ContestRule
from trtkit.pipeline.listener import Silence
from trtkit.pipeline.rewrite_ground import MeasuringGround
from trtkit.pipeline.rewrite_place import Place
from trtkit.pipeline.rewrite_search import Names, TimeUpError, search
from trtkit.pipeline.rewriting import target_of
from trtkit.stages.export import SourceRequest, export

RULE = ContestRule(burst_s=0.15, rounds=12, max_rounds=100, confidence=0.02, limit_s=60.0, until_decided=False)
MODELS = ("alexnet", "googlenet", "resnet50", "squeezenet1_1")
BATCHES = {"cpu": (1, 8), "cuda": (1, 64, 1024)}
PRECISIONS = {"cpu": ("fp32",), "cuda": ("fp16", "fp32")}
GOALS = {
    ("cpu", "alexnet", "fp32", 8): 1.8,
    ("cpu", "googlenet", "fp32", 8): 1.8,
    ("cuda", "alexnet", "fp16", 1024): 2.6,
    ("cuda", "alexnet", "fp16", 1): 2.7,
    ("cuda", "googlenet", "fp16", 1024): 1.8,
    ("cuda", "googlenet", "fp16", 1): 2.5,
    ("cuda", "alexnet", "fp32", 1024): 1.9,
    ("cuda", "googlenet", "fp32", 1024): 1.5,
}
"""What was set out to be reached: kind of device, model, precision, batch → speed over base."""

PROTOTYPES: tuple[tuple[str, str, tuple[str, ...], float], ...] = (
    ("alexnet", "lrn_band", (), 63086 / 45528),
    ("alexnet", "stem_space_to_depth", ("lrn_band",), 109402 / 63086),
    ("googlenet", "lrn_band", (), 28142 / 22272),
    ("googlenet", "stem_space_to_depth", ("lrn_band",), 35144 / 28142),
)
"""Images/s of graphs rewritten by hand before trtkit had rewrites (FP16, batch 1024): model, rewrite, after, gain."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a model in a precision at a batch.

    ``safe`` and ``auto`` are contests against the base; ``None`` where the graph is the base's, or none was held.
    """

    model: str
    precision: str
    batch: int
    safe_names: Names
    auto_names: Names
    safe: Contest | None
    auto: Contest | None
    goal: float | None
    problem: str | None = None
    searched: bool = True

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "safe_names": list(self.safe_names), "auto_names": list(self.auto_names)}


def measured(
    model: str, place: Place, target: str, seconds: float, *, with_auto: bool, entries: list[Remembered] | None
) -> Row:
    """One line, and what it teaches of each safe rewrite."""
    exported = export(SourceRequest(model), for_tensorrt=place.can.suffix == ".plan")
    goal = GOALS.get((place.device.kind, exported.source.name, place.precision, place.batch))
    with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
        candidates = [name for name, item in ALL.items() if not item.changes_interface]
        chosen = tuple(name for name in safe(target) if item_applies(name, exported.model, safe(target)))
        names, problem = chosen, None
        if with_auto:
            # The search asks which is faster, not by how much.
            quick = MeasuringGround(exported, place, Path(folder) / "search", None, seconds, Silence())
            names = search(quick, chosen, candidates, lambda what: print(f"    {what}", file=sys.stderr)).names
        # A clock of its own: what the search took is not taken from the table.
        ground = MeasuringGround(exported, place, Path(folder), None, seconds, Silence(), rule=RULE)
        found: list[Contest | None] = []
        for wanted in (chosen, names) if with_auto else (chosen,):
            if ground.key(wanted) == ground.key(()):
                found.append(None)
                continue
            try:
                result = ground.contest((), wanted)
            except TimeUpError:
                result = "the time was up"
            problem = result if isinstance(result, str) else problem
            found.append(result if isinstance(result, Contest) else None)
        if entries is not None and chosen and found[0] is not None:
            entries += taught(exported.source.name, exported.model, chosen, ground, place)
    name, auto = exported.source.name, found[1] if with_auto else None
    return Row(
        name, place.precision, place.batch, chosen, names, found[0], auto, goal, problem=problem, searched=with_auto
    )


def item_applies(name: str, model: Any, names: Iterable[str]) -> bool:
    """Whether a rewrite finds a place once those before it in ``names`` are done."""
    before = [other for other in ALL if other in names][: [other for other in ALL if other in names].index(name)]
    (item,) = named((name,))
    return bool(item.find(apply_all(model, before)[0]))


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


def markdown(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """The table for people."""
    lines = [
        "# Rewrites: what they gain",
        "",
        f"Made by `{facts['command']}` with {facts['where']}; {facts['how']}.",
        f"Load average of the machine: {facts['load'][0]} at the start, {facts['load'][1]} at the end.",
        "Images/s; in brackets the speed over base and its 95 % interval, from paired ratios.",
        "",
        "| model | precision, batch | base | safe | auto | goal | rewrites |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        base = next((found.first_ms for found in (row.safe, row.auto) if found is not None), None)
        cells = [
            row.model,
            f"{row.precision}, {row.batch}",
            f"{row.batch / base * 1e3:,.0f}" if base else "–",
            _cell(row.safe, row.batch, row.problem),
            _cell(row.auto, row.batch, row.problem) if row.searched else "not run",
            f"{row.goal:g} ×" if row.goal else "",
            ", ".join(row.auto_names if row.searched else row.safe_names) or "none",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(found: Contest | None, batch: int, problem: str | None) -> str:
    if found is None:
        return problem or "the base's graph"
    return f"{batch / found.second_ms * 1e3:,.0f} ({found.text})"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--family", default="onnxruntime")
    parser.add_argument("--models", default=",".join(MODELS), help="definitions and .onnx files, with commas")
    parser.add_argument("--precisions", help="default: fp32 on a CPU, fp16,fp32 on a GPU")
    parser.add_argument("--batches", help="default: 1,8 on a CPU, 1,64,1024 on a GPU")
    parser.add_argument("--threads", type=int, default=2, help="on a CPU")
    parser.add_argument("--seconds", type=float, default=600.0, help="the longest for the measurements of one line")
    parser.add_argument("--no-auto", action="store_true")
    parser.add_argument("--remember", action="store_true")
    parser.add_argument("--prototype", action="store_true")
    given = parser.parse_args(argv)
    if given.prototype:
        remember(prototypes())
        return 0
    if given.out is None:
        parser.error("OUT is missing")
    can = probe(given.family)
    if can.cannot_run is not None:
        print(f"{given.family} cannot run here: {can.cannot_run}", file=sys.stderr)
        return 3
    target = target_of(can)
    device = Device("cuda") if can.gpus and can.device != "CPU" else Device("cpu")
    batches = tuple(map(int, given.batches.split(","))) if given.batches else BATCHES[device.kind]
    precisions = tuple(given.precisions.split(",")) if given.precisions else PRECISIONS[device.kind]
    rows: list[Row] = []
    entries: list[Remembered] = []
    began = _load()
    for model in given.models.split(","):
        for precision in precisions:
            for batch in batches:
                print(f"{model} {precision} batch {batch}", file=sys.stderr)
                place = _place(can, device, model, precision, batch, given.threads)
                rows.append(
                    measured(
                        model,
                        place,
                        target,
                        given.seconds,
                        with_auto=not given.no_auto,
                        entries=entries if given.remember else None,
                    )
                )
                facts = _facts(place, argv, (began, _load()))
                document = {"schema": 1, **facts, "rows": [row.to_json() for row in rows]}
                document |= {"environment": environment.describe().to_json()}
                given.out.mkdir(parents=True, exist_ok=True)
                write_json(given.out / "optimize.json", document)
                write_bytes(given.out / "optimize.md", markdown(rows, facts).encode())
                print(markdown(rows[-1:], facts).splitlines()[-1])
    if given.remember:
        remember(entries)
    return 0


def _place(can: Capabilities, device: Device, model: str, precision: str, batch: int, threads: int) -> Place:
    inputs, _ = io.specs(export(SourceRequest(model)).model)
    dynamic = bool(inputs[0].shape) and isinstance(inputs[0].shape[0], str)
    return Place(can, device, precision, resolve_profile(inputs, str(batch) if dynamic else None, ()), threads)


def _facts(place: Place, argv: Sequence[str] | None, load: tuple[float, float]) -> dict[str, Any]:
    words = list(argv if argv is not None else sys.argv[1:])
    words = ["OUT" if index == 0 and not word.startswith("-") else word for index, word in enumerate(words)]
    settings = place.settings
    how = f"{settings.threads} threads, spinning off" if place.device.kind == "cpu" else f"mode {settings.mode}"
    return {
        "command": " ".join(["python -m tests.perf.optimize", *words]),
        "where": f"{place.can.family} {place.can.version} on {place.device_name}",
        "how": f"{how}; two graphs side by side, in turn",
        "load": list(load),
    }


def _load() -> float:
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0.0


if __name__ == "__main__":
    sys.exit(main())
