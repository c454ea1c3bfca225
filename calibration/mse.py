"""Mean squared error: the threshold at which rounding and clipping together cost least.

For a threshold T the levels of the format are scaled to T, every magnitude goes to its nearest level, and the squared
distances are summed. See Wu et al. 2020, arXiv:2004.09602, and Choukroun et al. 2019, arXiv:1902.06822. The sum over a
level's cell is Σx² − 2L·Σx + L²·n, so three running sums over the histogram give it for any threshold without touching
the bins again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calibration.histogram import Histogram
from calibration.levels import levels

__all__ = ["CANDIDATES", "candidates", "errors", "threshold"]

CANDIDATES = 512
_SMALLEST = 1 / 256
"""The smallest candidate, relative to the largest magnitude."""


def threshold(histogram: Histogram, dtype: str = "int8") -> float:
    """The candidate with the smallest expected squared error; 0 for a tensor that is always zero."""
    if histogram.amax == 0:
        return 0.0
    tried = candidates(histogram)
    return float(tried[int(np.argmin(errors(histogram, tried, dtype)))])


def candidates(histogram: Histogram) -> npt.NDArray[np.float64]:
    """Thresholds to try: :data:`CANDIDATES` of them in equal ratios (1.1 %) up to the largest magnitude."""
    return histogram.amax * np.geomspace(_SMALLEST, 1.0, CANDIDATES)


def errors(histogram: Histogram, thresholds: npt.NDArray[np.float64], dtype: str = "int8") -> npt.NDArray[np.float64]:
    """Mean squared quantization error for each threshold, every bin standing for its centre; shape as ``thresholds``.

    The bins are 2⁻¹¹ wide, relative to their value, which moves the error itself far less than one threshold's to the
    next. Magnitudes are treated alike on both sides of zero (int8's −128 is not used).
    """
    scaled = np.outer(thresholds, levels(dtype))
    centres = histogram.centres()
    boundaries = np.searchsorted(centres, (scaled[:, 1:] + scaled[:, :-1]) / 2)
    first = np.zeros((len(thresholds), 1), boundaries.dtype)
    boundaries = np.concatenate([first, boundaries, first + len(centres)], axis=1)
    squares, sums, numbers = (_cells(histogram.counts * centres**power, boundaries) for power in (2, 1, 0))
    total = np.sum(squares - 2 * scaled * sums + scaled * scaled * numbers, axis=1)
    return np.asarray(total / histogram.total, np.float64)


def _cells(weights: npt.NDArray[np.float64], boundaries: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    running = np.concatenate([[0.0], np.cumsum(weights)])
    return np.asarray(np.diff(running[boundaries], axis=1))
