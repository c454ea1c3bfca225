"""Candidate against reference on seeded inputs: the plan where something can run it, else the ONNX it was built from.

Both sides run in workers of their own and save their outputs; the comparison is plain NumPy, here. Scores are judged
before a final Softmax, because a saturated Softmax hides any error.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trtkit import metrics, worker
from trtkit.artifacts.model import OnnxModel
from trtkit.artifacts.profile import OptimizationProfile
from trtkit.artifacts.samples import SampleCase, SamplePlan
from trtkit.artifacts.validation import OutputCheck, ValidationReport
from trtkit.backends import registry
from trtkit.backends.base import Capabilities
from trtkit.errors import RunError, TrtkitError
from trtkit.graph.outputs import paired_scores
from trtkit.worker import Log, Progress

__all__ = ["TOLERANCES", "ValidationRequest", "could_not", "validate"]

TOLERANCES: dict[str, float | None] = {"fp32": 5e-3, "tf32": 5e-3, "fp16": 1e-2, "int8": None, "fp8": None}
"""Largest relative L2 error against the source that passes, by the precision asked. FP32 has TF32's, because on some
GPUs a builder multiplies FP32 in TF32 whatever it is told; which of the two it was is a finding of its own. INT8 and
FP8 have none: their difference from the source is the quantization error, which calibration measures on real data.
Their engines are held against their own Q/DQ graph instead."""

# FP32 gives about 1e-6 and TF32 about 5e-4; between the two, and above what TF32 can explain, the error tells nothing.
_FP32_BELOW, _TF32_ABOVE, _TF32_BELOW = 3e-5, 1e-4, 2e-2
_REFERENCE_PROVIDER = "CPUExecutionProvider"  # ONNX Runtime falls back in silence: it is asked, and this is checked
_QUANTIZED = ("int8", "fp8")
_AGAINST_QDQ = 0.1  # of an engine against its own Q/DQ graph: sums in another order tip some roundings over
_CPU_BATCHES = (1, 3)
_ELEMENT_RTOL, _ELEMENT_ATOL = 1e-2, 1e-5  # for the count of mismatched elements, which is told and not judged


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
    host_code: bool = False


def validate(
    request: ValidationRequest, capabilities: Capabilities, on_event: Callable[[Progress | Log], None]
) -> ValidationReport:
    """Run both sides and compare.

    Raises:
        PlanError: the runtime refuses the plan, or ONNX Runtime refuses the reference.
        RunError: executing either side fails.
    """
    why_not = _why_not(request, capabilities)
    tolerance = request.tolerance if request.tolerance is not None else TOLERANCES[request.precision]
    started = time.perf_counter()
    checks: tuple[OutputCheck, ...] = ()
    where: str | None = None
    reference = "the source itself"
    same_file = request.onnx.sha256 == request.reference_sha256
    if why_not is None or not same_file:
        executed = why_not is None
        samples = _samples(request, on_gpu=executed and bool(capabilities.gpus))
        family, file = (capabilities.family, request.plan) if executed else ("onnxruntime", request.onnx.path)
        options: dict[str, Any] = {}
        if executed:
            cache = str(request.runtime_cache.absolute()) if request.runtime_cache else None
            options = {"tf32": request.precision == "tf32", "runtime_cache": cache, "host_code": request.host_code}
        with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
            candidate = _execute(family, file, samples, Path(folder) / "candidate.npz", options, on_event)
            wanted = _execute(
                "onnxruntime", request.reference, samples, Path(folder) / "truth.npz", {"on_cpu": True}, on_event
            )
            if wanted.provider != _REFERENCE_PROVIDER:
                raise RunError(
                    f"The reference ran on {wanted.provider} instead of {_REFERENCE_PROVIDER}.",
                    hint="Report this: only the CPU provider computes in true FP32.",
                )
            checks = tuple(_compare(request, samples, candidate.outputs, wanted.outputs))
            if executed and not same_file and request.precision in _QUANTIZED and family != "onnxruntime":
                # What the engine does is held against the very Q/DQ graph; against FP32 stands its quantization error.
                own = _execute(
                    "onnxruntime", request.onnx.path, samples, Path(folder) / "qdq.npz", {"on_cpu": True}, on_event
                )
                unjudged = (replace(check, judged=False) for check in checks)
                tolerance = request.tolerance if request.tolerance is not None else _AGAINST_QDQ
                checks = (*unjudged, *_compare(request, samples, candidate.outputs, own.outputs, against="qdq"))
        where, reference = candidate.where, f"ONNX Runtime {request.reference_precision.upper()} ({wanted.where})"
    needed = _needed(checks)
    status = "not_executed" if why_not else "passed" if _within(needed, tolerance) else "failed"
    observed, because = _observe(request.precision, why_not, needed)
    return ValidationReport(
        status=status,  # type: ignore[arg-type]
        subject="plan" if why_not is None else "source" if same_file else "onnx",
        why_not_executed=why_not,
        where=where,
        reference=reference,
        reference_sha256=request.reference_sha256,
        candidate_sha256=request.plan_sha256 if why_not is None else request.onnx.sha256,
        tolerance_relative_l2=tolerance,
        needed_relative_l2=needed,
        seed=request.seed,
        input_std=request.input_std,
        precision_asked=request.precision,
        precision_observed=observed,
        observed_because=because,
        checks=checks,
        seconds=time.perf_counter() - started,
    )


def _within(needed: float | None, tolerance: float | None) -> bool:
    return needed is not None and (tolerance is None or needed <= tolerance)


def could_not(request: ValidationRequest, capabilities: Capabilities, error: TrtkitError) -> ValidationReport:
    """The report on a plan that was built a moment ago, where the comparison itself failed: what failed, and why."""
    why_not = _why_not(request, capabilities)
    return ValidationReport(
        status="failed" if why_not is None else "not_executed",
        subject="plan" if why_not is None else "onnx",
        why_not_executed=error.message if why_not is None else f"{why_not}; its ONNX was not compared: {error.message}",
        where=None,
        reference="nothing",
        reference_sha256=request.reference_sha256,
        candidate_sha256=request.plan_sha256,
        tolerance_relative_l2=request.tolerance if request.tolerance is not None else TOLERANCES[request.precision],
        needed_relative_l2=None,
        seed=request.seed,
        input_std=request.input_std,
        precision_asked=request.precision,
        precision_observed=None,
        observed_because=None,
        checks=(),
        seconds=0.0,
    )


def _why_not(request: ValidationRequest, capabilities: Capabilities) -> str | None:
    if capabilities.cannot_run is not None:
        return capabilities.cannot_run
    if request.targets and capabilities.gpus:
        own = capabilities.gpus[0].compute_capability
        if own not in request.targets:
            return f"it was built for compute capability {', '.join(request.targets)}, and this GPU has {own}"
    return None


def _samples(request: ValidationRequest, *, on_gpu: bool) -> SamplePlan:
    """Minimum, optimum, maximum and an odd batch where a GPU does the work; two small ones on a CPU."""
    profile = request.profile
    named: dict[str, dict[str, tuple[int, ...]]] = {}
    if on_gpu:
        for corner in ("minimum", "optimum", "maximum"):
            named[corner] = {name: getattr(shapes, corner) for name, shapes in profile.ranges.items()}
    if profile.batches is not None:
        low, middle, high = profile.batches
        odd = min(((low + middle) // 2) | 1, high)
        for batch in (odd,) if on_gpu else sorted({min(max(size, low), high) for size in _CPU_BATCHES}):
            named[f"batch {batch}"] = profile.shapes_at(batch)
    elif not on_gpu:
        named["optimum"] = {name: shapes.optimum for name, shapes in profile.ranges.items()}
    cases: list[SampleCase] = []
    for label, shapes in named.items():
        if all(case.shapes != shapes for case in cases):
            cases.append(SampleCase(_label(label, profile, shapes), shapes))
    return SamplePlan(request.seed, request.onnx.inputs, request.input_std, tuple(cases))


def _label(corner: str, profile: OptimizationProfile, shapes: Mapping[str, tuple[int, ...]]) -> str:
    if profile.batch_inputs:
        return f"batch {shapes[profile.batch_inputs[0]][0]}"
    return "fixed shape" if all(r.is_fixed for r in profile.ranges.values()) else corner


@dataclass(frozen=True)
class _Executed:
    outputs: dict[str, np.ndarray]
    where: str
    provider: str | None


def _execute(
    family: str,
    file: Path,
    samples: SamplePlan,
    results: Path,
    options: Mapping[str, Any],
    on_event: Callable[[Progress | Log], None],
) -> _Executed:
    """Run one side in a worker; ``options`` are those of :func:`trtkit.backends.jobs.execute`."""
    answer = worker.run(
        "trtkit.backends.jobs:execute",
        {
            "family": family,
            "plan": str(file.absolute()),
            "samples": samples.to_json(),
            "results": str(results),
            **options,
        },
        what=f"the execution of {file.name}",
        env=registry.worker_env(family),
        on_event=on_event,
    )
    with np.load(results) as saved:
        outputs = {name: saved[name] for name in saved.files}
    return _Executed(outputs, answer.value["where"], answer.value["provider"])


def _compare(
    request: ValidationRequest,
    samples: SamplePlan,
    candidate: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    against: Literal["source", "qdq"] = "source",
) -> list[OutputCheck]:
    checks = []
    for index, case in enumerate(samples.cases):
        for spec in request.onnx.outputs:
            want, got = reference[f"{index}/{spec.name}"], candidate[f"{index}/{spec.name}"]
            if want.shape != got.shape:
                raise RunError(
                    f"Output {spec.name} of {case.label} has shape {got.shape}; the reference gives {want.shape}.",
                    hint="The plan was not built from this model, or the builder is wrong: convert again with --force.",
                )
            axis = request.softmax_axes.get(spec.name)
            difference = metrics.compare(want, got.astype(want.dtype), rtol=_ELEMENT_RTOL, atol=_ELEMENT_ATOL)
            checks.append(OutputCheck(case.label, spec.name, "output", axis is None, difference, against))
            if axis is not None:
                difference = metrics.compare(*paired_scores(want, got, axis), rtol=_ELEMENT_RTOL, atol=_ELEMENT_ATOL)
                checks.append(OutputCheck(case.label, spec.name, "before_softmax", True, difference, against))
    return checks


def _needed(checks: tuple[OutputCheck, ...]) -> float | None:
    """The largest relative L2 error of the judged outputs; ``None`` where nothing was compared or nothing can pass."""
    judged = [check.difference for check in checks if check.judged]
    differences = [check.difference for check in checks]
    broken = any(
        d.nan_count_candidate > d.nan_count_reference or d.inf_count_candidate > d.inf_count_reference
        for d in differences
    )
    if not judged or broken or any(d.relative_l2 is None for d in judged):
        return None
    return max(d.relative_l2 for d in judged if d.relative_l2 is not None)


def _observe(asked: str, why_not: str | None, needed: float | None) -> tuple[str | None, str | None]:
    """FP32 or TF32, told apart by the size of the error against true FP32; other precisions are told by the layers."""
    if why_not is not None or needed is None or asked not in ("fp32", "tf32"):
        return None, None
    size = f"the relative L2 error against true FP32 is {needed:.1e}"
    if needed < _FP32_BELOW:
        return "fp32", f"{size}, which rounding in FP32 alone explains (below {_FP32_BELOW:.0e})"
    if _TF32_ABOVE < needed < _TF32_BELOW:
        return "tf32", f"{size}, the size that TF32's 10-bit mantissa gives ({_TF32_ABOVE:.0e} to {_TF32_BELOW:.0e})"
    return None, f"{size}: too large for FP32, and not the size that TF32 gives"
