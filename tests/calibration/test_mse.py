"""Mean squared error against quantizing every single value."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from calibration import mse
from calibration.histogram import HistogramBuilder
from calibration.levels import levels, migacz_groups
from tests.calibration.distributions import DISTRIBUTIONS, draw, histogram
from trtkit.errors import UsageError


def _slow_error(values: np.ndarray, threshold: float, dtype: str) -> float:
    """Quantize every value by the format itself, and average the squared differences."""
    if dtype == "int8":
        scale = threshold / 127
        quantized = np.clip(np.rint(values / scale), -127, 127) * scale
    else:
        scale = threshold / 448
        clipped = np.clip(values / scale, -448, 448)
        quantized = clipped.astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * scale
    return float(np.mean((values - quantized) ** 2))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_errors_are_those_of_quantizing_every_value(name: str, dtype: str) -> None:
    values = draw(name).astype(np.float64)
    made = histogram(values)
    tried = mse.candidates(made)[::17]
    expected = np.array([_slow_error(values, t, dtype) for t in tried])
    found = mse.errors(made, tried, dtype)
    # Pixels sit in few places, where the middle of a bin stands for a spike at its edge.
    tolerance = 0.02 if name == "pixels" else 0.01
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=(made.amax / 4096) ** 2)


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS.keys() - {"pixels"}))
@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_the_threshold_is_as_good_as_the_best_of_the_slow_search(name: str, dtype: str) -> None:
    values = draw(name).astype(np.float64)
    made = histogram(values)
    best = min(_slow_error(values, t, dtype) for t in mse.candidates(made)[::8])
    assert _slow_error(values, mse.threshold(made, dtype), dtype) <= best * 1.01


def test_the_best_threshold_of_a_normal_distribution_is_the_published_one() -> None:
    """Banner et al. 2019 (arXiv:1810.05723) for 8 bits: clipping at 3.92 standard deviations."""
    values = np.random.default_rng(1).standard_normal(2_000_000)
    assert mse.threshold(histogram(values)) == pytest.approx(3.92, rel=0.03)


def test_a_dead_tensor_has_no_range() -> None:
    assert mse.threshold(HistogramBuilder().freeze(0.0)) == 0


def test_fp8_levels_are_all_finite_magnitudes_of_e4m3() -> None:
    every = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    assert np.array_equal(levels("fp8") * 448, np.unique(np.abs(every[np.isfinite(every)])))


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_groups_go_from_zero_to_one(dtype: str) -> None:
    groups = migacz_groups(dtype)
    assert (groups[0], groups[-1]) == (0, 1)
    assert (np.diff(groups) > 0).all()
    assert math.isclose(levels(dtype)[-1], 1)


def test_other_types_are_refused() -> None:
    with pytest.raises(UsageError, match="int4"):
        levels("int4")
