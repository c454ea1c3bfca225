"""Exact minimum and maximum: the threshold is the largest magnitude seen; nothing is clipped."""

from __future__ import annotations

from calibration.histogram import Histogram

__all__ = ["threshold"]


def threshold(histogram: Histogram) -> float:
    """The largest magnitude of all values, exact; 0 for a tensor that is always zero."""
    return histogram.amax
