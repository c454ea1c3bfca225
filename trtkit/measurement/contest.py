"""Which of two is faster: short measurements in turn, so that what disturbs one disturbs the other, and paired ratios.

Both are loaded side by side and never run at the same time. A round runs each for a moment; who begins alternates
(A B, B A, …), so that a drift cancels. A round's ratio is the median time of A over that of B; the gain is the median
of the rounds' ratios, and its interval comes from their order statistics (:func:`trtkit.stats.median_interval`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trtkit import stats
from trtkit.backends.timing import Timed

__all__ = ["WORTHWHILE", "Contest", "ContestRule", "alternate"]

WORTHWHILE = 1.01
"""A gain below this is not worth another graph."""


@dataclass(frozen=True)
class ContestRule:
    """How long it goes on.

    Attributes:
        burst_s: of each side in a round, in seconds; one iteration at least.
        rounds: fewest rounds.
        max_rounds: most.
        confidence: width of the interval, as a fraction, at which the gain is known well enough.
        limit_s: wall time after which no further round begins.
        until_decided: whether it is enough to know which is faster.
    """

    burst_s: float = 0.1
    rounds: int = 10
    max_rounds: int = 60
    confidence: float = 0.01
    limit_s: float = 30.0
    until_decided: bool = True

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True)
class Contest:
    """What came out.

    Attributes:
        gain: speed of the second over speed of the first.
        interval: its 95 % interval; ``None`` for fewer than six rounds.
        rounds: number of them.
        first_ms, second_ms: median time of an iteration, in milliseconds.
        stopped: why it ended: ``decided``, ``confident``, ``max-rounds``, ``time``.
    """

    gain: float
    interval: tuple[float, float] | None
    rounds: int
    first_ms: float
    second_ms: float
    stopped: str

    @property
    def faster(self) -> bool:
        """Whether the second is faster, beyond chance and by enough to matter."""
        return self.interval is not None and self.interval[0] > 1 and self.gain >= WORTHWHILE

    @property
    def text(self) -> str:
        """``1.38 (1.36…1.40)``."""
        ends = f" ({self.interval[0]:.3g}…{self.interval[1]:.3g})" if self.interval is not None else ""
        return f"{self.gain:.3g}{ends}"

    @property
    def reversed(self) -> Contest:
        """The same with the sides exchanged."""
        ends = (1 / self.interval[1], 1 / self.interval[0]) if self.interval is not None else None
        return Contest(1 / self.gain, ends, self.rounds, self.second_ms, self.first_ms, self.stopped)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Contest:
        """The inverse of :meth:`to_json`."""
        return cls(**{**value, "interval": tuple(value["interval"]) if value["interval"] else None})


def alternate(
    first: Timed,
    second: Timed,
    rule: ContestRule,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[int, int], None] | None = None,
) -> Contest:
    """Measure two in turn until it is known which is faster, or by how much.

    Args:
        first, second: warm, their slots free.
        rule: when to stop.
        clock: seconds, never going back.
        progress: told of the rounds done, and of the most that there will be.

    Raises:
        RunError: one of the runtimes failed.
    """
    times: list[list[float]] = [[], []]
    began, stopped = clock(), ""
    while not stopped:
        count = len(times[0])
        for side in (0, 1) if count % 2 == 0 else (1, 0):
            times[side].append(_burst((first, second)[side], rule.burst_s, clock))
        if progress is not None:
            progress(count + 1, rule.max_rounds)
        stopped = _stop(times, rule, clock() - began)
    ratios = np.divide(times[0], times[1])
    interval = stats.median_interval(ratios)
    medians = [float(np.median(side)) for side in times]
    return Contest(float(np.median(ratios)), interval, len(ratios), medians[0], medians[1], stopped)


def _burst(timed: Timed, seconds: float, clock: Callable[[], float]) -> float:
    """Median compute time of an iteration, in milliseconds."""
    found: list[float] = []
    until = clock() + seconds
    while not found or clock() < until:
        timed.issue(0)
        row = timed.finish(0)
        found.append(row.end_compute_ms - row.start_compute_ms)
    return float(np.median(found))


def _stop(times: Sequence[Sequence[float]], rule: ContestRule, passed_s: float) -> str:
    count = len(times[0])
    if count >= rule.max_rounds:
        return "max-rounds"
    if passed_s >= rule.limit_s and count >= 6:
        return "time"
    if count < rule.rounds or count % 2:  # both sides have begun equally often
        return ""
    ratios = np.divide(times[0], times[1])
    interval = stats.median_interval(ratios)
    assert interval is not None
    if (interval[1] - interval[0]) / float(np.median(ratios)) <= rule.confidence:
        return "confident"
    if not rule.until_decided:
        return ""
    return "decided" if interval[0] > WORTHWHILE or interval[1] < 1 / WORTHWHILE else ""
