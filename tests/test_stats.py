"""Statistics against the formula written out, and against what confidence means: how often the truth is inside."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtkit import stats


def trtexec_percentile(values: list[float], percent: float) -> float:
    """samples/common/sampleReporting.cpp of NVIDIA/TensorRT, in words: sort, drop int((1 − p/100)·n) at the top."""
    ordered = sorted(values)
    n = len(ordered)
    dropped = int((1 - percent / 100) * n)
    return ordered[max(n - 1 - dropped, 0)]


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60), st.floats(0, 100))
def test_a_percentile_is_trtexecs(values: list[float], percent: float) -> None:
    assert stats.percentile(values, percent) == trtexec_percentile(values, percent)
    assert stats.percentile(np.array(values), percent) in values


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (50, 5.0), (70, 7.0), (90, 10.0), (99, 10.0), (100, 10.0)])
def test_percentiles_of_one_to_ten(percent: float, expected: float) -> None:
    """By hand; (1 − 0.9)·10 is 0.9999999999999998 in floating point, so that the 90 % of ten values drop none."""
    values = [float(value) for value in range(1, 11)]
    random.Random(0).shuffle(values)
    assert stats.percentile(values, percent) == expected


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], -1), ([1.0], 101)])
def test_a_percentile_of_nothing_is_refused(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile needs"):
        stats.percentile(values, percent)


def test_the_values_are_left_as_they_were() -> None:
    values = np.array([3.0, 1.0, 2.0, 9.0, 7.0, 5.0, 4.0])
    before = values.copy()
    stats.percentile(values, 50)
    stats.median_interval(values)
    np.testing.assert_array_equal(values, before)


def test_the_coefficient_of_variation_by_hand() -> None:
    assert stats.coefficient_of_variation([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]) == pytest.approx(2 / 5)
    assert stats.coefficient_of_variation([1.0]) is None
    assert stats.coefficient_of_variation([-1.0, 1.0]) is None


@pytest.mark.parametrize("count", [6, 10, 25, 101, 1000])
@pytest.mark.parametrize("kind", ["normal", "lognormal", "bimodal"])
def test_the_medians_interval_holds_the_true_median_as_often_as_it_says(count: int, kind: str) -> None:
    rng = np.random.default_rng([count, len(kind)])
    rounds = 1500
    if kind == "normal":
        draws, truth = rng.normal(10, 1, (rounds, count)), 10.0
    elif kind == "lognormal":
        draws, truth = rng.lognormal(0, 1, (rounds, count)), 1.0
    else:  # two clouds of unequal weight: the median lies in the heavier
        heavy = rng.random((rounds, count)) < 0.8
        draws = np.where(heavy, rng.uniform(0, 1, (rounds, count)), rng.uniform(5, 6, (rounds, count)))
        truth = 0.5 / 0.8
    inside = 0
    for values in draws:
        interval = stats.median_interval(values)
        assert interval is not None
        assert interval[0] <= np.median(values) <= interval[1]
        inside += interval[0] <= truth <= interval[1]
    spread = 3 * math.sqrt(0.95 * 0.05 / rounds)
    assert inside / rounds >= 0.95 - spread
    if count >= 100:  # with few values the ranks are coarse, and the interval is wider than it need be
        assert inside / rounds <= 0.98


def test_five_values_tell_nothing_about_a_median() -> None:
    assert stats.median_interval([1.0] * 5) is None
    assert stats.median_interval([1.0] * 6) == (1.0, 1.0)


@pytest.mark.parametrize("count", [40, 1500])
def test_a_ratios_interval_holds_the_true_ratio_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(count)
    rounds, inside = 300, 0
    for seed in range(rounds):
        above, below = rng.normal(20, 1, count), rng.normal(10, 1, count)
        ratio, (low, high) = stats.ratio_interval(above, below, seed=seed, draws=400)
        assert ratio == pytest.approx(np.median(above) / np.median(below))
        inside += low <= 2.0 <= high
    assert 0.90 <= inside / rounds <= 0.99


def wandering(rng: np.random.Generator, count: int) -> np.ndarray:
    """Times of one and the same: 2 % noise on a speed that drifts by 3 %, with a memory of a tenth of the run."""
    keeps, speed, values = math.exp(-10 / count), rng.normal(0, 0.03), []
    for _ in range(count):
        speed = keeps * speed + rng.normal(0, 0.03 * math.sqrt(1 - keeps**2))
        values.append((1 + speed) * (1 + rng.normal(0, 0.02)))
    return np.array(values)


def test_drift_within_a_run_is_in_the_interval_and_a_clear_slowdown_stays_clear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng, rounds = np.random.default_rng(5), 60
    sides = [(wandering(rng, 300), wandering(rng, 300)) for _ in range(rounds)]

    def intervals(factor: float = 1.0) -> list[stats.Interval]:
        return [
            stats.ratio_interval(one, factor * other, seed=seed, draws=200)[1]
            for seed, (one, other) in enumerate(sides)
        ]

    with monkeypatch.context() as before:
        before.setattr(stats, "drift", lambda values: 0.0)
        independent = sum(low <= 1 <= high for low, high in intervals()) / rounds
    assert independent < 0.5, "what the bootstrap alone would cover"
    assert sum(low <= 1 <= high for low, high in intervals()) / rounds >= 0.9
    assert sum(high < 0.97 for _, high in intervals(1.25)) / rounds >= 0.9


@given(st.lists(st.floats(0.1, 10), min_size=8, max_size=60))
def test_drift_is_what_the_parts_say_one_after_the_other(values: list[float]) -> None:
    parts: list[list[float]] = []
    for number in range(4):  # the first ones take what is left over
        size = len(values) // 4 + (number < len(values) % 4)
        taken = sum(map(len, parts))
        parts.append(values[taken : taken + size])
    medians = [statistics.median(part) for part in parts]
    error = statistics.stdev(medians) / math.sqrt(4) / statistics.mean(medians)
    assert stats.drift(values) == pytest.approx(error * 3.182446305, rel=1e-8, abs=1e-12)
    assert stats.drift(values[:7]) == 0.0


def test_a_ratio_can_be_repeated() -> None:
    sides = [1.0, 2.0, 3.0], [2.0, 2.0, 4.0]
    assert stats.ratio_interval(*sides, seed=3) == stats.ratio_interval(*sides, seed=3)
    assert stats.ratio_interval(*sides)[0] == 1.0


def test_a_ratio_needs_both_sides() -> None:
    with pytest.raises(ValueError, match="both sides"):
        stats.ratio_interval([], [1.0])
