"""A histogram of magnitudes that grows with its data: bins by the bits of the float itself, folded batch by batch.

The bin of a float32 is its exponent and the upper 11 bits of its mantissa, one shift of its bits: 2048 equal bins an
octave, so that the resolution is relative (2⁻¹¹) and no range has to be known before the first batch. Kept are the
16 octaves below the largest magnitude seen so far; everything smaller, zeros included, is counted in one bin, since no
8-bit format with a sensible threshold tells it from zero. When a larger value appears the window moves up, which only
merges whole octaves into that bin: the result does not depend on the order of the data, nor on how it was cut into
batches. Memory: 256 KiB a tensor, whatever the number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BINS", "BINS_PER_OCTAVE", "OCTAVES", "Histogram", "HistogramBuilder"]

BINS_PER_OCTAVE = 2048
OCTAVES = 16
BINS = 1 + OCTAVES * BINS_PER_OCTAVE
"""Bin 0 counts what lies below the window."""

_MANTISSA_SHIFT = 12  # 23 mantissa bits less 11
_EXPONENT_BIAS = 127
_LOWEST_TOP = OCTAVES  # below this biased exponent the window would reach into zero, which must stay in bin 0

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Histogram:
    """Magnitudes of one tensor.

    Attributes:
        counts: int64, shape [:data:`BINS`]; ``counts[0]`` is what lies below the window, zeros included, and
            ``counts[1 + j * 2048 + k]`` is octave ``j``, bin ``k``.
        top: binary exponent of the highest octave: it holds ``2**top <= |x| < 2**(top + 1)``.
        amax: the largest magnitude, exact; ``counts`` may come from a sample of the values, ``amax`` never does.
    """

    counts: Counts
    top: int
    amax: float

    @property
    def total(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum())

    def edges(self) -> Values:
        """Lower edge of every bin and the upper edge of the last, shape [BINS + 1]; ``edges[0]`` is 0."""
        octaves = np.ldexp(1.0, np.arange(self.top - OCTAVES + 1, self.top + 1))
        within = 1.0 + np.arange(BINS_PER_OCTAVE) / BINS_PER_OCTAVE
        return np.concatenate([[0.0], np.outer(octaves, within).ravel(), [2.0 ** (self.top + 1)]])

    def centres(self) -> Values:
        """The magnitude that stands for every bin, shape [BINS]: its middle, and 0 for bin 0."""
        edges = self.edges()
        middles = (edges[:-1] + edges[1:]) / 2
        middles[0] = 0.0
        return middles

    def linear(self) -> tuple[Counts, float]:
        """The same counts in 4096 equal bins from 0 to the end of the highest octave in use, and the bins' width.

        So 2049 to 4096 of them are in use. The bins of that octave are these bins already; those of lower octaves merge
        by powers of two, so no count is split. Everything below the window is in the first one. If nothing lies in the
        window, the width is that for its lowest octave.
        """
        octaves = self.counts[1:].reshape(OCTAVES, BINS_PER_OCTAVE)
        occupied = np.flatnonzero(octaves.any(axis=1))
        highest = int(occupied[-1]) if occupied.size else 0
        counts = np.zeros(2 * BINS_PER_OCTAVE, np.int64)
        counts[0] = self.counts[0]
        for depth in range(highest + 1):
            octave, bins = octaves[highest - depth], BINS_PER_OCTAVE >> depth
            if bins:
                counts[bins : 2 * bins] = octave.reshape(bins, -1).sum(axis=1)
            else:
                counts[0] += octave.sum()
        return counts, 2.0 ** (self.top - OCTAVES + 1 + highest) / BINS_PER_OCTAVE


class HistogramBuilder:
    """Counts the magnitudes of one tensor, batch by batch.

    Attributes:
        counts, top: see :class:`Histogram`; ``top`` is the lowest possible until something was counted.
    """

    def __init__(self, counts: Counts | None = None, top: int = _LOWEST_TOP - _EXPONENT_BIAS) -> None:
        self.counts: Counts = np.zeros(BINS, np.int64) if counts is None else counts
        self.top = top

    def add(self, values: npt.NDArray[np.float32], amax: float) -> None:
        """Count the magnitudes of ``values`` (float32, finite, any shape), none of which exceeds ``amax``."""
        largest = int(np.float32(amax).view(np.int32)) >> 23
        self._raise_to(max(largest, _LOWEST_TOP) - _EXPONENT_BIAS)
        floor = (self.top + _EXPONENT_BIAS - OCTAVES + 1) * BINS_PER_OCTAVE
        bins = np.ascontiguousarray(values).reshape(-1).view(np.int32) & 0x7FFFFFFF
        bins >>= _MANTISSA_SHIFT
        bins -= floor - 1
        np.maximum(bins, 0, out=bins)
        self.counts += np.bincount(bins, minlength=BINS)

    def freeze(self, amax: float) -> Histogram:
        """What was counted so far; ``amax`` is the largest magnitude of all values."""
        return Histogram(self.counts.copy(), self.top, amax)

    def _raise_to(self, top: int) -> None:
        if top <= self.top:
            return
        lost = min((top - self.top) * BINS_PER_OCTAVE, BINS - 1)
        kept = self.counts[1 + lost :].copy()
        self.counts[0] += self.counts[1 : 1 + lost].sum()
        self.counts[1:] = 0
        self.counts[1 : 1 + kept.size] = kept
        self.top = top
