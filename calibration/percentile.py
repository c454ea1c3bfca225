"""Percentile of the magnitudes: the largest values, up to a fixed share, are clipped.

Zeros count as values. The method is old folklore; for its use in calibration see Wu et al., "Integer Quantization for
Deep Learning Inference: Principles and Empirical Evaluation", 2020, arXiv:2004.09602.
"""

from __future__ import annotations

import numpy as np

from calibration.histogram import Histogram

__all__ = ["DEFAULT_PERCENT", "threshold"]

DEFAULT_PERCENT = 99.99


def threshold(histogram: Histogram, percent: float = DEFAULT_PERCENT) -> float:
    """The smallest bin edge that has at least ``percent`` % of the magnitudes below it; at most the largest magnitude.

    It lies at most one part in 2048 above the exact percentile of the values that were counted. If that falls among
    the zeros (more than ``percent`` % of the values are zero), no threshold follows from it and the largest magnitude
    is returned.
    """
    cumulated = np.cumsum(histogram.counts)
    wanted = percent / 100 * float(cumulated[-1])
    index = int(np.searchsorted(cumulated, wanted))
    if index == 0:
        return histogram.amax
    return min(float(histogram.edges()[index + 1]), histogram.amax)
