"""The batch ladder: which batch size to try next, and why it ends. Powers of two upward, then bisection.

Where the device's memory is the wall and its use is known at two rungs, the first probes go near the edge that a
straight line through these predicts. They never cost more than two attempts above bisection's number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trtkit.artifacts.sweep import Attempt

__all__ = ["REASONS", "Step", "ending", "foothold", "next_step", "with_memory"]

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
    full. Then bisection between the largest that ran and the smallest that did not, with short runs, the first of them
    near the edge that the device's memory predicts; what it finds is measured in full. A batch that ran once and failed
    later counts as failed. Where a failure is known from the beginning (:func:`foothold`), there is nothing to climb.

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
        middle = (_guess(attempts, top, wall, within) if why == "device_memory" else None) or (top + wall) // 2
        if middle >= smallest:
            return Step(middle, full=False)
    return Step(top, full=True) if top and top not in measured else None


def _near(top: int, wall: int, within: float) -> bool:
    """Whether the edge between the largest batch that ran and the smallest that failed is known well enough."""
    return wall - top <= max(1.0, within * top)


def with_memory(attempt: Attempt, facts: Mapping[str, Any], total: int | None) -> Attempt:
    """The attempt with the memory in use on the device, where the measurement knows it.

    Args:
        attempt: one that ran.
        facts: of the measurement's conditions.
        total: all memory of the device in bytes.
    """
    used = facts.get("device_bytes")
    return replace(attempt, device_bytes=int(used), device_total_bytes=total) if used and total else attempt


def _guess(attempts: Sequence[Attempt], top: int, wall: int, within: float) -> int | None:
    """A batch near the edge that memory predicts: just below it, then just above, then in growing steps beyond.

    Returns:
        A batch strictly between ``top`` and ``wall``; ``None`` where nothing is predicted, where the edge is enclosed,
        or where a wrong guess could cost more than bisection and two attempts.
    """
    first = next(number for number, attempt in enumerate(attempts) if not attempt.ran)
    edge = _predicted(attempts[:first])
    if edge is None:
        return None
    edge = min(max(edge, top + 1), wall - 1)
    step = max(1, edge // 1024, int(within * edge / (2 + within)))
    if wall > edge and top < edge - step:
        guess = edge - step
    elif wall > edge:
        while edge + step <= top:
            step *= 4
        guess = edge + step
    else:
        while edge - step >= wall:
            step *= 4
        guess = edge - step
    if not top < guess < wall:
        return None
    known_top = max((attempt.batch for attempt in attempts[:first] if attempt.ran), default=0)
    budget = (attempts[first].batch - known_top).bit_length() + 1
    left = (max(guess - top, wall - guess) - 1).bit_length()
    return guess if len(attempts) - first + left <= budget else None


def _predicted(rungs: Sequence[Attempt]) -> int | None:
    """The batch at which a straight line through the last two rungs reaches all memory of the device."""
    known = sorted((a.batch, a.device_bytes, a.device_total_bytes) for a in rungs if a.ran and a.device_bytes)
    if len(known) < 2:
        return None
    (low, low_bytes, _), (high, high_bytes, total) = known[-2:]
    if total is None or high_bytes <= low_bytes:
        return None
    return high + (total - high_bytes) * (high - low) // (high_bytes - low_bytes)


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
