"""The loop that measures: warm-up until nothing is compiled any more, then samples until the median is known.

It knows no vendor: a :class:`~trtkit.backends.timing.Timed` starts an iteration and reads its times. The clock is
handed in, so that tests can script it.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from trtkit import stats
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.timeline import Iteration, Timeline
from trtkit.backends.timing import Timed

__all__ = ["STEADY_WITHIN", "WARMUP_CAP_S", "confident", "measure", "median_width", "warm_up"]

Clock = Callable[[], float]

WARMUP_CAP_S = 120.0
"""The longest warm-up in seconds, steady or not: TensorRT-RTX was seen to compile for 7 s."""

STEADY_WITHIN = 0.2
"""Iterations this much above the fastest one count as steady: compiling takes many times an iteration's time."""

_CHECK_EVERY_S = 0.25
_CHECK_SHARE = 0.002  # looking at the samples may take this share of the time, and no more


def warm_up(
    timed: Timed, settings: BenchSettings, clock: Clock = time.monotonic, *, cap_s: float = WARMUP_CAP_S
) -> dict[str, Any]:
    """Run until ``settings.warmup_s`` have passed and iterations no longer become faster; then settle.

    Just-in-time compilation shows as iterations many times as long as those after them. One at a time here: what is
    timed is the host's clock, which sees the compiler. After :meth:`Timed.settle` every graph that it captured is
    launched once, because a first launch uploads it.

    Args:
        timed: what to run; slots are free.
        settings: ``warmup_s``, ``depth``.
        clock: seconds, never going back.
        cap_s: the longest warm-up in seconds.

    Returns:
        ``iterations``, ``seconds``, ``first_ms`` (just-in-time compilation included), ``last_ms``, and ``steady``:
        whether the end was reached because it was so.

    Raises:
        RunError: the runtime refused or failed.
    """
    started = now = clock()
    times: list[float] = []
    while True:
        before = now
        timed.issue(0)
        timed.finish(0)
        now = clock()
        times.append(now - before)
        if now - started < settings.warmup_s:
            continue
        steady = _steady(times)
        if steady or now - started >= cap_s:
            break
    timed.settle()
    again = settings.depth
    if timed.facts.get("graph"):
        again = max(again, int(timed.facts.get("buffers") or 1))
    for index in range(again):
        timed.issue(index % settings.depth)
        timed.finish(index % settings.depth)
    return {
        "iterations": len(times) + again,
        "seconds": clock() - started,
        "first_ms": times[0] * 1e3,
        "last_ms": times[-1] * 1e3,
        "steady": steady,
    }


def measure(
    timed: Timed,
    settings: BenchSettings,
    clock: Clock = time.monotonic,
    progress: Callable[[float, int], None] | None = None,
    until: Callable[[], bool] | None = None,
) -> tuple[Timeline, str]:
    """Run iterations, ``settings.depth`` in flight, until enough is known.

    It ends when ``duration_s`` have passed, ``min_iterations`` are done and the 95 % interval of the median compute
    time is no wider than ``confidence`` of the median, or at ``max_duration_s``, whatever is known then. The samples
    are looked at about four times a second, while the device works on what is in flight. Python's garbage collector is
    off meanwhile.

    Args:
        timed: warm, all slots free.
        settings: the rule.
        clock: seconds, never going back.
        progress: told now and then of the seconds passed and the iterations done.
        until: replaces the rule: measuring goes on until it returns True (asked before every iteration).

    Returns:
        The timeline, and why it ended: ``confident``, ``max-duration``, or ``fixed`` with ``until``.

    Raises:
        RunError: the runtime refused or failed.
    """
    with _no_garbage_collection():
        rows, stopped = _loop(timed, settings, clock, progress, until)
    return Timeline(tuple(rows), settings.batch, timed.epoch_monotonic_s), stopped


def confident(compute_ms: np.ndarray, settings: BenchSettings) -> bool:
    """Whether the median is known as well as was asked: enough iterations, and an interval narrow enough."""
    width = median_width(compute_ms)
    return len(compute_ms) >= settings.min_iterations and width is not None and width <= settings.confidence


def median_width(compute_ms: np.ndarray) -> float | None:
    """Width of the median's 95 % interval over the median, a fraction; ``None`` for fewer than six values."""
    interval = stats.median_interval(compute_ms)
    if interval is None:
        return None
    median = stats.percentile(compute_ms, 50)
    return (interval[1] - interval[0]) / median if median > 0 else None


def _loop(
    timed: Timed,
    settings: BenchSettings,
    clock: Clock,
    progress: Callable[[float, int], None] | None,
    until: Callable[[], bool] | None,
) -> tuple[list[Iteration], str]:
    rows: list[Iteration] = []
    in_flight: deque[int] = deque()
    depth, stopped, slot = settings.depth, "", 0
    started = clock()
    next_look = min(_CHECK_EVERY_S, settings.duration_s)
    while not stopped:
        while len(in_flight) < depth:
            timed.issue(slot)
            in_flight.append(slot)
            slot = (slot + 1) % depth
        rows.append(timed.finish(in_flight.popleft()))
        passed = clock() - started
        if until is not None:
            stopped = "fixed" if until() else ""
        elif passed >= settings.max_duration_s:
            stopped = "max-duration"
        if passed < next_look or stopped:
            continue
        if progress is not None:
            progress(passed, len(rows))
        if until is None and passed >= settings.duration_s:
            stopped = "confident" if confident(_compute_ms(rows), settings) else ""
        after = clock() - started
        next_look = after + max(_CHECK_EVERY_S, (after - passed) / _CHECK_SHARE)
        if passed < settings.duration_s:  # the first look that may end it comes when it may end, not a quarter later
            next_look = min(next_look, max(settings.duration_s, after))
    rows.extend(timed.finish(waiting) for waiting in in_flight)
    return rows, stopped


def _compute_ms(rows: list[Iteration]) -> np.ndarray:
    return np.fromiter((row.end_compute_ms - row.start_compute_ms for row in rows), np.float64, len(rows))


def _steady(times: list[float]) -> bool:
    """Whether compiling is over: two of the last three near the fastest, or a quarter no faster than the one before.

    The first is known after two iterations, which matters where one takes seconds. The second holds on a machine so
    busy that iterations of microseconds are never near the fastest of thousands.
    """
    if len(times) < 2:
        return False
    limit = min(times) * (1 + STEADY_WITHIN)
    if sum(seconds <= limit for seconds in times[-3:]) >= 2:
        return True
    window = max(3, len(times) // 4)
    if len(times) < 2 * window:
        return False
    return float(np.median(times[-window:])) >= (1 - STEADY_WITHIN) * float(np.median(times[-2 * window : -window]))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection walks over every sample taken so far, and shows as an outlier in one of them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
