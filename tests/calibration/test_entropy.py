"""KL divergence: the vectorised form against one loop over candidates, bins and levels, and against ONNX Runtime."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from calibration import entropy
from calibration.histogram import HistogramBuilder
from calibration.levels import migacz_groups
from tests.calibration.distributions import DISTRIBUTIONS, draw, histogram


def _slow_divergence(counts: list[int], kept: int, dtype: str) -> float:
    """Migacz's slide for one candidate, bin by bin in plain Python."""
    counts = [0, *counts[1:]]
    p = [float(count) for count in counts[:kept]]
    p[-1] += sum(counts[kept:])
    bounds = [math.floor(kept * bound) for bound in migacz_groups(dtype)]
    q = [0.0] * kept
    for first, last in itertools.pairwise(bounds):
        occupied = [i for i in range(first, last) if p[i] > 0]
        total = sum(counts[first:last])
        for i in occupied:
            q[i] = total / len(occupied)
    if sum(q) == 0:
        return math.inf
    divergence = 0.0
    for p_i, q_i in zip(p, q, strict=True):
        if p_i > 0:
            if q_i == 0:
                return math.inf
            divergence += p_i / sum(p) * math.log((p_i / sum(p)) / (q_i / sum(q)))
    return divergence


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_divergences_are_those_of_the_plain_loop(name: str, dtype: str) -> None:
    counts, _ = histogram(draw(name)).linear()
    used = int(np.flatnonzero(counts)[-1]) + 1
    found = entropy.divergences(counts[:used], dtype)
    assert found.shape == (used - entropy.SMALLEST_CANDIDATE + 1,)
    tried = [*range(0, len(found), 211), 1, len(found) - 2, len(found) - 1]
    listed = counts[:used].tolist()
    expected = [_slow_divergence(listed, entropy.SMALLEST_CANDIDATE + j, dtype) for j in tried]
    np.testing.assert_allclose(found[tried], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["rectified", "heavy tail"])
@pytest.mark.parametrize("tolerance", [0.0, entropy.TOLERANCE])
def test_the_threshold_is_that_of_the_slow_search(name: str, tolerance: float) -> None:
    made = histogram(draw(name)[:3000])
    counts, width = made.linear()
    used = int(np.flatnonzero(counts)[-1]) + 1
    # Merged by 8 both ways, so that the plain loop over all candidates takes a second.
    merged = np.add.reduceat(counts[:used], np.arange(0, used, 8))
    found = entropy.divergences(merged)
    slow = [_slow_divergence(merged.tolist(), i, "int8") for i in range(entropy.SMALLEST_CANDIDATE, len(merged) + 1)]
    np.testing.assert_allclose(found, slow, rtol=1e-9, atol=1e-12)
    full = entropy.divergences(counts[:used])
    first = next(j for j, value in enumerate(full) if value <= full.min() * (1 + tolerance))
    expected = min((entropy.SMALLEST_CANDIDATE + first) * width, made.amax)
    assert entropy.threshold(made, tolerance=tolerance) == expected


@pytest.mark.parametrize(("name", "draws"), [("laplace", 50), ("heavy tail", 5)])
def test_migaczs_rule_agrees_with_onnx_runtimes_given_as_many_bins(name: str, draws: int) -> None:
    """ONNX Runtime, given 256 levels and 2048 bins on either side of zero, clips at about the same place.

    It merges by whole bins, rounds the merged counts and smooths, and the bottom is flat: the same bin is not expected.
    """
    from onnxruntime.quantization.calibrate import HistogramCollector

    values = np.concatenate([draw(name, seed) for seed in range(draws)])
    made = histogram(values)
    collector = HistogramCollector("entropy", True, 4096, 256, 99.99, "same")
    counts, edges = np.histogram(values, bins=4096, range=(-made.amax, made.amax))
    low, high = collector.get_entropy_threshold((counts, edges, -made.amax, made.amax, made.amax), 256)[:2]
    theirs = max(-float(low), float(high))
    assert theirs < 0.8 * made.amax
    assert entropy.threshold(made, tolerance=0) == pytest.approx(theirs, rel=0.15)


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS.keys() - {"pixels"}))
def test_the_tolerance_only_lowers_a_threshold(name: str) -> None:
    made = histogram(draw(name))
    strict, tolerant = (entropy.threshold(made, tolerance=t) for t in (0.0, entropy.TOLERANCE))
    assert 0 < tolerant <= strict <= made.amax


def test_outliers_are_clipped_and_the_bulk_is_not() -> None:
    values = draw("outliers")
    bulk = float(np.percentile(np.abs(values), 99))
    assert bulk < entropy.threshold(histogram(values)) < np.abs(values).max() / 4


def test_zeros_do_not_move_the_threshold() -> None:
    values = np.abs(draw("normal"))
    padded = np.concatenate([values, np.zeros(20 * values.size, np.float32)])
    assert entropy.threshold(histogram(padded)) == entropy.threshold(histogram(values))


def test_tensors_of_one_value_keep_it_and_dead_ones_have_no_range() -> None:
    assert entropy.threshold(HistogramBuilder().freeze(0.0)) == 0
    assert entropy.threshold(histogram(np.array([0.0, 0.0, 3.0]))) == 3.0
    builder = HistogramBuilder()
    builder.add(np.zeros(10, np.float32), 7.0)  # the sample saw zeros only
    assert entropy.threshold(builder.freeze(7.0)) == 7.0
