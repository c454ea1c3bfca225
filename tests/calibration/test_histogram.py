"""The float-bit histogram against plain counting, and its independence of order and batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibration.histogram import BINS, BINS_PER_OCTAVE, OCTAVES, Histogram, HistogramBuilder
from tests.calibration.distributions import DISTRIBUTIONS, draw, histogram

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


def _same(a: Histogram, b: Histogram) -> bool:
    return a.top == b.top and a.amax == b.amax and np.array_equal(a.counts, b.counts)


def _folded(parts: list[np.ndarray]) -> Histogram:
    builder, amax = HistogramBuilder(), 0.0
    for part in parts:
        largest = float(np.abs(part).max(initial=0.0))
        amax = max(amax, largest)
        builder.add(part.astype(np.float32), largest)
    return builder.freeze(amax)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_counts_are_those_of_numpy_over_the_same_edges(name: str) -> None:
    values = draw(name)
    made = histogram(values)
    expected, _ = np.histogram(np.abs(values).astype(np.float64), bins=made.edges())
    assert np.array_equal(made.counts, expected)
    assert made.total == values.size


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_linear_bins_are_those_of_numpy(name: str) -> None:
    values = draw(name)
    counts, width = histogram(values).linear()
    edges = np.arange(len(counts) + 1) * width
    expected, _ = np.histogram(np.abs(values).astype(np.float64), bins=edges)
    assert np.array_equal(counts, expected)
    assert np.flatnonzero(counts)[-1] >= BINS_PER_OCTAVE


def test_edges_are_a_relative_resolution_of_one_in_2048() -> None:
    edges = histogram(np.array([1.5])).edges()
    assert edges.shape == (BINS + 1,)
    assert edges[0] == 0
    assert edges[-1] == 2.0
    assert edges[1] == 2.0 ** (1 - OCTAVES)
    widths = np.diff(edges[1:]) / edges[1:-1]
    assert widths.max() == 1 / BINS_PER_OCTAVE


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 60), elements=FINITE), st.integers(1, 7), st.randoms(use_true_random=False)
)
def test_batches_and_their_order_do_not_matter(values: np.ndarray, pieces: int, random: object) -> None:
    parts = np.array_split(values, pieces)
    random.shuffle(parts)  # type: ignore[attr-defined]
    assert _same(_folded(parts), _folded([values]))


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 60), elements=FINITE))
def test_every_value_is_counted_in_the_bin_that_holds_it(values: np.ndarray) -> None:
    made = _folded([values])
    assert made.total == values.size
    edges = made.edges()
    for magnitude in np.abs(values).astype(np.float64):
        index = int(np.searchsorted(edges, magnitude, side="right")) - 1
        assert made.counts[index] > 0


def test_a_larger_value_moves_what_is_too_small_into_the_first_bin() -> None:
    builder = HistogramBuilder()
    builder.add(np.full(3, 1.0, np.float32), 1.0)
    builder.add(np.full(2, 2.0 ** (OCTAVES - 1), np.float32), 2.0 ** (OCTAVES - 1))
    assert builder.counts[0] == 0
    builder.add(np.full(1, 2.0**OCTAVES, np.float32), 2.0**OCTAVES)
    assert builder.counts[0] == 3
    builder.add(np.full(1, 1e30, np.float32), 1e30)
    assert builder.counts[0] == 6
    assert builder.counts.sum() == 7


def test_zeros_and_subnormals_are_in_the_first_bin() -> None:
    made = histogram(np.array([0.0, -0.0, 1e-45, 1e-40]))
    assert made.counts[0] == 4
    counts, width = made.linear()
    assert counts[0] == 4
    assert width > 0


def test_the_linear_bins_follow_what_was_counted_not_the_exact_maximum() -> None:
    builder = HistogramBuilder()
    builder.add(np.linspace(0.5, 0.9, 100, dtype=np.float32), 1000.0)  # the outlier was not in the sample
    counts, width = builder.freeze(1000.0).linear()
    assert width == 2.0**-1 / BINS_PER_OCTAVE
    assert counts.sum() == 100
