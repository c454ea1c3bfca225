"""The batch ladder: which batch size to try next, and why it ends. Powers of two upward, then bisection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trtkit.artifacts.sweep import Attempt

__all__ = ["REASONS", "Step", "ending", "foothold", "next_step"]

REASONS: dict[str, str] = {
    "device_memory": "the device's memory is too small",
    "workspace": "the engine's scratch memory (workspace) is too small",
    "profile": "the optimization profile of the plan ends there",
    "element_limit": "a tensor would have more than 2³¹ elements",
    "host_memory": "this machine's memory is too small",
    "timeout": "one attempt would take longer than it may",
    "other": "the runtime failed",
}
"""Why a batch does not run, by the words of :attr:`trtkit.artifacts.sweep.Attempt.reason`."""

_NO_EDGE = ("timeout",)  # a matter of patience: there is no largest batch to be found by bisection


@dataclass(frozen=True)
class Step:
    """The next attempt.

    Attributes:
        batch: images per iteration.
        full: measure it in full; otherwise a moment's run tells whether it executes.
    """

    batch: int
    full: bool


def foothold(known: Sequence[Attempt], limit: int | None = None) -> tuple[Attempt, ...]:
    """What a ladder goes on from: the largest batch that ran, and the smallest above it that did not, if there is one.

    Args:
        known: attempts made before under the same conditions, in any order.
        limit: the largest batch that the ladder may try; what is known beyond it is left out.

    Returns:
        One or two attempts, or none if nothing is known to run: the ladder then begins at its smallest batch.
    """
    within = [attempt for attempt in known if limit is None or attempt.batch <= limit]
    top = max((attempt for attempt in within if attempt.ran), key=lambda attempt: attempt.batch, default=None)
    if top is None:
        return ()
    beyond = [attempt for attempt in within if not attempt.ran and attempt.batch > top.batch]
    return (top, *sorted(beyond, key=lambda attempt: attempt.batch)[:1])


def next_step(
    attempts: Sequence[Attempt],
    *,
    smallest: int = 1,
    limit: int | None = None,
    within: float = 0.0,
    climb: bool = True,
) -> Step | None:
    """The next batch size of the ladder; ``None`` when it has ended.

    ``smallest``, then the powers of two above it up to the first that does not run (or ``limit``), each measured in
    full. Then bisection between the largest that ran and the smallest that did not, with short runs; what it finds is
    measured in full. A batch that ran once and failed later counts as failed. Where a failure is known from the
    beginning (:func:`foothold`), there is nothing to climb.

    Args:
        attempts: those made so far, in any order.
        smallest: where the ladder begins.
        limit: the largest batch to try; ``None`` for none.
        within: bisection ends once the smallest batch that failed is no more than this share above the largest that
            ran; 0 finds the exact batch.
        climb: try the powers of two; without, ``smallest`` alone.
    """
    failed = {attempt.batch for attempt in attempts if not attempt.ran}
    ran = {attempt.batch for attempt in attempts if attempt.ran} - failed
    measured = {attempt.batch for attempt in attempts if attempt.outcome == "measured"}
    top = max((batch for batch in ran if batch < min(failed, default=batch + 1)), default=0)
    for rung in _rungs(smallest, limit if climb else smallest):
        if rung in failed:
            break
        if rung not in ran:
            return Step(rung, full=True)
    if not failed:
        return None
    wall = min(failed)
    why = next(attempt.reason for attempt in attempts if not attempt.ran and attempt.batch == wall)
    if not _near(top, wall, within) and wall > smallest and why not in _NO_EDGE:
        middle = (top + wall) // 2
        if middle >= smallest:
            return Step(middle, full=False)
    return Step(top, full=True) if top and top not in measured else None


def _near(top: int, wall: int, within: float) -> bool:
    """Whether the edge between the largest batch that ran and the smallest that failed is known well enough."""
    return wall - top <= max(1.0, within * top)


def _rungs(smallest: int, limit: int | None) -> Iterator[int]:
    """``smallest``, the powers of two above it, and ``limit`` at the end."""
    rung = smallest
    while limit is None or rung < limit:
        yield rung
        rung = 1 << rung.bit_length()
    yield limit


def ending(
    attempts: Sequence[Attempt], *, limit: int | None = None, limit_because: str = "", within: float = 0.0
) -> str:
    """Why a ladder that has ended stops where it does, a sentence without a full stop.

    Args:
        attempts: all of them.
        limit: the largest batch that was to be tried.
        limit_because: where that limit is from: ``--sweep-limit``, the plan's profile.
        within: the share up to which the edge was looked for; the sentence says so where the edge was not found.
    """
    failed = [attempt for attempt in attempts if not attempt.ran]
    if not failed:
        top = max(attempt.batch for attempt in attempts)
        return f"batch {top:,} is the largest that was to be tried ({limit_because})" if limit else f"batch {top:,} ran"
    wall = min(failed, key=lambda attempt: attempt.batch)
    top = max((attempt.batch for attempt in attempts if attempt.ran and attempt.batch < wall.batch), default=0)
    words = [wall.text] if wall.text else []
    head = f"batch {top:,} is the largest that ran; " if top else "no batch ran; "
    if top and within and wall.batch - top > 1 and wall.reason not in _NO_EDGE:
        head = f"batch {top:,} is the largest that was seen to run; "
        words.insert(0, f"looked for within {100 * within:g} %")
    verb = "was not tried" if wall.outcome == "skipped" else "failed"
    reason = REASONS.get(wall.reason or "other", REASONS["other"])
    return f"{head}{wall.batch:,} {verb}: {reason}" + (f" ({'; '.join(words)})" if words else "")
