"""How far a candidate tensor is from its reference: pure NumPy, every formula written down, accumulated in float64.

With r the reference, c the candidate, sums and maxima over all elements:

    max_abs              max |c − r|
    max_rel, mean_rel    max and mean of |c − r| / |r| over the elements with r ≠ 0; None if there are none
    relative_l2          ‖c − r‖₂ / ‖r‖₂; None if r = 0 everywhere and c is not
    cosine               Σ c·r / (‖c‖₂ ‖r‖₂); None if exactly one of them is zero everywhere, 1 if both are
    sqnr_db              10 log₁₀(Σ r² / Σ (c − r)²), the signal-to-quantization-noise ratio
    centred_sqnr_db      10 log₁₀(Σ (r − r̄)² / Σ (c − r)²), r̄ the mean over the batch (axis 0), position by position:
                         the signal is what tells one image from another, so what all have in common flatters nobody
    top1_agreement       share of rows in which the candidate's largest value lies where the reference, too, has its
                         largest: of a tie in the reference any class will do, of one in the candidate the first counts
    equal_fraction       share of elements with c = r
    mismatched_elements  number of elements with |c − r| > atol + rtol·|r| (NumPy's ``isclose``)

Two equal infinities match, and so do two NaNs (both sides computed "not a number"); such pairs are left out of the
error figures, and ``compared_elements`` says how many remain. Any other pair with a NaN or an infinity is a mismatch at
every tolerance, and then no error figure exists: each is None, since one over the remaining elements would flatter.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["TensorDifference", "compare"]

Array = npt.NDArray[Any]
Row = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TensorDifference:
    """The difference of two tensors; formulas in the module's text. A figure that is not defined is None, never NaN.

    Attributes:
        elements: of each tensor.
        rtol, atol: the tolerance asked for.
        exact: whether every element matches. ``sqnr_db`` then is None: it would be infinite.
        max_abs, max_rel, mean_rel, relative_l2, cosine: errors, without unit.
        sqnr_db, centred_sqnr_db: in dB; the second is None for a batch of one.
        top1_agreement: 0 to 1; only for tensors of shape [batch, classes] with two classes or more.
        compared_elements: elements that are finite on both sides.
        nan_count_reference, inf_count_reference: elements of the reference that are NaN, or infinite.
        nan_count_candidate, inf_count_candidate: elements of the candidate that are NaN, or infinite.
        mismatched_elements: elements outside the tolerance.
        smallest_passing_rtol: smallest rtol that passes with this ``atol``; None if none does.
        smallest_passing_atol: smallest atol that passes with this ``rtol``; None if none does.
        equal_fraction: 0 to 1: the share of elements that are equal, two NaNs included; None for empty tensors. It is
            what integers (classes, indices) are judged by.
    """

    elements: int
    rtol: float
    atol: float
    exact: bool
    max_abs: float | None
    max_rel: float | None
    mean_rel: float | None
    relative_l2: float | None
    cosine: float | None
    sqnr_db: float | None
    centred_sqnr_db: float | None
    top1_agreement: float | None
    compared_elements: int
    nan_count_reference: int
    inf_count_reference: int
    nan_count_candidate: int
    inf_count_candidate: int
    mismatched_elements: int
    smallest_passing_rtol: float | None
    smallest_passing_atol: float | None
    equal_fraction: float | None = None

    @property
    def passed(self) -> bool:
        """Whether every element is within the tolerance. Two empty tensors pass."""
        return self.mismatched_elements == 0

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values, without NaN and infinity; ``passed`` is included."""
        return {**asdict(self), "passed": self.passed}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TensorDifference:
        """The inverse of :meth:`as_json`."""
        return cls(**{name: entry for name, entry in value.items() if name != "passed"})


def compare(reference: Array, candidate: Array, *, rtol: float, atol: float) -> TensorDifference:
    """Compare two tensors element by element.

    Args:
        reference: any numeric or boolean array; what is right.
        candidate: an array of the same shape and the same kind of type (float16 may meet float32, but no integer).
        rtol, atol: an element passes if |c − r| ≤ atol + rtol·|r|; both finite and not negative.

    Raises:
        ValueError: shapes or kinds of types differ, a type is not numeric, or a tolerance is negative or not finite.
    """
    _check(reference, candidate, rtol, atol)
    with np.errstate(over="ignore"):  # what overflows float64 is reported as None
        return _compare(reference, candidate, float(rtol), float(atol))


def _compare(reference: Array, candidate: Array, rtol: float, atol: float) -> TensorDifference:
    r, c = (array.astype(np.float64).reshape(-1) for array in (reference, candidate))
    finite = np.isfinite(r) & np.isfinite(c)
    same = (reference == candidate).reshape(-1) | (np.isnan(r) & np.isnan(c))
    odd = int(np.count_nonzero(~finite & ~same))
    rf, cf = r[finite], c[finite]
    error, size = np.abs(cf - rf), np.abs(rf)
    figures: dict[str, float | None] = dict.fromkeys(_FIGURES)
    if not odd:
        figures = {
            **_errors(rf, cf, error, size),
            "centred_sqnr_db": _centred(reference, error) if finite.all() else None,
            "top1_agreement": _top1(reference, candidate),
            "smallest_passing_rtol": _smallest_rtol(error, size, atol),
            "smallest_passing_atol": _smallest_atol(error, size, rtol),
        }
    return TensorDifference(
        elements=int(r.size),
        rtol=rtol,
        atol=atol,
        exact=bool(same.all()),
        compared_elements=int(rf.size),
        nan_count_reference=int(np.count_nonzero(np.isnan(r))),
        inf_count_reference=int(np.count_nonzero(np.isinf(r))),
        nan_count_candidate=int(np.count_nonzero(np.isnan(c))),
        inf_count_candidate=int(np.count_nonzero(np.isinf(c))),
        equal_fraction=float(same.mean()) if same.size else None,
        mismatched_elements=odd + int(np.count_nonzero(error > atol + rtol * size)),
        **figures,
    )


_FIGURES = (
    "max_abs",
    "max_rel",
    "mean_rel",
    "relative_l2",
    "cosine",
    "sqnr_db",
    "centred_sqnr_db",
    "top1_agreement",
    "smallest_passing_rtol",
    "smallest_passing_atol",
)


def _errors(r: Row, c: Row, error: Row, size: Row) -> dict[str, float | None]:
    relative = error[size > 0] / size[size > 0]
    noise, signal = _norm(error), _norm(r)
    return {
        "max_abs": _finite(error.max()) if error.size else None,
        "max_rel": _finite(relative.max()) if relative.size else None,
        "mean_rel": _finite(relative.mean()) if relative.size else None,
        "relative_l2": 0.0 if noise == 0 else _finite(noise / signal) if signal else None,
        "cosine": _cosine(r, c),
        "sqnr_db": _decibels(signal, noise),
    }


def _check(reference: Array, candidate: Array, rtol: float, atol: float) -> None:
    if reference.shape != candidate.shape:
        raise ValueError(f"shapes differ: reference {reference.shape}, candidate {candidate.shape}")
    kinds = {"b": "bool", "i": "integer", "u": "integer", "f": "float"}
    for side, array in (("reference", reference), ("candidate", candidate)):
        if array.dtype.kind not in kinds:
            raise ValueError(f"{side} is of type {array.dtype}; float, integer and bool can be compared")
    if kinds[reference.dtype.kind] != kinds[candidate.dtype.kind]:
        raise ValueError(f"kinds of types differ: reference {reference.dtype}, candidate {candidate.dtype}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}; a finite number that is not negative is needed")


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _norm(values: Array) -> float:
    """‖values‖₂, with the largest element scaled to 1 first, so that no square overflows or vanishes."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(float(np.square(values / largest).sum()))


def _decibels(signal: float, noise: float) -> float | None:
    """20 log₁₀ of a ratio of norms, which is 10 log₁₀ of the ratio of their squares."""
    return _finite(20 * (math.log10(signal) - math.log10(noise))) if signal and noise else None


def _cosine(r: Row, c: Row) -> float | None:
    r_norm, c_norm = _norm(r), _norm(c)
    if not r.size:
        return None
    if not (r_norm and c_norm):
        return 1.0 if r_norm == c_norm else None
    return max(-1.0, min(1.0, float((r / r_norm) @ (c / c_norm))))


def _centred(reference: Array, error: Row) -> float | None:
    if reference.ndim == 0 or reference.shape[0] < 2:
        return None
    r = reference.astype(np.float64)
    return _decibels(_norm(r - r.mean(axis=0)), _norm(error))


def _top1(reference: Array, candidate: Array) -> float | None:
    if reference.ndim != 2 or reference.shape[0] == 0 or reference.shape[1] < 2:
        return None
    rows = np.arange(reference.shape[0])
    # argmax and max take a NaN for the largest; NaNs match here (an odd one never comes this far), so its row agrees.
    best, picked = reference.max(axis=1), reference[rows, np.argmax(candidate, axis=1)]
    return float(np.mean((picked == best) | (np.isnan(picked) & np.isnan(best))))


def _smallest_rtol(error: Row, size: Row, atol: float) -> float | None:
    beyond = error > atol
    if not beyond.any():
        return 0.0
    if (size[beyond] == 0).any():
        return None
    found = _finite(((error[beyond] - atol) / size[beyond]).max())
    # The quotient is rounded: step up until the very test that `compare` makes passes.
    while found is not None and (error > atol + found * size).any():
        found = _finite(np.nextafter(found, np.inf))
    return found


def _smallest_atol(error: Row, size: Row, rtol: float) -> float | None:
    found = _finite((error - rtol * size).max(initial=0.0))
    while found is not None and (error > found + rtol * size).any():
        found = _finite(np.nextafter(found, np.inf))
    return found
