"""Why the same plan gives different numbers: the modes of one batch held against each other, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from trtkit import stats
from trtkit.artifacts.bench import BenchResult

__all__ = ["TRTEXEC", "explain"]

TRTEXEC = (
    "trtexec 11 reports compute-graph unless told otherwise, trtexec 10 overlapped without a graph; a program that "
    "copies a batch, computes and copies back, one after the other, gets transfers."
)
"""What the modes are in trtexec's words; ends every explanation."""


def explain(results: Sequence[BenchResult]) -> list[str]:
    """Sentences about the largest batch that was measured in more than one mode; none if there is no such batch.

    Args:
        results: of one artifact on one device.
    """
    by_batch: dict[int, dict[str, BenchResult]] = {}
    for result in results:
        if result.throughput_images_per_s:
            by_batch.setdefault(result.settings.batch, {})[result.settings.mode] = result
    several = [batch for batch, modes in by_batch.items() if len(modes) > 1]
    if not several:
        return []
    batch = max(several)
    modes = by_batch[batch]
    found = [sentence for rule in (_graph, _transfers, _overlapped) if (sentence := rule(modes)) is not None]
    return [f"At batch {batch}: {sentence}" for sentence in found] + ([TRTEXEC] if found else [])


def _ratio(of: BenchResult, to: BenchResult) -> float:
    return (of.throughput_images_per_s or 0.0) / (to.throughput_images_per_s or 1.0)


def _median(result: BenchResult, part: str) -> float:
    return stats.percentile(result.timeline.column(f"{part}_ms").tolist(), 50)


def _graph(modes: dict[str, BenchResult]) -> str | None:
    plain, graph = modes.get("compute"), modes.get("compute-graph")
    if plain is None or graph is None:
        return None
    enqueue, compute = _median(plain, "enqueue"), _median(plain, "compute")
    return (
        f"compute-graph is {_ratio(graph, plain):.2f} × compute: one launch replaces an enqueue of {enqueue:.3g} ms, "
        f"beside {compute:.3g} ms of computing."
    )


def _transfers(modes: dict[str, BenchResult]) -> str | None:
    bare, copied = modes.get("compute-graph") or modes.get("compute"), modes.get("transfers")
    if bare is None or copied is None:
        return None
    return (
        f"transfers is {_ratio(copied, bare):.2f} × {bare.settings.mode}: copies in of {_median(copied, 'h2d'):.3g} ms "
        f"and out of {_median(copied, 'd2h'):.3g} ms are waited for, beside {_median(copied, 'compute'):.3g} ms of "
        "computing."
    )


def _overlapped(modes: dict[str, BenchResult]) -> str | None:
    bare, beside = modes.get("compute-graph") or modes.get("compute"), modes.get("overlapped")
    if bare is None or beside is None:
        return None
    copy, compute = _median(beside, "h2d"), _median(beside, "compute")
    pace = "the copy in, which is the longer one," if copy > compute else "the computation, which is the longer one,"
    return (
        f"overlapped is {_ratio(beside, bare):.2f} × {bare.settings.mode}: copies in of {copy:.3g} ms run beside "
        f"{compute:.3g} ms of computing, and {pace} sets the pace."
    )
