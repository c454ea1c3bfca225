"""From a prepared artifact to a judged result: the stage's request, just-in-time kernels, spot checks remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from trtkit import __version__
from trtkit.artifacts.bench import BenchResult, Subject
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.files import sha256_file
from trtkit.errors import TrtkitError
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.bench_rows import Measure
from trtkit.pipeline.bench_subjects import Prepared
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.ort_numbers import numbers_of
from trtkit.stages.bench import BenchRequest
from trtkit.stages.bench import bench as measure_once
from trtkit.stages.plan_cache import PlanCache

__all__ = ["kernels_file", "measuring", "stage_request"]


def measuring(request: BenchmarkRequest, cache: PlanCache, listener: Listener) -> Measure:
    """How one measurement is made: in a worker, its outputs checked once for each engine, device and version.

    Args:
        request: what was asked.
        cache: keeps just-in-time kernels and spot checks.
        listener: is told what the worker reports.
    """

    data = sha256_file(request.data) if request.data is not None else None

    def measure(prepared: Prepared, target: Target, settings: BenchSettings, seconds: float | None) -> BenchResult:
        label, engine = _engine(prepared, target)
        identity = {**engine, "limit": prepared.check_limit, "data": data, "trtkit": __version__}
        checked = None if request.force else cache.remembered(label, identity)
        asked = stage_request(request, cache, prepared, target, settings, seconds, checked)
        result = measure_once(asked, listener.event)
        check = result.conditions.check
        if checked is None and check is not None and check.get("matches") and check.get("run_matches") is not False:
            cache.remember(label, identity, check)  # what failed is looked at again
        return result

    return measure


def stage_request(
    request: BenchmarkRequest,
    cache: PlanCache,
    prepared: Prepared,
    target: Target,
    settings: BenchSettings,
    seconds: float | None,
    checked: dict[str, Any] | None,
) -> BenchRequest:
    """What the stage is asked for one measurement.

    Args:
        request: what was asked.
        cache: where just-in-time kernels are kept, by families that have such.
        prepared, target, settings: what, where, how.
        seconds: after which the attempt is given up; ``None`` for never.
        checked: the spot check of an earlier measurement of the same engine.
    """
    subject, elsewhere = _looked_at(request, cache, prepared, target)
    return BenchRequest(
        subject=subject,
        elsewhere=elsewhere,
        artifact=prepared.artifact,
        device=target.device,
        settings=settings,
        reference=prepared.reference if checked is None else None,
        check_limit=prepared.check_limit,
        softmax_axes=prepared.softmax_axes,
        checked=checked,
        input_std=prepared.input_std,
        data=request.data,
        runtime_cache=kernels_file(cache, prepared, target),
        host_code=request.host_code or prepared.trusted,
        timeout_s=seconds,
        command=request.command,
    )


def _looked_at(
    request: BenchmarkRequest, cache: PlanCache, prepared: Prepared, target: Target
) -> tuple[Subject, dict[str, int]]:
    """The subject with the numbers that ONNX Runtime computes it in, and what it left to the CPU of a GPU's machine.

    A file of float32 says by itself what a CPU computes in, and only its error tells FP32 from TF32 on a GPU.
    """
    subject, on_cpu = prepared.subject, target.device.kind == "cpu"
    if target.can.family != "onnxruntime" or (on_cpu and subject.observed is not None):
        return subject, {}
    try:
        found = numbers_of(
            prepared.artifact,
            subject.precision,
            target.device,
            cache,
            sha256=subject.sha256,
            version=subject.version,
            device_name=target.device_name,
            shapes=prepared.shapes_at(prepared.batches[0]),
            force=request.force,
        )
    except TrtkitError:  # it stays unknown: measuring tells what is wrong
        return subject, {}
    if on_cpu or subject.precision not in ("fp32", "tf32"):
        subject = replace(subject, observed=found.observed, proof=found.proof)
    return subject, found.elsewhere


def kernels_file(cache: PlanCache, prepared: Prepared, target: Target) -> Path | None:
    """Where an artifact's just-in-time kernels are kept; ``None`` for families that have none."""
    if "runtime_cache" in target.can.refused or prepared.profile is None:
        return None
    return cache.runtime_file(*_engine(prepared, target))


def _engine(prepared: Prepared, target: Target) -> tuple[str, dict[str, Any]]:
    """What just-in-time kernels and spot checks belong to: the very artifact, on this device, in this version."""
    label = f"{prepared.subject.model}.{prepared.subject.precision}.{target.can.label}"
    identity = {
        "artifact": prepared.subject.sha256,
        "device": target.device_name,
        "kind": target.device.kind,
        "version": target.can.version,
    }
    return label, identity
