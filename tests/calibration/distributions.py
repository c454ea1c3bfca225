"""Tensors with the shapes of distribution that networks have, and their histograms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from calibration.histogram import Histogram, HistogramBuilder

__all__ = ["DISTRIBUTIONS", "draw", "histogram"]

_SIZE = 20_000


def histogram(values: np.ndarray) -> Histogram:
    """Of all values at once."""
    builder = HistogramBuilder()
    amax = float(np.abs(values).max())
    builder.add(values.astype(np.float32), amax)
    return builder.freeze(amax)


def _outliers(rng: np.random.Generator) -> np.ndarray:
    values = rng.standard_normal(_SIZE)
    values[:5] *= 200
    return values


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "normal": lambda rng: rng.standard_normal(_SIZE),
    "rectified": lambda rng: np.maximum(rng.standard_normal(_SIZE), 0) * 37,
    "laplace": lambda rng: rng.laplace(size=_SIZE) * 1e-3,
    "heavy tail": lambda rng: rng.standard_t(3, _SIZE),
    "uniform": lambda rng: rng.uniform(-1, 1, _SIZE),
    "outliers": _outliers,
    "mostly zero": lambda rng: np.maximum(rng.standard_normal(_SIZE) - 2, 0),
    "pixels": lambda rng: rng.integers(0, 256, _SIZE) / 255.0,
}
"""Name → generator → float64 values."""


def draw(name: str, seed: int = 0) -> np.ndarray:
    """float32 values of one distribution."""
    return DISTRIBUTIONS[name](np.random.default_rng(seed)).astype(np.float32)
