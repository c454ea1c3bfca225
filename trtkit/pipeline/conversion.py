"""Definition or ONNX file → checked plan: export, cast, build, validate, and the manifest that tells all of it."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from trtkit import environment
from trtkit.arguments import check_argument
from trtkit.artifacts.files import publish, sha256_json, staging, write_json
from trtkit.artifacts.plan import PlanManifest, manifest_path, validation_path
from trtkit.artifacts.profile import OptimizationProfile
from trtkit.artifacts.validation import ValidationReport
from trtkit.backends.base import BuildOptions, Capabilities
from trtkit.backends.executing import Known
from trtkit.backends.probing import choose
from trtkit.errors import BackendUnavailableError, BuildError, PlanError, RunError, UsageError
from trtkit.pipeline.existing import (
    is_own_source,
    onnx_name,
    own_onnx,
    own_onnx_name,
    plan_label,
    refuse_foreign,
    refuse_own_source,
    reusable,
)
from trtkit.pipeline.listener import Listener, Silence
from trtkit.pipeline.lowering import lower, rewrite_as_asked
from trtkit.pipeline.quantization import check_thresholds
from trtkit.pipeline.request import PRECISIONS, QUANTIZED, ConvertRequest, ConvertResult, check_limits
from trtkit.pipeline.rewrite_memory import RewriteMemory
from trtkit.pipeline.rewriting import check_asked
from trtkit.pipeline.table_kept import note_replaced, older_table, table_path
from trtkit.stages.build import build
from trtkit.stages.export import export
from trtkit.stages.settle import settle
from trtkit.stages.validate import ValidationRequest, could_not, left_out, validate

__all__ = ["convert"]

_UNVALIDATED = "a validation was not wanted: who asked for the plan checks its outputs"


def convert(
    request: ConvertRequest,
    listener: Listener | None = None,
    *,
    memory: RewriteMemory | None = None,
    can: Capabilities | None = None,
) -> ConvertResult:
    """Definition or ONNX file → checked plan with its manifest, and the ONNX it was built from.

    The three files appear together in ``request.output`` when all is done; an error or Ctrl-C leaves nothing behind.
    A plan's name tells model, precision and family alone: a conversion that differs in anything else (shapes,
    ``fp16_io``, seed, build options) replaces the plan of that name, and says so. With ``memory``, rewrites that were
    checked before on this source are not checked again; with ``can``, the family is not looked for again.

    Raises:
        TrtkitError: any of the tree; see :mod:`trtkit.errors`.
    """
    started = time.perf_counter()
    check_argument("convert", "request", request, ConvertRequest)
    listener = listener or Silence()
    _check(request)
    identity = request.source.identity()
    if request.source.seed and (request.source.definition is None or request.source.weights is not None):
        raise UsageError("--seed chooses random weights, and these weights are not random.", hint="Leave --seed out.")
    why = "asked for"
    if can is None or can.family != request.family or can.cannot_build is not None:
        listener.stage("Looking for an engine family")
        can, why = choose(request.family)
    if request.family == "auto" and can.suffix == ".onnx":
        listener.note(f"no engine builder can work here, so the artifact is an ONNX file for ONNX Runtime: {why}")
    # Shapes are left out of this first check: they need the model, and a refused option needs no model to be refused.
    options = _options(request, OptimizationProfile({}), can)
    can.check(options)
    plan = request.output / f"{request.source.name}.{plan_label(request)}.{can.label}{can.suffix}"
    key = sha256_json(
        {
            "source": identity,
            "precision": [request.precision, request.fp16_io],
            "tolerance": [request.tolerance, request.agreement],
            "quantization": request.quantization.identity() if request.quantization else None,
            "rewrite": [request.rewrite, request.rewrite_seconds if request.rewrite == "auto" else None],
            "shapes": [request.batch, *request.shapes],
            "family": [can.family, can.version],
            "current_gpu": can.device,
            "options": options.identity(),
            "validate": request.validate,
            "code": environment.code_fingerprint(),
        }
    )
    if not request.force and (manifest := reusable(plan, key)) is not None:
        return ConvertResult(plan, manifest, True, why, time.perf_counter() - started)
    if not request.force and not is_own_source(request):
        refuse_foreign(plan, request.output / onnx_name(request), request.source.name)
    how, table = request.quantization, table_path(request.output, request.source.name)
    calibrates = how is not None and how.table is None and how.data is not None
    older = older_table(table, how.data, force=request.force) if how is not None and calibrates else None
    replaced = plan.exists() and not request.force
    with staging(request.output) as folder:
        manifest = _convert(request, can, folder / plan.name, key, listener, memory)
        publish(folder, request.output, last=manifest_path(plan).name)
        validation_path(plan).unlink(missing_ok=True)  # it spoke of the plan that was replaced
        if manifest.onnx.path.name != own_onnx_name(plan.name):
            (request.output / own_onnx_name(plan.name)).unlink(missing_ok=True)  # the replaced plan's
    if replaced:
        listener.note(
            f"replaced {plan}, which was damaged, or made from another source, with other options or by other code"
        )
    note_replaced(table, older, listener)
    onnx = manifest.onnx.moved_to(request.output / manifest.onnx.path.name)
    return ConvertResult(plan, replace(manifest, onnx=onnx), False, why, time.perf_counter() - started)


def _check(request: ConvertRequest) -> None:
    if request.precision not in PRECISIONS:
        raise UsageError(
            f"There is no precision {request.precision!r}; allowed: {', '.join(PRECISIONS)}.",
            hint="Choose one of these.",
        )
    check_limits(request.tolerance, request.agreement)
    check_asked("safe" if request.rewrite is None else request.rewrite)
    if request.fp16_io and request.precision != "fp16":
        raise UsageError(
            f"--fp16-io makes inputs and outputs of an fp16 plan float16; the precision is {request.precision}.",
            hint="Add --precision fp16, or leave --fp16-io out.",
        )
    if request.precision in QUANTIZED and request.source.definition is not None:
        check_thresholds(request.quantization, request.precision)
    if request.quantization is not None and request.precision not in QUANTIZED:
        raise UsageError(
            f"Calibration data and tables go with int8 and fp8; the precision is {request.precision}.",
            hint="Add --precision int8, or leave them out.",
        )


def _convert(
    request: ConvertRequest,
    can: Capabilities,
    plan: Path,
    key: str,
    listener: Listener,
    memory: RewriteMemory | None,
) -> PlanManifest:
    from trtkit.graph import io
    from trtkit.graph.outputs import softmax_axes
    from trtkit.graph.precision_proof import layers_of_the_source, names_in_branches, prove
    from trtkit.graph.shapes import resolve_profile

    timings: dict[str, float] = {}
    with _timed("export", timings):
        listener.stage(f"Exporting {request.source.name}")
        exported = export(request.source, for_tensorrt=can.suffix == ".plan")
        options = _options(request, resolve_profile(io.specs(exported.model)[0], request.batch, request.shapes), can)
        if can.suffix == ".plan":  # ONNX Runtime settles ranks anew at each run
            exported = settle(exported, options.profile)
        if request.precision in QUANTIZED and exported.source.precision not in QUANTIZED:
            check_thresholds(request.quantization, request.precision)
        scratch = plan.parent / "reference"
        scratch.mkdir()
    with _timed("rewrite", timings):
        known = Known()
        exported = rewrite_as_asked(request, exported, can, options, scratch, listener, known, memory)
    with _timed("lower", timings):
        softmax, nodes = softmax_axes(exported.model), layers_of_the_source(exported.model)
        in_branches, report_of_rewrites = names_in_branches(exported.model), exported.rewrites
        made = lower(request, exported, plan.with_name(onnx_name(request)), scratch, listener)
        refuse_own_source(request, made.onnx)
        made = own_onnx(made, request.output, plan.name, listener)
        del exported  # the weights leave this process before the builder needs the memory
    with _timed("build", timings):
        listener.stage(f"Building with {can.family} {can.version}")
        built = build(made.onnx, plan, can, options, listener.event)
    timings |= {"parse": built.outcome.parse_seconds, "builder": built.outcome.build_seconds}
    wanted = ValidationRequest(
        plan=plan,
        plan_sha256=built.sha256,
        targets=built.outcome.targets,
        onnx=made.onnx,
        reference=made.reference,
        reference_sha256=made.source.sha256,
        reference_precision=made.source.precision,
        softmax_axes=softmax,
        profile=options.profile,
        precision=request.precision,
        input_std=made.source.input_std,
        runtime_cache=options.runtime_cache,
        tolerance=request.tolerance,
        agreement=request.agreement,
        host_code=True,  # it was built here a moment ago
    )
    with _timed("validate", timings):
        report = _validate(wanted, can, listener, known) if request.validate else left_out(wanted, _UNVALIDATED)
    if options.runtime_cache is not None and report.status == "not_executed":
        listener.note("nothing was executed, so the runtime cache was neither read nor written")
    layers = built.outcome.layers
    proof = prove(nodes, layers, request.precision, in_branches) if layers is not None else None
    proof = proof.explained(made.stays_float) if proof is not None else None
    if proof is not None and request.precision in QUANTIZED and not proof.fraction(request.precision):
        raise BuildError(
            f"{can.family} {can.version} built a plan in which nothing runs in {request.precision.upper()}: "
            f"{proof.sentence}. A plan is not called what it is not, so none was written.",
            hint="Look at what was decided for each node with trtkit calibrate --explain.",
        )
    manifest = PlanManifest(
        file=plan.name,
        sha256=built.sha256,
        bytes=built.bytes,
        key=key,
        precision=request.precision,
        family=can.family,
        version=can.version or "",
        targets=built.outcome.targets,
        device=can.device,
        driver=can.driver,
        cuda=can.cuda,
        source=made.source,
        onnx=made.onnx,
        options=options.to_json(),
        flags=built.outcome.flags,
        warnings=(*made.notes, *built.outcome.warnings),
        timings_s={name: round(seconds, 4) for name, seconds in timings.items()},
        peak_rss_bytes=built.peak_rss_bytes,
        layers=layers,
        proof=proof,
        validation=report,
        environment=environment.describe().to_json(),
        command=request.command,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        rewrites=report_of_rewrites,
    )
    write_json(manifest_path(plan), manifest.to_json())
    return manifest


def _validate(wanted: ValidationRequest, can: Capabilities, listener: Listener, known: Known) -> ValidationReport:
    listener.stage("Validating")
    try:
        return validate(wanted, can, listener.event, known)
    except (PlanError, RunError, BackendUnavailableError) as error:
        return could_not(wanted, can, error)  # the plan is built: it is kept, and its manifest says what happened


def _options(request: ConvertRequest, profile: OptimizationProfile, can: Capabilities) -> BuildOptions:
    options = BuildOptions(profile=profile, tf32=request.precision == "tf32", **request.options)  # type: ignore[arg-type]
    return replace(options, compute_capability=can.targets_for(request.precision, options.compute_capability))


@contextlib.contextmanager
def _timed(name: str, timings: dict[str, float]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - started
