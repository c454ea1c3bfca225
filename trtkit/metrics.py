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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trtkit.tensor_blocks import BLOCK, Block, blocks_of, joined, norm, sizes

__all__ = ["TensorDifference", "compare", "nearness"]

Array = npt.NDArray[Any]


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


def nearness(reference: Array, candidate: Array) -> tuple[float | None, float | None]:
    """``relative_l2`` and ``equal_fraction`` of :func:`compare` alone, in a fraction of its time.

    Args:
        reference, candidate: as for :func:`compare`.

    Raises:
        ValueError: as :func:`compare`.
    """
    _check(reference, candidate, 0.0, 0.0)
    signals, noises, same = [0.0], [0.0], 0
    with np.errstate(over="ignore", invalid="ignore"):
        for r, c in blocks_of(reference, candidate):
            wide = r.astype(np.float64)
            signals.append(norm(wide))
            noises.append(norm(c - wide))
            same += int(np.count_nonzero(r == c))
    signal, noise = joined(signals), joined(noises)
    if not (math.isfinite(signal) and math.isfinite(noise)):  # NaN and infinity have rules of their own
        whole = compare(reference, candidate, rtol=0.0, atol=0.0)
        return whole.relative_l2, whole.equal_fraction
    error = 0.0 if noise == 0 else noise / signal if signal else None
    return error, same / reference.size if reference.size else None


def _compare(reference: Array, candidate: Array, rtol: float, atol: float) -> TensorDifference:
    blocks = [Block.of(r, c, rtol, atol) for r, c in blocks_of(reference, candidate)]
    odd = sum(block.odd for block in blocks)
    same, elements = sum(block.same for block in blocks), int(reference.size)
    figures: dict[str, float | None] = dict.fromkeys(_FIGURES)
    if not odd:
        finite = sum(block.compared for block in blocks) == elements
        figures = {
            **_errors(blocks),
            "centred_sqnr_db": _centred(reference, joined(block.noise for block in blocks)) if finite else None,
            "top1_agreement": _top1(reference, candidate),
            "smallest_passing_rtol": _smallest_rtol(reference, candidate, blocks, atol),
            "smallest_passing_atol": _smallest_atol(reference, candidate, blocks, rtol),
        }
    return TensorDifference(
        elements=elements,
        rtol=rtol,
        atol=atol,
        exact=same == elements,
        compared_elements=sum(block.compared for block in blocks),
        nan_count_reference=sum(block.nan[0] for block in blocks),
        inf_count_reference=sum(block.inf[0] for block in blocks),
        nan_count_candidate=sum(block.nan[1] for block in blocks),
        inf_count_candidate=sum(block.inf[1] for block in blocks),
        equal_fraction=same / elements if elements else None,
        mismatched_elements=odd + sum(block.beyond for block in blocks),
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


def _errors(blocks: Sequence[Block]) -> dict[str, float | None]:
    signal, other, noise = (joined(getattr(block, name) for block in blocks) for name in ("signal", "other", "noise"))
    largest = [block.max_abs for block in blocks if block.max_abs is not None]
    relative = [block.max_rel for block in blocks if block.max_rel is not None]
    count = sum(block.count_rel for block in blocks)
    cosine: float | None = None
    if signal and other:
        parts = (block.cosine * (block.signal / signal) * (block.other / other) for block in blocks)
        cosine = max(-1.0, min(1.0, math.fsum(parts)))
    elif any(block.compared for block in blocks):
        cosine = 1.0 if signal == other else None
    return {
        "max_abs": _finite(max(largest)) if largest else None,
        "max_rel": _finite(max(relative)) if relative else None,
        "mean_rel": _finite(sum(block.sum_rel for block in blocks) / count) if count else None,
        "relative_l2": 0.0 if noise == 0 else _finite(noise / signal) if signal else None,
        "cosine": cosine,
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


def _decibels(signal: float, noise: float) -> float | None:
    """20 log₁₀ of a ratio of norms, which is 10 log₁₀ of the ratio of their squares."""
    return _finite(20 * (math.log10(signal) - math.log10(noise))) if signal and noise else None


def _centred(reference: Array, noise: float) -> float | None:
    if reference.ndim == 0 or reference.shape[0] < 2:
        return None
    rows = reference.reshape(reference.shape[0], -1)
    step = max(1, BLOCK // rows.shape[0])
    parts = (rows[:, start : start + step].astype(np.float64) for start in range(0, rows.shape[1], step))
    return _decibels(joined(norm(part - part.mean(axis=0)) for part in parts), noise)


def _top1(reference: Array, candidate: Array) -> float | None:
    if reference.ndim != 2 or reference.shape[0] == 0 or reference.shape[1] < 2:
        return None
    rows = np.arange(reference.shape[0])
    # argmax and max take a NaN for the largest; NaNs match here (an odd one never comes this far), so its row agrees.
    best, picked = reference.max(axis=1), reference[rows, np.argmax(candidate, axis=1)]
    return float(np.mean((picked == best) | (np.isnan(picked) & np.isnan(best))))


def _smallest_rtol(reference: Array, candidate: Array, blocks: Sequence[Block], atol: float) -> float | None:
    found = _finite(max((block.needed_rtol for block in blocks), default=0.0))
    if found == 0.0:
        return found
    # The quotient is rounded: step up until the very test that `compare` makes passes.
    while found is not None and _any_beyond(reference, candidate, found, atol):
        found = _finite(np.nextafter(found, np.inf))
    return found


def _smallest_atol(reference: Array, candidate: Array, blocks: Sequence[Block], rtol: float) -> float | None:
    found = _finite(max((block.needed_atol for block in blocks), default=0.0))
    while found is not None and _any_beyond(reference, candidate, rtol, found):
        found = _finite(np.nextafter(found, np.inf))
    return found


def _any_beyond(reference: Array, candidate: Array, rtol: float, atol: float) -> bool:
    parts = (sizes(r, c)[2:] for r, c in blocks_of(reference, candidate))
    return any(bool((error > atol + rtol * size).any()) for error, size in parts)
