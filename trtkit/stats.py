"""Statistics of timings: percentiles as trtexec takes them, spread, and confidence without a normal distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["Interval", "coefficient_of_variation", "drift", "median_interval", "percentile", "ratio_interval"]

Interval = tuple[float, float]
"""Lower and upper end of a 95 % confidence interval, in the unit of its values."""

_Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile
_PARTS = 4
_T95 = 3.182446305284263  # the same of Student's t with three degrees of freedom, one less than the parts


def percentile(values: Sequence[float] | np.ndarray, percent: float) -> float:
    """The value that ``percent`` of the values do not exceed, by trtexec's rule, so that numbers can be compared.

    Ascending order, index ``max(n − 1 − int((1 − percent/100)·n), 0)`` (NVIDIA/TensorRT, samples/common):
    always one of the values, never an interpolation. Its median of an even count is the lower of the middle two.

    Raises:
        ValueError: no values, or a percentage outside 0..100.
    """
    if not len(values) or not 0 <= percent <= 100:
        raise ValueError(f"a percentile needs values and a percentage of 0..100, not {len(values)} and {percent}")
    excluded = int((1 - percent / 100) * len(values))
    rank = max(len(values) - 1 - excluded, 0)
    # The value of one rank needs no sorted array, and a partition takes a tenth of the time.
    return float(np.partition(np.asarray(values, dtype=np.float64), rank)[rank])


def coefficient_of_variation(values: Sequence[float]) -> float | None:
    """Standard deviation over mean (a fraction, not percent); ``None`` for fewer than two values or a mean of 0."""
    if len(values) < 2:
        return None
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    return float(array.std()) / mean if mean else None


def median_interval(values: Sequence[float] | np.ndarray) -> Interval | None:
    """A 95 % confidence interval of the median from order statistics; ``None`` for fewer than six values.

    The number of values below the true median is binomial(n, ½), whatever the distribution, so the values of rank
    n/2 ∓ 1.96·√n/2 enclose it (Conover, Practical Nonparametric Statistics; normal approximation of the binomial).
    It takes the values as independent; drift (a warming device) makes it too narrow, which is what the spread between
    repeated runs is for.
    """
    count = len(values)
    if count < 6:
        return None
    half = _Z95 * math.sqrt(count) / 2
    low = max(math.floor(count / 2 - half), 0)
    high = min(math.ceil(count / 2 + half), count - 1)
    ordered = np.partition(np.asarray(values, dtype=np.float64), (low, high))
    return float(ordered[low]), float(ordered[high])


def ratio_interval(
    numerator: Sequence[float], denominator: Sequence[float], *, seed: int = 0, draws: int = 2000
) -> tuple[float, Interval]:
    """The ratio of two medians and its 95 % interval.

    It holds the bootstrap's (percentile method, Efron 1979), which takes values as independent, and that of what a side
    shows of its own drift: see :func:`drift`. What changes between the sides and holds still within them is in neither.

    Args:
        numerator, denominator: positive values of the two sides in the order of time, resampled independently.
        seed: of the resampling, so that a result can be repeated.
        draws: number of resamples.

    Raises:
        ValueError: a side is empty.
    """
    if not len(numerator) or not len(denominator):
        raise ValueError("a ratio needs values on both sides")
    rng = np.random.default_rng(seed)
    above = _resampled_medians(np.asarray(numerator, dtype=np.float64), rng, draws)
    below = _resampled_medians(np.asarray(denominator, dtype=np.float64), rng, draws)
    low, high = np.quantile(above / below, (0.025, 0.975))
    ratio = float(np.median(numerator) / np.median(denominator))
    wide = math.exp(math.hypot(drift(numerator), drift(denominator)))
    return ratio, (min(float(low), ratio / wide), max(float(high), ratio * wide))


def drift(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the median, as a share of it, from the medians of four successive parts.

    Batch means with Student's t (Schmeiser 1982, Batch size effects in the analysis of simulation output): parts are
    far less dependent than neighbouring values, and what drifts within a run moves them apart. There are so few because
    slow drift needs long parts. 0 below eight values.
    """
    if len(values) < 2 * _PARTS:
        return 0.0
    medians = np.array([np.median(part) for part in np.array_split(np.asarray(values, dtype=np.float64), _PARTS)])
    return float(_T95 * medians.std(ddof=1) / math.sqrt(_PARTS) / medians.mean())


def _resampled_medians(values: np.ndarray, rng: np.random.Generator, draws: int) -> np.ndarray:
    if len(values) > 1000:
        # A resample's median is the order statistic of a Beta-distributed rank; drawing the rank spares the resample.
        ordered, middle = np.sort(values), len(values) / 2
        ranks = rng.beta(middle + 0.5, middle + 0.5, draws) * (len(values) - 1)
        return np.asarray(ordered[np.rint(ranks).astype(np.intp)])
    picks = rng.integers(0, len(values), (draws, len(values)))
    return np.asarray(np.median(values[picks], axis=1))
