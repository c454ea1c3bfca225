"""Minimum/maximum and percentile against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from calibration import minmax, percentile
from calibration.histogram import HistogramBuilder
from tests.calibration.distributions import DISTRIBUTIONS, draw, histogram


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("percent", [90.0, 99.0, 99.9, 99.99, 100.0])
def test_percentile_is_numpys_within_a_bin(name: str, percent: float) -> None:
    values = np.abs(draw(name)).astype(np.float64)
    exact = float(np.percentile(values, percent, method="inverted_cdf"))
    found = percentile.threshold(histogram(values), percent)
    if exact == 0:
        assert found == values.max()
    else:
        assert exact <= found <= exact * (1 + 1 / 2048) + 1e-12


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_minmax_is_exact(name: str) -> None:
    values = draw(name)
    assert minmax.threshold(histogram(values)) == np.abs(values).max()


def test_a_dead_tensor_has_no_range() -> None:
    assert percentile.threshold(HistogramBuilder().freeze(0.0)) == 0
    assert minmax.threshold(histogram(np.zeros(5))) == 0
