"""One benchmark: measured in a worker of its own, its outputs checked, judged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from trtkit import environment, judging, worker
from trtkit.artifacts.bench import BenchResult, Conditions, Subject
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device, DeviceFacts, processors, worker_env
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.samples import SampleCase, SamplePlan
from trtkit.artifacts.timeline import Iteration, Timeline
from trtkit.backends import registry
from trtkit.backends.executing import REFERENCE_PROVIDER
from trtkit.errors import RunError, TrtkitError
from trtkit.measurement import peaks
from trtkit.measurement.verdict import judge
from trtkit.worker import Log, Progress

__all__ = [
    "BenchRequest",
    "bench",
    "checked",
    "composed",
    "in_force",
    "job_arguments",
    "job_env",
    "read_timeline",
]


@dataclass(frozen=True)
class BenchRequest:
    """What to measure.

    Attributes:
        subject: what it is; goes into the result as it is.
        artifact: the plan, or the ONNX file for ``onnxruntime``.
        device: where.
        settings: how.
        reference: the ONNX that the outputs are held against in ONNX Runtime on the CPU: the FP32 model, or for a
            quantized plan its own Q/DQ model; ``None`` for no such check.
        check_limit: largest relative L2 error that passes; ``None`` takes the precision's own.
        elsewhere: weighted operators of it that ONNX Runtime executes on the CPU although a GPU was asked for, and how
            many of each.
        softmax_axes: output name → axis of its Softmax, for outputs that are a Softmax's: they are compared before it.
        checked: the reference check of an earlier benchmark of the same engine (:attr:`Conditions.check`), taken over
            instead of being made again.
        input_std: standard deviation of synthetic floating-point inputs.
        data: samples to feed instead, .npz or .npy.
        runtime_cache: TensorRT-RTX's just-in-time kernels, read and added to.
        host_code: let the native code inside a version-compatible plan run.
        timeout_s: wall time in seconds after which the worker is killed.
        command: the command line, for the result.
    """

    subject: Subject
    artifact: Path
    device: Device
    settings: BenchSettings
    reference: Path | None = None
    check_limit: float | None = None
    elsewhere: Mapping[str, int] = field(default_factory=dict)
    softmax_axes: Mapping[str, int] = field(default_factory=dict)
    checked: Mapping[str, Any] | None = None
    input_std: float = 1.0
    data: Path | None = None
    runtime_cache: Path | None = None
    host_code: bool = False
    timeout_s: float | None = None
    command: tuple[str, ...] = ()

    @property
    def limit(self) -> float:
        """The largest relative L2 error that passes: as asked, or the precision's; 0.1 for a quantized plan."""
        if self.check_limit is not None:
            return self.check_limit
        return judging.TOLERANCES.get(self.subject.precision) or judging.AGAINST_QDQ

    @property
    def agreement(self) -> float:
        """The smallest share of equal integers that passes."""
        return judging.AGREEMENTS.get(self.subject.precision) or judging.AGREEMENT_WITH_QDQ


def bench(request: BenchRequest, on_event: Callable[[Progress | Log], None]) -> BenchResult:
    """Measure, check, judge.

    Raises:
        UsageError: settings and plan do not fit, or the family has no such mode here.
        PlanError: the runtime refuses the plan.
        RunError: it does not execute, or its worker died or took too long;
            :func:`trtkit.measurement.failure.classify` tells why.
    """
    settings = in_force(request.settings, request.device)
    with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
        file = Path(folder) / "measured.npz"
        answer = worker.run(
            "trtkit.backends.bench_jobs:measure",
            {**job_arguments(request), "results": str(file)},
            what=f"the benchmark of {request.artifact.name} at batch {settings.batch} on {request.device}",
            env=job_env(request),
            timeout_s=request.timeout_s,
            on_event=on_event,
        )
        timeline = read_timeline(file, settings.batch)
        check = checked(request, answer.value["conditions"].pop("check"), file, on_event)
    return composed(request, answer.value, timeline, check, answer.peak_rss_bytes)


def job_arguments(request: BenchRequest) -> dict[str, Any]:
    """What a worker that benchmarks is told, but for where to put its results."""
    return {
        "family": request.subject.family,
        "plan": str(request.artifact.absolute()),
        "device": asdict(request.device),
        "settings": in_force(request.settings, request.device).to_json(),
        "input_std": request.input_std,
        "data": str(request.data.absolute()) if request.data else None,
        "run_limit": request.limit,
        "runtime_cache": str(request.runtime_cache.absolute()) if request.runtime_cache else None,
        "host_code": request.host_code,
    }


def job_env(request: BenchRequest) -> dict[str, str]:
    """The environment of that worker: the family's switches, and the device as the only one."""
    return {**registry.worker_env(request.subject.family), **worker_env(request.device)}


def composed(
    request: BenchRequest,
    found: Mapping[str, Any],
    timeline: Timeline,
    check: dict[str, Any] | None,
    peak_rss_bytes: int | None,
) -> BenchResult:
    """The judged result of what a worker found: ``conditions``, ``device``, ``settings`` and ``peak`` as JSON."""
    device, subject = DeviceFacts.from_json(found["device"]), _seen(request.subject, check)
    precision = subject.observed or subject.precision
    tells = precision != "fp32" or subject.observed is not None  # else it may be TF32, whose peak is another
    peak = found["peak"] or (peaks.peak_of(device.name, precision) if tells else None) or (None, None)
    result = BenchResult(
        subject=subject,
        device=device,
        settings=BenchSettings.from_json(found["settings"]),
        conditions=_conditions(request, found["conditions"], check, peak_rss_bytes),
        timeline=timeline,
        peak_ops_per_s=peak[0],
        peak_source=peak[1],
        environment=environment.describe().to_json(),
        command=request.command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return result.judged(judge(result))


def _conditions(
    request: BenchRequest, found: Mapping[str, Any], check: dict[str, Any] | None, peak_rss_bytes: int | None
) -> Conditions:
    conditions = Conditions(**_tuples(found), check=check, peak_rss_bytes=peak_rss_bytes)
    if not request.elsewhere:
        return conditions
    return replace(conditions, facts={**conditions.facts, "elsewhere": dict(request.elsewhere)})


def _seen(subject: Subject, check: Mapping[str, Any] | None) -> Subject:
    """The subject with FP32 and TF32 told apart by the check, where nothing else tells."""
    error = check.get("relative_l2") if check is not None else None
    if subject.observed is not None or error is None:
        return subject
    observed, because = judging.observed_precision(subject.precision, error)
    if observed is None:
        return subject
    proof = f"{subject.proof}; {because}" if subject.proof else because
    return replace(subject, observed=observed, proof=proof)


def in_force(settings: BenchSettings, device: Device) -> BenchSettings:
    """The settings with what a CPU leaves open filled in: every processor of the device, a thread for each."""
    if device.kind != "cpu":
        return settings
    affinity = settings.affinity or processors(device)
    return replace(settings, affinity=affinity, threads=settings.threads or len(affinity) or None)


def read_timeline(file: Path, images: int) -> Timeline:
    """The samples that :func:`trtkit.backends.bench_jobs.save` wrote."""
    with np.load(file) as saved:
        rows = tuple(Iteration(*row) for row in saved["rows"].tolist())
        return Timeline(rows, images, float(saved["epoch"]))


def _tuples(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON made lists of."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in conditions.items()}


_REFERENCE_FIELDS = ("matches", "relative_l2", "limit", "agreement", "agreement_limit", "against")


def checked(
    request: BenchRequest, check: dict[str, Any], file: Path, on_event: Callable[[Progress | Log], None]
) -> dict[str, Any]:
    """The worker's check with the comparison against the reference: made, taken over, or none.

    Raises:
        RunError: the reference did not run in true FP32.
    """
    if request.checked is not None and request.checked.get("against"):
        taken = {name: request.checked.get(name) for name in _REFERENCE_FIELDS}
        return {**check, **taken, "taken_over": True}
    if request.reference is None:
        return {**check, **dict.fromkeys(_REFERENCE_FIELDS)}
    answers = file.with_name("reference.npz")
    try:
        answer = worker.run(
            "trtkit.backends.bench_reference:reference",
            {"onnx": str(request.reference.absolute()), "arrays": str(file), "results": str(answers)},
            what=f"the reference {request.reference.name}",
            env=registry.worker_env("onnxruntime"),
            on_event=on_event,
        )
    except TrtkitError as error:  # the measurement stands, unchecked: the verdict has a note on it
        return {**check, **dict.fromkeys(_REFERENCE_FIELDS), "problem": error.message}
    if answer.value["provider"] != REFERENCE_PROVIDER:
        raise RunError(
            f"The reference ran on {answer.value['provider']} instead of {REFERENCE_PROVIDER}.",
            hint="Report this: only the CPU provider computes in true FP32.",
        )
    with np.load(file) as measured, np.load(answers) as truth:
        names = [name.removeprefix("out/") for name in truth.files if name in measured.files]
        want = {f"0/{name}": truth[f"out/{name}"] for name in names}
        got = {f"0/{name}": measured[f"out/{name}"] for name in names}
    outputs = [TensorSpec(name, str(want[f"0/{name}"].dtype), want[f"0/{name}"].shape) for name in names]
    samples = SamplePlan(request.settings.seed, (), request.input_std, (SampleCase("the checked rows", {}),))
    checks = judging.compared(samples, outputs, request.softmax_axes, got, want)
    return {
        **check,
        "matches": judging.within(checks, request.limit, request.agreement),
        "relative_l2": judging.needed_error(checks),
        "limit": request.limit,
        "agreement": judging.found_agreement(checks),
        "agreement_limit": request.agreement,
        "against": f"{request.reference.name} in ONNX Runtime ({answer.value['where']})",
    }
