"""Where an interrupted row of a benchmark goes on: the attempts whose results are still there and still their own."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.files import read_json, sha256_file
from trtkit.artifacts.sweep import Attempt, Sweep
from trtkit.errors import PlanError
from trtkit.pipeline.listener import Listener

if TYPE_CHECKING:
    from trtkit.pipeline.bench_rows import Row

__all__ = ["begin", "is_own", "read_result"]


def begin(row: Row, listener: Listener) -> Sweep:
    """The state to go on from: an interrupted one of the same key, whose result files are whole, or a new one."""
    fresh = replace(row.sweep, attempts=_whole(row, row.sweep.attempts))
    if not row.resume or not row.state_path.exists():
        return fresh
    try:
        found = Sweep.read(row.state_path)
    except PlanError as error:
        listener.note(f"{row.state_path.name} cannot be continued and is written anew: {error.message}")
        return fresh
    if found.complete:
        return fresh
    if found.key != row.sweep.key and not (row.sweep.is_ladder or len(row.sweep.batches) > 1):
        return fresh  # one measurement leaves the state as it is
    if found.key != row.sweep.key:
        done = ", ".join(str(attempt.batch) for attempt in found.attempts)
        listener.note(
            f"{row.state_path.name}, an interrupted sweep of other batch sizes or settings (batch {done} done), "
            "is replaced"
        )
        return fresh
    # who names a batch wants it tried again where it failed
    kept = _whole(row, [attempt for attempt in found.attempts if attempt.ran or found.is_ladder])
    for attempt in kept:
        if row.after is not None and attempt.outcome == "measured":  # files for other tools are made of these as well
            row.after(row.prepare(attempt.batch), row.target, read_result(row, attempt))
    if kept:
        batches = ", ".join(str(attempt.batch) for attempt in kept)
        listener.note(f"continuing an interrupted sweep: {len(kept)} attempts were made already (batch {batches})")
    return replace(row.sweep, attempts=kept)


def _whole(row: Row, attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """Those whose result file, where they have one, is still theirs and can be read; the others are made again."""
    kept = []
    for attempt in attempts:
        with contextlib.suppress(PlanError):
            if attempt.outcome == "measured":
                read_result(row, attempt)
                if not is_own(row, attempt):
                    continue
            kept.append(attempt)
    return tuple(kept)


def is_own(row: Row, attempt: Attempt) -> bool:
    """Whether the file of a measured attempt is there and as written; of old attempts without a hash it is believed."""
    try:
        return attempt.file_sha256 in (None, sha256_file(row.output / str(attempt.file)))
    except OSError:
        return False


def read_result(row: Row, attempt: Attempt) -> BenchResult:
    """The measurement that an attempt left.

    Raises:
        PlanError: the file is gone or damaged.
    """
    return BenchResult.from_json(read_json(row.output / str(attempt.file)))
