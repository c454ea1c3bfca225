"""Two tensors, a part after the other: a comparison of large outputs takes no more memory than one of small ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK", "Block", "blocks_of", "joined", "norm", "sizes"]

Array = npt.NDArray[Any]
Row = npt.NDArray[np.float64]

BLOCK = 1 << 18
"""Elements that are compared at a time: what they need in float64 is some 20 MB."""


def blocks_of(reference: Array, candidate: Array) -> Iterator[tuple[Array, Array]]:
    """Both tensors, flat, a part after the other.

    Args:
        reference, candidate: arrays of one shape.
    """
    r, c = reference.reshape(-1), candidate.reshape(-1)
    for start in range(0, r.size, BLOCK):
        yield r[start : start + BLOCK], c[start : start + BLOCK]


def sizes(r: Array, c: Array) -> tuple[Row, Row, Row, Row]:
    """r, c, |c − r| and |r| of the elements that are finite on both sides, in float64."""
    r, c = r.astype(np.float64), c.astype(np.float64)
    finite = np.isfinite(r) & np.isfinite(c)
    if not finite.all():
        r, c = r[finite], c[finite]
    return r, c, np.abs(c - r), np.abs(r)


@dataclass(frozen=True)
class Block:
    """What one part of two tensors adds to the figures of the whole.

    Attributes:
        compared, same, odd, beyond: elements that are finite on both sides, equal, never equal, beyond the tolerance.
        nan, inf: how many in the reference and in the candidate.
        signal, other, noise: norms of r, of c and of c − r.
        cosine: of r and c.
        max_abs, max_rel: largest errors; ``None`` without elements.
        sum_rel, count_rel: sum and number of relative errors.
        needed_rtol: the largest (|c − r| − atol) / |r|; infinite if an element with r = 0 is beyond ``atol``.
        needed_atol: the largest |c − r| − rtol·|r|.
    """

    compared: int
    same: int
    odd: int
    beyond: int
    nan: tuple[int, int]
    inf: tuple[int, int]
    signal: float
    other: float
    noise: float
    cosine: float
    max_abs: float | None
    max_rel: float | None
    sum_rel: float
    count_rel: int
    needed_rtol: float
    needed_atol: float

    @classmethod
    def of(cls, reference: Array, candidate: Array, rtol: float, atol: float) -> Block:
        """Look at one part, small enough for a dozen copies in float64."""
        r, c, error, size = sizes(reference, candidate)
        same, odd, nan, inf = int(np.count_nonzero(reference == candidate)), 0, [0, 0], [0, 0]
        if r.size < reference.size:
            sides = reference.astype(np.float64), candidate.astype(np.float64)
            equal = (reference == candidate) | (np.isnan(sides[0]) & np.isnan(sides[1]))
            finite = np.isfinite(sides[0]) & np.isfinite(sides[1])
            same, odd = int(np.count_nonzero(equal)), int(np.count_nonzero(~finite & ~equal))
            nan = [int(np.count_nonzero(np.isnan(side))) for side in sides]
            inf = [int(np.count_nonzero(np.isinf(side))) for side in sides]
        nonzero = size > 0
        relative = error[nonzero] / size[nonzero]
        far = error > atol
        needed = np.where(nonzero[far], (error[far] - atol) / np.where(nonzero[far], size[far], 1.0), np.inf)
        signal, other = norm(r), norm(c)
        return cls(
            compared=int(r.size),
            same=same,
            odd=odd,
            beyond=int(np.count_nonzero(error > atol + rtol * size)),
            nan=(nan[0], nan[1]),
            inf=(inf[0], inf[1]),
            signal=signal,
            other=other,
            noise=norm(error),
            cosine=float((r / signal) @ (c / other)) if signal and other else 0.0,
            max_abs=float(error.max()) if error.size else None,
            max_rel=float(relative.max()) if relative.size else None,
            sum_rel=float(relative.sum()),
            count_rel=int(relative.size),
            needed_rtol=float(needed.max(initial=0.0)),
            needed_atol=float((error - rtol * size).max(initial=0.0)),
        )


def norm(values: Array) -> float:
    """‖values‖₂, with the largest element scaled to 1 first, so that no square overflows or vanishes."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(float(np.square(values / largest).sum()))


def joined(norms: Iterable[float]) -> float:
    """The norm of a whole from those of its parts."""
    return math.hypot(*norms)
