"""What a validation found, as data: a failed comparison is a result, not an exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

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
    """

    case: str
    output: str
    taken: Literal["output", "before_softmax"]
    judged: bool
    difference: TensorDifference
    against: Literal["source", "qdq"] = "source"


@dataclass(frozen=True)
class ValidationReport:
    """Candidate against reference on seeded inputs.

    Attributes:
        status: ``passed``, ``failed``, or ``not_executed`` where nothing can run the plan here.
        subject: what was executed as the candidate: the ``plan``, or the ``onnx`` that it was built from; ``source``
            where that is the reference's own file, so that there is nothing to compare.
        why_not_executed: why the plan was not executed, or why executing it failed; ``None`` when it was executed.
        where: what executed the candidate.
        reference: what executed the reference: ONNX Runtime's version and the provider that its session reported.
        reference_sha256, candidate_sha256: of the two files.
        tolerance_relative_l2: the largest ‖candidate − reference‖ / ‖reference‖ that passes; ``None`` where only NaN
            and infinity fail, because the difference is a quantization error.
        needed_relative_l2: the smallest tolerance that would have passed; ``None`` if none would (NaN or infinity).
        seed, input_std: of the inputs.
        precision_asked: what the plan was asked to be.
        precision_observed: what its arithmetic looked like; ``None`` where the execution cannot tell.
        observed_because: the evidence for that, a sentence.
        checks: one for each case and output.
        seconds: wall time of the two executions.
    """

    status: Literal["passed", "failed", "not_executed"]
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

    @property
    def onnx_passed(self) -> bool:
        """Whether what was executed, plan or ONNX, agreed with the reference (the source agrees with itself)."""
        if self.subject == "source":
            return True
        tolerance = self.tolerance_relative_l2
        return self.needed_relative_l2 is not None and (tolerance is None or self.needed_relative_l2 <= tolerance)

    @property
    def sentence(self) -> str:
        """The verdict for people."""
        needed = "no tolerance" if self.needed_relative_l2 is None else f"{self.needed_relative_l2:.2g}"
        if self.tolerance_relative_l2 is not None:
            numbers = f"relative L2 error {needed}, tolerance {self.tolerance_relative_l2:.2g}"
        else:
            numbers = f"quantization error on random inputs {needed}, relative L2; on data see the calibration report"
        if self.subject == "source":
            return f"plan built, not executed: {self.why_not_executed}; its ONNX is the source itself"
        if self.status == "not_executed" and not self.checks:
            return f"plan built, not executed: {self.why_not_executed}"
        if self.status == "not_executed":
            agreed = "agrees" if self.onnx_passed else "DISAGREES"
            if self.tolerance_relative_l2 is None and self.onnx_passed:
                return (
                    f"plan built, not executed: {self.why_not_executed}; its Q/DQ ONNX runs in ONNX Runtime ({numbers})"
                )
            return (
                f"plan built, not executed: {self.why_not_executed}; "
                f"the ONNX that it was built from {agreed} with the source in ONNX Runtime ({numbers})"
            )
        if self.why_not_executed is not None:
            return f"failed: {self.why_not_executed}"
        return f"{self.status} on {self.where} against {self.reference} ({numbers})"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ValidationReport:
        """The inverse of :meth:`to_json`."""
        checks = tuple(
            OutputCheck(**{**check, "difference": TensorDifference.from_json(check["difference"])})
            for check in value["checks"]
        )
        return cls(**{**value, "checks": checks})
