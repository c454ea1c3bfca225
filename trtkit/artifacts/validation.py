"""What a validation found, as data: a failed comparison is a result, not an exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trtkit.artifacts.files import json_ready
from trtkit.metrics import TensorDifference

__all__ = ["OutputCheck", "ValidationReport"]


@dataclass(frozen=True)
class OutputCheck:
    """One output of one case, candidate against reference.

    Attributes:
        case: which inputs, ``batch 3``.
        output: name of the graph output.
        taken: ``output`` as the model gives it, or ``before_softmax``: the centred scores behind its probabilities.
        judged: whether the verdict depends on it (scores are judged where there are some, instead of probabilities).
        difference: every measure of the difference.
        against: ``source`` for the FP32 model, ``qdq`` for the quantized ONNX that the plan was built from.
        judged_by: ``error``, the relative L2 error; ``agreement``, the share of equal values, for integers and
            booleans, whose distance from each other means nothing (a class number, an index).
    """

    case: str
    output: str
    taken: Literal["output", "before_softmax"]
    judged: bool
    difference: TensorDifference
    against: Literal["source", "qdq"] = "source"
    judged_by: Literal["error", "agreement"] = "error"


@dataclass(frozen=True)
class ValidationReport:
    """Candidate against reference on seeded inputs.

    Attributes:
        status: ``passed``, ``failed``, ``not_executed`` where nothing can run the plan here, or ``not_judged``: it was
            executed, and nothing sets it a limit. That is so where the artifact is the source itself and runs where its
            reference would, and where it is its own Q/DQ graph, whose difference from FP32 is the quantization error.
        subject: what was executed as the candidate: the ``plan``, or the ``onnx`` that it was built from; ``source``
            where that is the reference's own file, so that there is nothing to compare.
        why_not_executed: why the plan was not executed, or why executing it failed; ``None`` when it was executed.
        where: what executed the candidate.
        reference: what executed the reference: ONNX Runtime's version and the provider that its session reported.
        reference_sha256, candidate_sha256: of the two files.
        tolerance_relative_l2: the largest ‖candidate − reference‖ / ‖reference‖ that passes; ``None`` where only NaN
            and infinity fail, because the difference is a quantization error.
        needed_relative_l2: the smallest tolerance that would have passed; ``None`` if none would (NaN or infinity), or
            if no output is judged by its error.
        seed, input_std: of the inputs.
        precision_asked: what the plan was asked to be.
        precision_observed: what its arithmetic looked like; ``None`` where the execution cannot tell.
        observed_because: the evidence for that, a sentence.
        checks: one for each case and output.
        seconds: wall time of the executions.
        tolerance_agreement: the smallest share of equal values that passes, of outputs judged by agreement; ``None``
            where any does.
        found_agreement: the smallest share of equal values that such an output has, over all cases; ``None`` without
            one.
        not_finite: output → number of its NaN and infinite values in the candidate, over all cases; only outputs that
            have some. ``None`` where nothing was executed.
    """

    status: Literal["passed", "failed", "not_executed", "not_judged"]
    subject: Literal["plan", "onnx", "source"]
    why_not_executed: str | None
    where: str | None
    reference: str
    reference_sha256: str
    candidate_sha256: str
    tolerance_relative_l2: float | None
    needed_relative_l2: float | None
    seed: int
    input_std: float
    precision_asked: str
    precision_observed: str | None
    observed_because: str | None
    checks: tuple[OutputCheck, ...]
    seconds: float
    tolerance_agreement: float | None = None
    found_agreement: float | None = None
    not_finite: Mapping[str, int] | None = None

    @property
    def onnx_passed(self) -> bool:
        """Whether what was executed, plan or ONNX, agreed with the reference (the source agrees with itself)."""
        if self.subject == "source" or self.status == "not_judged":
            return True
        error, agreement = self.needed_relative_l2, self.found_agreement
        if error is None and (self._by_error or agreement is None):
            return False
        too_far = error is not None and self.tolerance_relative_l2 is not None and error > self.tolerance_relative_l2
        too_few = agreement is not None and agreement < (self.tolerance_agreement or 0.0)
        return not (too_far or too_few)

    def objection(self, *, execution_required: bool) -> str | None:
        """Why a command that printed this report ends with exit code 9, a clause; ``None`` if it does not.

        Args:
            execution_required: whether the plan itself must have been executed (``--require-validation``).
        """
        if self.status == "failed":
            return "the plan disagrees with its reference" if self.checks else "the plan could not be validated"
        if not self.onnx_passed:
            return (
                "the ONNX that the plan was built from disagrees with the source"
                if self.checks
                else "the ONNX that the plan was built from could not be compared with the source"
            )
        if execution_required and self.status == "not_executed":
            return "--require-validation asks for the plan's execution, and it was not executed"
        if execution_required and self.status == "not_judged" and self.not_finite:
            return "--require-validation asks for finite outputs where there is nothing to compare them with"
        return None

    @property
    def sentence(self) -> str:
        """The verdict for people."""
        if self.subject == "source":
            return f"plan built, not executed: {self.why_not_executed}; its ONNX is the source itself"
        if self.status == "not_judged":
            listed = ", ".join(f"{count} in {name}" for name, count in (self.not_finite or {}).items())
            finite = f"NaN or infinite values: {listed}" if listed else "every output is finite"
            found = self._numbers if self.checks else "the artifact is the source itself, nothing to compare"
            return f"runs on {self.where}; {found}; {finite}"
        if self.status == "not_executed" and not self.checks:
            return f"plan built, not executed: {self.why_not_executed}"
        if self.status == "not_executed":
            agreed = "agrees" if self.onnx_passed else "DISAGREES"
            if self.tolerance_relative_l2 is None and self.onnx_passed:
                return (
                    f"plan built, not executed: {self.why_not_executed}; its Q/DQ ONNX runs in ONNX Runtime "
                    f"({self._numbers})"
                )
            return (
                f"plan built, not executed: {self.why_not_executed}; "
                f"the ONNX that it was built from {agreed} with the source in ONNX Runtime ({self._numbers})"
            )
        if self.why_not_executed is not None:
            return f"failed: {self.why_not_executed}"
        return f"{self.status} on {self.where} against {self.reference} ({self._numbers})"

    @property
    def _by_error(self) -> bool:
        """Whether any output is judged by its error: all but those of integers are."""
        return any(check.judged and check.judged_by == "error" for check in self.checks)

    @property
    def _numbers(self) -> str:
        found: list[str] = []
        if self._by_error or self.found_agreement is None:
            needed = self._undefined if self.needed_relative_l2 is None else f"{self.needed_relative_l2:.2g}"
            if self.tolerance_relative_l2 is not None:
                found.append(f"relative L2 error {needed}, tolerance {self.tolerance_relative_l2:.2g}")
            else:
                found.append(
                    f"quantization error on random inputs {needed}, relative L2; on data see the calibration report"
                )
        if self.found_agreement is not None:
            limit = f", at least {self.tolerance_agreement:.2%} wanted" if self.tolerance_agreement is not None else ""
            found.append(f"{self.found_agreement:.2%} of the integer outputs equal{limit}")
        return "; ".join(found)

    @property
    def _undefined(self) -> str:
        """Why there is no relative L2 error."""
        listed = ", ".join(f"{count:,} in {name}" for name, count in (self.not_finite or {}).items())
        return f"not defined (NaN or infinite values: {listed})" if listed else "not defined"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        value: dict[str, Any] = json_ready(asdict(self))
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ValidationReport:
        """The inverse of :meth:`to_json`."""
        checks = tuple(
            OutputCheck(**{**check, "difference": TensorDifference.from_json(check["difference"])})
            for check in value["checks"]
        )
        return cls(**{**value, "checks": checks})
