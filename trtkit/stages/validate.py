"""Candidate against reference on seeded inputs: the plan where something can run it, else the ONNX it was built from.

Both sides run in workers of their own and save their outputs; :mod:`trtkit.judging` compares them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trtkit import judging
from trtkit.artifacts.model import OnnxModel
from trtkit.artifacts.precision import tf32_products
from trtkit.artifacts.profile import OptimizationProfile
from trtkit.artifacts.validation import OutputCheck, ValidationReport
from trtkit.artifacts.validation_samples import validation_samples
from trtkit.backends.base import Capabilities
from trtkit.backends.comparing import Comparison
from trtkit.backends.executing import (
    REFERENCE_PROVIDER,
    Known,
    execute,
    execute_apart,
)
from trtkit.errors import TrtkitError
from trtkit.worker import Log, Progress

__all__ = ["ValidationRequest", "could_not", "left_out", "validate"]

_QUANTIZED = ("int8", "fp8")


@dataclass(frozen=True)
class ValidationRequest:
    """What to compare.

    Attributes:
        plan, plan_sha256: the candidate.
        targets: compute capabilities that the plan was built for.
        onnx: what the plan was built from; the candidate where the plan cannot run.
        reference, reference_sha256, reference_precision: the source model.
        softmax_axes: output name → axis of its Softmax, for outputs that are a Softmax's.
        profile: shape ranges of the plan.
        precision: asked for.
        input_std, seed: of the inputs.
        runtime_cache: just-in-time kernels, read and added to.
        tolerance: largest relative L2 error that passes; ``None`` takes the precision's own.
        agreement: smallest share of equal values in integer outputs that passes; ``None`` takes the precision's own.
        host_code: the native code inside a version-compatible plan may run, because the plan's origin is trusted.
    """

    plan: Path
    plan_sha256: str
    targets: tuple[str, ...]
    onnx: OnnxModel
    reference: Path
    reference_sha256: str
    reference_precision: str
    softmax_axes: Mapping[str, int]
    profile: OptimizationProfile
    precision: str
    input_std: float
    seed: int = 0
    runtime_cache: Path | None = None
    tolerance: float | None = None
    agreement: float | None = None
    host_code: bool = False

    @property
    def same_file(self) -> bool:
        """Whether the plan was built from the very bytes of the reference."""
        return self.onnx.sha256 == self.reference_sha256

    def limits(self, *, against_qdq: bool = False) -> tuple[float | None, float | None]:
        """Largest relative L2 error and smallest share of equal integers that pass: as asked, or the precision's."""
        error = judging.AGAINST_QDQ if against_qdq else judging.TOLERANCES[self.precision]
        share = judging.AGREEMENT_WITH_QDQ if against_qdq else judging.AGREEMENTS[self.precision]
        return (
            error if self.tolerance is None else self.tolerance,
            share if self.agreement is None else self.agreement,
        )


def validate(
    request: ValidationRequest,
    capabilities: Capabilities,
    on_event: Callable[[Progress | Log], None],
    known: Known | None = None,
) -> ValidationReport:
    """Run both sides and compare.

    Args:
        request: what to compare.
        capabilities: of the family.
        on_event: is told of progress and log lines.
        known: what ONNX Runtime gave for these very files and inputs a moment ago, on the CPU and without its own
            optimizations; a plan is always run.

    Raises:
        PlanError: the runtime refuses the plan, or ONNX Runtime refuses the reference.
        RunError: executing either side fails.
    """
    why_not = _why_not(request, capabilities)
    executed = why_not is None
    started = time.perf_counter()
    checks: tuple[OutputCheck, ...] = ()
    where: str | None = None
    reference, not_finite, compared = "the source itself", None, False
    limits = request.limits()
    if executed or not request.same_file:
        on_gpu, inputs = executed and bool(capabilities.gpus), request.onnx.inputs
        samples = validation_samples(
            inputs, request.profile, request.seed, request.input_std, executed=executed, on_gpu=on_gpu
        )
        family, file = (capabilities.family, request.plan) if executed else ("onnxruntime", request.onnx.path)
        options: dict[str, Any] = {}
        if executed:
            cache = str(request.runtime_cache.absolute()) if request.runtime_cache else None
            options = {"tf32": tf32_products(request.precision), "runtime_cache": cache, "host_code": request.host_code}
        with tempfile.TemporaryDirectory(prefix="trtkit-") as temporary:
            folder = Path(temporary)
            found = known.find(request.onnx.sha256, samples) if known is not None and not executed else None
            compiles = on_gpu and "runtime_cache" not in capabilities.refused
            if compiles and request.runtime_cache is None:
                candidate = execute_apart(family, file, samples, folder, options, on_event)
            else:
                candidate = found or execute(family, file, samples, folder / "candidate.npz", options, on_event)
            where, outputs = candidate.where, request.onnx.outputs
            not_finite = judging.not_finite(outputs, candidate.outputs)
            # The source's own bytes where the reference runs would be compared with themselves: that cannot fail.
            compared = not (request.same_file and candidate.provider == REFERENCE_PROVIDER)
            if compared:
                found = known.find(request.reference_sha256, samples) if known is not None else None
                compare = Comparison(samples, outputs, request.softmax_axes, candidate.outputs, on_event)
                engine_of_qdq = executed and request.precision in _QUANTIZED and family != "onnxruntime"
                what: Literal["source", "qdq"] = "source"
                if engine_of_qdq and request.same_file:  # the source came with its Q/DQ pairs
                    what, limits = "qdq", request.limits(against_qdq=True)
                where_truth, checks = compare.against(request.reference, folder / "truth.npz", limits, found, what)
                reference = f"ONNX Runtime {request.reference_precision.upper()} ({where_truth})"
                if engine_of_qdq and not request.same_file:
                    # What the engine does is held against the very Q/DQ graph; against FP32 stands its quantization
                    # error.
                    unjudged = (replace(check, judged=False) for check in checks)
                    limits = request.limits(against_qdq=True)
                    _, own = compare.against(request.onnx.path, folder / "qdq.npz", limits, None, "qdq")
                    checks = (*unjudged, *own)
    needed = judging.needed_error(checks)
    status: Literal["passed", "failed", "not_executed", "not_judged"]
    if not executed:
        status = "not_executed"
    elif not compared:
        status = "not_judged"
    elif not judging.within(checks, *limits):
        status = "failed"
    else:
        status = "not_judged" if limits == (None, None) else "passed"
    observed, because = judging.observed_precision(request.precision, needed if executed else None)
    return ValidationReport(
        status=status,
        subject="plan" if executed else "source" if request.same_file else "onnx",
        why_not_executed=why_not,
        where=where,
        reference=reference,
        reference_sha256=request.reference_sha256,
        candidate_sha256=request.plan_sha256 if executed else request.onnx.sha256,
        tolerance_relative_l2=limits[0],
        needed_relative_l2=needed,
        seed=request.seed,
        input_std=request.input_std,
        precision_asked=request.precision,
        precision_observed=observed,
        observed_because=because,
        checks=checks,
        seconds=time.perf_counter() - started,
        tolerance_agreement=limits[1],
        found_agreement=judging.found_agreement(checks),
        not_finite=not_finite,
    )


def could_not(request: ValidationRequest, capabilities: Capabilities, error: TrtkitError) -> ValidationReport:
    """The report on a plan that was built a moment ago, where the comparison itself failed: what failed, and why."""
    why_not = _why_not(request, capabilities)
    if why_not is None:
        return _without_checks(request, "failed", error.message)
    return _without_checks(request, "not_executed", f"{why_not}; its ONNX was not compared: {error.message}")


def left_out(request: ValidationRequest, why: str) -> ValidationReport:
    """The report on a plan that nobody wanted validated, a clause saying why."""
    return _without_checks(request, "not_executed", why)


def _without_checks(
    request: ValidationRequest, status: Literal["failed", "not_executed"], why: str
) -> ValidationReport:
    return ValidationReport(
        status=status,
        subject="plan" if status == "failed" else "onnx",
        why_not_executed=why,
        where=None,
        reference="nothing",
        reference_sha256=request.reference_sha256,
        candidate_sha256=request.plan_sha256,
        tolerance_relative_l2=request.limits()[0],
        needed_relative_l2=None,
        seed=request.seed,
        input_std=request.input_std,
        precision_asked=request.precision,
        precision_observed=None,
        observed_because=None,
        checks=(),
        seconds=0.0,
        tolerance_agreement=request.limits()[1],
    )


def _why_not(request: ValidationRequest, capabilities: Capabilities) -> str | None:
    if capabilities.cannot_run is not None:
        return capabilities.cannot_run
    if request.targets and capabilities.gpus:
        own = capabilities.gpus[0].compute_capability
        if own not in request.targets:
            return f"it was built for compute capability {', '.join(request.targets)}, and this GPU has {own}"
    return None
