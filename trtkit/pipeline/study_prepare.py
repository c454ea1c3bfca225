"""One model in one precision, for a study: converted, validated, and what is then known of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from calibration.source import DataSpec
from trtkit.artifacts.device import Device
from trtkit.artifacts.files import read_json
from trtkit.artifacts.plan import PlanManifest, manifest_path
from trtkit.artifacts.study_cell import Accuracy, Prepared
from trtkit.artifacts.study_plan import StudyPlan, slug
from trtkit.environment import cpu_name
from trtkit.errors import BackendUnavailableError, PlanError, TrtkitError, UsageError
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.ort_numbers import numbers_of
from trtkit.pipeline.quantization import Quantization
from trtkit.pipeline.request import QUANTIZED, ConvertRequest
from trtkit.pipeline.study_request import StudyRequest
from trtkit.stages.export import SourceRequest
from trtkit.stages.plan_cache import PlanCache, cache_folder

__all__ = ["ARTIFACTS", "accuracy_of", "prepare"]

ARTIFACTS = "artifacts"
"""Name of the folder of artifacts inside a study's folder."""

_QUICK_SAMPLES = 16


def prepare(
    request: StudyRequest,
    plan: StudyPlan,
    family: str,
    model: str,
    precision: str,
    listener: Listener,
    *,
    on_cpu: bool,
) -> Prepared:
    """Convert and validate; an artifact that is there already is reused.

    What this machine or family cannot do is a gap, what went wrong a failure; both say why, and the study goes on.
    ``on_cpu`` says that ONNX Runtime executes it on a CPU, where an INT8 model may well run in FP32: that is looked at.
    """
    folder = request.output / ARTIFACTS / slug(model)
    listed = sorted(batch for batch in plan.batches if batch is not None) or [1]
    corners = (listed[0], listed[len(listed) // 2], listed[-1])
    quantization = None
    if precision in QUANTIZED:
        samples = _QUICK_SAMPLES if plan.quick else request.synthetic
        data = DataSpec(source=request.data) if request.data else DataSpec(synthetic=samples)
        quantization = Quantization(data=data, preprocess=request.preprocess)
    asked = ConvertRequest(
        source=SourceRequest(model, request.weights.get(model), request.seed),
        precision=precision,
        family=family,
        batch=":".join(map(str, corners)),
        output=folder,
        quantization=quantization,
        command=request.command,
    )
    try:
        made = convert(asked, listener)
    except (UsageError, BackendUnavailableError) as error:
        return Prepared(model, precision, "gap", f"{error.message} {error.hint}")
    except TrtkitError as error:
        return Prepared(model, precision, "failed", f"{error.message} {error.hint}")
    known = _known(request.output, model, made.plan, made.manifest, made.seconds)
    return _on_a_cpu(known, made.plan, listener) if on_cpu else known


def _known(study: Path, model: str, path: Path, manifest: PlanManifest, seconds: float) -> Prepared:
    report = calibration_report(path, manifest)
    synthetic = report is not None and bool(report["data"].get("synthetic"))
    calibrated = None
    if report is not None:
        kind = "synthetic samples, made up" if synthetic else "samples"
        calibrated = f"{report['samples']} {kind}, thresholds by {report['chosen']}"
    validation = manifest.validation
    return Prepared(
        model=model,
        precision=manifest.precision,
        status="done",
        file=path.relative_to(study).as_posix(),
        manifest=manifest_path(path).relative_to(study).as_posix(),
        sha256=manifest.sha256,
        bytes=manifest.bytes,
        family=manifest.family,
        version=manifest.version,
        proof=manifest.proof.sentence if manifest.proof else None,
        validation=validation.sentence,
        validation_status=validation.status,
        accuracy=accuracy_of(manifest, report),
        calibrated_on=calibrated,
        seconds=seconds,
        notes=manifest.warnings,
    )


def _on_a_cpu(known: Prepared, path: Path, listener: Listener) -> Prepared:
    """What ONNX Runtime really computes in: its optimizer decides, so its optimizer is asked."""
    cpu, cache, sha256, version = Device("cpu"), PlanCache(cache_folder()), known.sha256 or "", known.version or ""
    try:
        found = numbers_of(path, known.precision, cpu, cache, sha256=sha256, version=version, device_name=cpu_name())
    except TrtkitError as error:
        listener.note(f"what {path.name} is computed in is not known: {error.message}")
        return known
    return replace(known, observed=found.observed, proof=found.proof)


def calibration_report(path: Path, manifest: PlanManifest) -> dict[str, Any] | None:
    """The report of the calibration behind a quantized artifact; ``None`` without one."""
    if manifest.precision not in QUANTIZED:
        return None
    try:
        return read_json(path.with_name(f"{manifest.source.name}.calibration-report.json"))
    except PlanError:
        return None


def accuracy_of(manifest: PlanManifest, report: dict[str, Any] | None) -> Accuracy | None:
    """How close an artifact is to its FP32 source: by held-out samples where there are some, else by its validation.

    Of several cases and outputs the worst is taken.
    """
    chosen = next((m for m in report["methods"] if m["method"] == report["chosen"]), None) if report else None
    if report is not None and chosen is not None and chosen["accuracy"] is not None:
        found, synthetic = chosen["accuracy"], bool(report["data"].get("synthetic"))
        kind = "held-out synthetic samples" if synthetic else "held-out samples"
        return Accuracy(
            sqnr_db=found["sqnr_db"],
            exact=False,
            top1_agreement=None if synthetic else found.get("top1_agreement"),
            samples=report["held_out"],
            on=f"{report['held_out']} {kind}",
            synthetic=synthetic,
            executed=str(report["where"]),
        )
    validation = manifest.validation
    if validation.candidate_sha256 == validation.reference_sha256:
        return Accuracy(None, True, None, None, "nothing: it is the source itself", False, str(validation.where))
    checks = [c for c in validation.checks if c.judged and c.against == "source" and c.judged_by == "error"]
    if not checks:
        return None
    noises = [check.difference.sqnr_db for check in checks if check.difference.sqnr_db is not None]
    exact = all(check.difference.exact and check.difference.relative_l2 == 0 for check in checks)
    cases = len({check.case for check in checks})
    return Accuracy(
        sqnr_db=min(noises, default=None),
        exact=exact,
        top1_agreement=None,  # of random inputs, whose classes mean nothing
        samples=None,
        on=f"seeded random inputs, {cases} batch sizes",
        synthetic=True,
        executed=str(validation.where),
    )
