"""Two result sets side by side: pairs of like runs with their ratio, and what could not be compared, with reasons."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from trtkit.artifacts.timeline import Timeline
from trtkit.stats import Interval

__all__ = ["STATISTIC", "Comparison", "Outcome", "Pair", "Refusal", "median_rate", "periods_ms"]

STATISTIC = "at the median time between finished batches"
"""What rates and ratios are made of: a burst of other work moves a mean, and the median stays."""

Outcome = Literal["faster", "slower", "no difference", "cannot tell"]
"""Of the second run; ``cannot tell``: what it was disturbed by, or its few samples, would hide a change that counts."""


def periods_ms(timeline: Timeline) -> np.ndarray:
    """Times between the ends of successive batches, in ms: their mean is what throughput is made of; (n − 1,)."""
    periods = np.diff(np.sort(timeline.column("end_d2h_ms")))
    return np.asarray(periods[periods > 0])


def median_rate(timeline: Timeline) -> float | None:
    """Images per second at the median time between finished batches; ``None`` with fewer than two samples."""
    periods = periods_ms(timeline) if len(timeline) > 1 else np.empty(0)
    return timeline.images / float(np.median(periods)) * 1e3 if len(periods) else None


@dataclass(frozen=True)
class Pair:
    """One run of each set, alike in all that a comparison must hold still.

    Attributes:
        what: model, precision, batch, mode, for people.
        first_images_per_s, second_images_per_s: rates of the two at the median time between finished batches.
        speedup: how many times as fast the second is: the second rate over the first.
        speedup_interval: its 95 % interval, of :func:`trtkit.stats.ratio_interval`.
        latency_ratio: median latency, second over first, below 1 is better, and ``latency_interval``.
        noise: smallest change that counts: how far parts of the same run lie apart, and what other processes took of
            the processors; a share.
        verdict: see :data:`Outcome`.
        differs: what is different between the two and allowed to be, sentences: the likely causes.
        first_file, second_file: with all raw samples.
    """

    what: str
    first_images_per_s: float
    second_images_per_s: float
    speedup: float
    speedup_interval: Interval
    latency_ratio: float
    latency_interval: Interval
    noise: float
    verdict: Outcome
    differs: tuple[str, ...]
    first_file: str
    second_file: str


@dataclass(frozen=True)
class Refusal:
    """What was not compared.

    Attributes:
        what: model, precision, batch, mode, for people.
        reasons: why, sentences.
        kind: ``unlike`` for two runs that must not be compared, ``missing`` for one that the second set lacks, ``new``
            for one that only the second has.
    """

    what: str
    reasons: tuple[str, ...]
    kind: Literal["unlike", "missing", "new"]


@dataclass(frozen=True)
class Comparison:
    """All of it.

    Attributes:
        first, second: where the sets came from.
        pairs, refusals: in the order of the first set.
        notes: about the sets, sentences.
    """

    first: str
    second: str
    pairs: tuple[Pair, ...]
    refusals: tuple[Refusal, ...]
    notes: tuple[str, ...] = ()

    def slower_than(self, share: float) -> tuple[Pair, ...]:
        """Pairs whose verdict is ``slower`` and whose speed fell by more than this share."""
        return tuple(pair for pair in self.pairs if pair.verdict == "slower" and pair.speedup < 1 - share)

    @property
    def undecided(self) -> tuple[Pair, ...]:
        """Pairs of which it cannot be told whether the second is slower."""
        return tuple(pair for pair in self.pairs if pair.verdict == "cannot tell" and pair.speedup_interval[0] < 1)

    @property
    def incomparable(self) -> tuple[Refusal, ...]:
        """What the first set has, and could not be compared: a check that ignored these would pass by accident."""
        return tuple(refusal for refusal in self.refusals if refusal.kind != "new")

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {**asdict(self), "statistic": STATISTIC}
