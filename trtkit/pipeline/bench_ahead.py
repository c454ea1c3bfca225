"""Engines and just-in-time kernels of several batch sizes, made before the first of them is measured.

TensorRT-RTX compiles a plan's kernels where they run, on one processor and for seconds; a GPU's machine has many of
them idle. While one worker compiles, this process converts for the next batch. Nothing is measured meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.errors import TrtkitError
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_rows import Row
from trtkit.pipeline.bench_subjects import Prepared
from trtkit.pipeline.listener import Listener
from trtkit.stages.contest import compile_kernels
from trtkit.worker import Progress
from trtkit.worker.side_by_side import Crew, Job, side_by_side, spare_processors

__all__ = ["compile_ahead"]

_MOST = 6
_ROOM = 0.5  # of the memory that is free, for all that are compiled at a time

Compile = Callable[..., None]
"""Compiles a plan's kernels: :func:`trtkit.stages.contest.compile_kernels`, or a stand-in."""

Kernels = Callable[[Prepared, Target], Path | None]
"""The file that keeps an artifact's just-in-time kernels; ``None`` for families that have none."""


def compile_ahead(
    row: Row, kernels: Kernels, listener: Listener, *, width: int | None = None, compiling: Compile = compile_kernels
) -> int:
    """Convert for each listed batch of a row, and those that come after it; compile their kernels, several at a time.

    What fails here is left to the measurement, which tells why. Left out are ladders, of which nobody knows the next
    batch, plans that serve all batches, and batches too large to be compiled beside others.

    Args:
        row: what is about to be measured.
        kernels: where a plan's kernels are kept; those that are there already are not compiled.
        listener: is told how far it is.
        width: how many at a time; ``None`` for half of the processors, 6 at most.
        compiling: compiles one plan's.

    Returns:
        How many plans were compiled.
    """
    width = spare_processors(_MOST) if width is None else width
    waiting = (batch for batch in row.sweep.batches if row.sweep.latest(batch) is None)
    batches = tuple(dict.fromkeys((*waiting, *row.ahead)))
    compiles = row.target.device.kind == "cuda" and "runtime_cache" not in row.target.can.refused
    if not compiles or row.sweep.profile != "each" or len(batches) < 2 or width < 2:
        return 0
    free = row.available()
    room = None if free is None else free * _ROOM / width
    told = f"Compiling kernels for batches {', '.join(map(str, batches))}"

    def jobs() -> Iterator[tuple[str, Job]]:
        for batch in batches:
            listener.event(Progress(told, 0, len(batches)))
            try:
                prepared = row.prepare(batch)
            except TrtkitError:
                continue
            file, size = kernels(prepared, row.target), prepared.footprint(batch)
            small = room is None or (size is not None and size.bytes <= room)
            if file is None or file.exists() or not small:
                continue
            settings = replace(row.settings, batch=batch, shapes=prepared.shapes_at(batch))
            yield str(batch), partial(_compile, row.target, prepared.artifact, file, settings, compiling)

    listener.stage(told)
    done = side_by_side(
        jobs(), width, lambda: float("inf"), lambda count: listener.event(Progress(told, count, len(batches)))
    )
    return sum(error is None for error in done.values())


def _compile(target: Target, plan: Path, file: Path, settings: BenchSettings, compiling: Compile, crew: Crew) -> None:
    compiling(target.can.family, plan, file, target.device, settings, crew.run)
