"""Candidate against reference: the outputs of both sides become checks, and checks a verdict. Plain NumPy.

Numbers are judged by their relative L2 error. Integers and booleans (a class, an index, a box on the pixel grid, a
mask) are judged by agreement, the share of equal values: how far class 3 is from class 7 means nothing. Scores are
judged before a final Softmax, because a saturated Softmax hides any error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from trtkit import metrics
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.samples import SamplePlan
from trtkit.artifacts.validation import OutputCheck
from trtkit.errors import RunError
from trtkit.graph.outputs import paired_scores

__all__ = [
    "AGAINST_QDQ",
    "AGREEMENTS",
    "AGREEMENT_WITH_QDQ",
    "TOLERANCES",
    "compared",
    "found_agreement",
    "needed_error",
    "not_finite",
    "observed_precision",
    "within",
]

TOLERANCES: dict[str, float | None] = {"fp32": 5e-3, "tf32": 5e-3, "fp16": 1e-2, "int8": None, "fp8": None}
"""Largest relative L2 error against the source that passes, by the precision asked. FP32 has TF32's, because on some
GPUs a builder multiplies FP32 in TF32 whatever it is told; which of the two it was is a finding of its own. INT8 and
FP8 have none: their difference from the source is the quantization error, which calibration measures on real data.
Their engines are held against their own Q/DQ graph instead."""

AGREEMENTS: dict[str, float | None] = {"fp32": 0.99, "tf32": 0.99, "fp16": 0.95, "int8": None, "fp8": None}
"""Smallest share of equal values of integer outputs that passes. One class of many may tip over where two scores are
nearly tied; of few values, all must be equal."""

AGAINST_QDQ = 0.1
"""The tolerance of an engine against its own Q/DQ graph: sums in another order tip some roundings over."""

AGREEMENT_WITH_QDQ = 0.9
"""The same for integer outputs."""

# FP32 gives about 1e-6 and TF32 about 5e-4; between the two, and above what TF32 can explain, the error tells nothing.
_FP32_BELOW, _TF32_ABOVE, _TF32_BELOW = 3e-5, 1e-4, 2e-2
_ELEMENT_RTOL, _ELEMENT_ATOL = 1e-2, 1e-5  # for the count of mismatched elements, which is told and not judged
_COUNTED = "biu"  # NumPy's kinds that are judged by agreement: bool, signed, unsigned


def compared(
    samples: SamplePlan,
    outputs: Sequence[TensorSpec],
    softmax_axes: Mapping[str, int],
    candidate: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    against: Literal["source", "qdq"] = "source",
) -> list[OutputCheck]:
    """One check for each case and output, and a second one for the scores before a Softmax.

    Args:
        samples: the cases; the arrays of case 0 are named ``0/OUTPUT``.
        outputs: of the model.
        softmax_axes: output name → axis of its Softmax.
        candidate, reference: the arrays of both sides.
        against: what the reference is.

    Raises:
        RunError: the two sides gave different shapes.
    """
    checks = []
    for index, case in enumerate(samples.cases):
        for spec in outputs:
            want, got = reference[f"{index}/{spec.name}"], candidate[f"{index}/{spec.name}"]
            if want.shape != got.shape:
                raise RunError(
                    f"Output {spec.name} of {case.label} has shape {got.shape}; the reference gives {want.shape}.",
                    hint="The plan was not built from this model, or the builder is wrong: convert again with --force.",
                )
            axis = softmax_axes.get(spec.name)
            by: Literal["error", "agreement"] = "agreement" if want.dtype.kind in _COUNTED else "error"
            found = metrics.compare(want, got.astype(want.dtype, copy=False), rtol=_ELEMENT_RTOL, atol=_ELEMENT_ATOL)
            checks.append(OutputCheck(case.label, spec.name, "output", axis is None, found, against, by))
            if axis is not None:
                found = metrics.compare(*paired_scores(want, got, axis), rtol=_ELEMENT_RTOL, atol=_ELEMENT_ATOL)
                checks.append(OutputCheck(case.label, spec.name, "before_softmax", True, found, against))
    return checks


def needed_error(checks: Sequence[OutputCheck]) -> float | None:
    """The largest relative L2 error of the outputs judged by it; ``None`` where there are none or nothing can pass."""
    judged = [check.difference for check in checks if check.judged and check.judged_by == "error"]
    differences = [check.difference for check in checks]
    broken = any(
        d.nan_count_candidate > d.nan_count_reference or d.inf_count_candidate > d.inf_count_reference
        for d in differences
    )
    if not judged or broken or any(d.relative_l2 is None for d in judged):
        return None
    return max(d.relative_l2 for d in judged if d.relative_l2 is not None)


def found_agreement(checks: Sequence[OutputCheck]) -> float | None:
    """The smallest share of equal values that an output judged by it has, over all cases; ``None`` without such."""
    counted: dict[str, list[tuple[int, float]]] = {}
    for check in checks:
        found = check.difference
        if check.judged and check.judged_by == "agreement" and found.equal_fraction is not None:
            counted.setdefault(check.output, []).append((found.elements, found.equal_fraction))
    shares = (sum(n * share for n, share in seen) / sum(n for n, _ in seen) for seen in counted.values())
    return min(shares, default=None)


def within(checks: Sequence[OutputCheck], tolerance: float | None, smallest_agreement: float | None) -> bool:
    """Whether everything that is judged passes; a tolerance of ``None`` lets all but NaN and infinity pass."""
    judged = [check for check in checks if check.judged]
    error, agreement = needed_error(checks), found_agreement(checks)
    if any(check.judged_by == "error" for check in judged) and (
        error is None or (tolerance is not None and error > tolerance)
    ):
        return False
    if agreement is not None and smallest_agreement is not None and agreement < smallest_agreement:
        return False
    return bool(judged)


def not_finite(outputs: Sequence[TensorSpec], arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Output → number of NaN and infinite values over all cases, for the outputs that have some."""
    counts = dict.fromkeys((spec.name for spec in outputs), 0)
    for name, values in arrays.items():
        if values.dtype.kind == "f":
            counts[name.partition("/")[2]] += int(np.count_nonzero(~np.isfinite(values)))
    return {name: count for name, count in counts.items() if count}


def observed_precision(asked: str, needed: float | None) -> tuple[str | None, str | None]:
    """FP32 or TF32, told apart by the size of the error against true FP32, and why, a sentence; other precisions are
    told by the layers.
    """
    if needed is None or asked not in ("fp32", "tf32"):
        return None, None
    size = f"the relative L2 error against true FP32 is {needed:.1e}"
    if needed < _FP32_BELOW:
        return "fp32", f"{size}, which rounding in FP32 alone explains (below {_FP32_BELOW:.0e})"
    if _TF32_ABOVE < needed < _TF32_BELOW:
        return "tf32", f"{size}, the size that TF32's 10-bit mantissa gives ({_TF32_ABOVE:.0e} to {_TF32_BELOW:.0e})"
    return None, f"{size}: too large for FP32, and not the size that TF32 gives"
