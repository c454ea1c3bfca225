"""A plan that is there, validated on this machine: on another day, by another driver, on another GPU than its build."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from trtkit import environment
from trtkit.arguments import as_path, check_argument
from trtkit.artifacts.files import write_json
from trtkit.artifacts.plan import PlanManifest, validation_path
from trtkit.artifacts.plan_header import read_header
from trtkit.artifacts.validation import ValidationReport
from trtkit.backends.base import BuildOptions
from trtkit.backends.probing import probe
from trtkit.errors import PlanError
from trtkit.pipeline.listener import Listener, Silence
from trtkit.pipeline.request import check_limits
from trtkit.stages.export import SourceRequest, export
from trtkit.stages.validate import ValidationRequest, validate

__all__ = ["find_reference", "validate_plan"]

_ARGUMENTS: dict[str, Any] = {
    "plan": Path,
    "reference": Path | None,
    "seed": int,
    "tolerance": float | None,
    "agreement": float | None,
    "runtime_cache": Path | None,
    "host_code": bool,
}


def validate_plan(
    plan: Path,
    listener: Listener | None = None,
    *,
    reference: Path | None = None,
    seed: int = 0,
    tolerance: float | None = None,
    agreement: float | None = None,
    runtime_cache: Path | None = None,
    host_code: bool = False,
) -> ValidationReport:
    """Validate a plan on this machine and write ``….validation.json`` beside it.

    Args:
        plan: the plan; its manifest and its ONNX lie beside it.
        listener: is told what goes on; ``None`` for silence.
        reference: the FP32 ONNX; needed where the manifest names a file that is not here.
        seed: of the inputs.
        tolerance: largest relative L2 error that passes; ``None`` takes the precision's own.
        agreement: smallest share of equal values in integer outputs that passes; ``None`` takes the precision's own.
        runtime_cache: TensorRT-RTX's just-in-time kernels, read and added to.
        host_code: let the native code inside a version-compatible plan run.

    Raises:
        UsageError: an argument is of another type, or a limit out of range.
        PlanError: plan, manifest, ONNX or reference are missing or do not belong together.
        RunError: executing fails.
    """
    given = dict(locals())
    from trtkit.graph import io
    from trtkit.graph.outputs import softmax_axes

    for name, allowed in _ARGUMENTS.items():
        check_argument("validate_plan", name, as_path(given[name], allowed), allowed)
    plan, reference, runtime_cache = (as_path(value) for value in (plan, reference, runtime_cache))
    check_limits(tolerance, agreement)
    listener = listener or Silence()
    if plan.suffix != ".onnx":
        read_header(plan)
    manifest = PlanManifest.read(plan)
    onnx = manifest.onnx
    if not onnx.path.exists():
        raise PlanError(
            f"{onnx.path.name}, from which {plan.name} was built, is missing beside it.",
            hint="Copy it there, or convert the model again.",
        )
    if io.sha256_of(onnx.path) != onnx.sha256:
        raise PlanError(
            f"{onnx.path.name} is not the ONNX that {plan.name} was built from: its SHA-256 differs from the "
            "manifest's. Another convert into this folder has replaced it.",
            hint="Convert again with --force, and keep models of one name in folders of their own.",
        )
    listener.stage(f"Looking at the {manifest.family} family")
    can = probe(manifest.family)
    if can.version is not None and can.version != manifest.version and can.cannot_run is None:
        listener.note(f"the plan was built by {manifest.family} {manifest.version}; {can.version} is installed here")
    with contextlib.ExitStack() as stack:
        listener.stage("Finding the FP32 reference")
        truth = find_reference(manifest, reference, stack)
        listener.stage("Validating")
        report = validate(
            ValidationRequest(
                plan=plan,
                plan_sha256=manifest.sha256,
                targets=manifest.targets,
                onnx=onnx,
                reference=truth,
                reference_sha256=manifest.source.sha256,
                reference_precision=manifest.source.precision,
                softmax_axes=softmax_axes(io.load(onnx.path)),
                profile=BuildOptions.from_json(manifest.options).profile,
                precision=manifest.precision,
                input_std=manifest.source.input_std,
                seed=seed,
                runtime_cache=runtime_cache,
                host_code=host_code,
                tolerance=tolerance,
                agreement=agreement,
            ),
            can,
            listener.event,
        )
    record = {
        "schema": 1,
        "plan": plan.name,
        "plan_sha256": manifest.sha256,
        "report": report.to_json(),
        "environment": environment.describe().to_json(),
    }
    write_json(validation_path(plan), {**record, "capabilities": can.to_json()})
    return report


def find_reference(manifest: PlanManifest, given: Path | None, stack: contextlib.ExitStack) -> Path:
    """The FP32 ONNX that the manifest's source names, proved by its hash.

    Args:
        manifest: of the plan.
        given: where the user says that it is; ``None`` to look.
        stack: removes it at its end, where it was made for the purpose.

    Raises:
        PlanError: it is not here, or it is another model.
    """
    from trtkit.graph import io

    source = manifest.source
    if given is None and manifest.onnx.sha256 == source.sha256:
        return manifest.onnx.path
    if given is None and source.path is not None:
        given = Path(source.path)
        if not given.exists():
            raise PlanError(
                f"The source model {given.name} is not at {given.parent} on this machine.",
                hint="Give it with --reference FILE.onnx.",
            )
    if given is not None:
        if io.sha256_of(given) != source.sha256:
            raise PlanError(
                f"{given} is not the model that {manifest.file} was made from: its SHA-256 differs.",
                hint="Give the ONNX that was converted, or convert again.",
            )
        if "make_node_names_unique" not in manifest.onnx.transforms:
            return given
        exported = export(SourceRequest(str(given)), for_tensorrt=False)
        if exported.loadable:
            return given
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trtkit-")))
        return io.save(exported.model, folder / "reference.onnx", name=source.name, precision="fp32").path
    if source.weights is not None:
        raise PlanError(
            f"{manifest.file} was made from {source.definition} with the weights {source.weights}, which are not here.",
            hint=f"Run trtkit export {source.definition} --weights FILE -o ref.onnx, then give --reference ref.onnx.",
        )
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trtkit-")))
    exported = export(SourceRequest(source.definition or "", seed=source.seed or 0))
    made = io.save(exported.model, folder / "reference.onnx", name=source.name, precision="fp32")
    if made.sha256 != source.sha256:
        raise PlanError(
            f"This version of trtkit makes another {source.definition} than {manifest.file} was made from.",
            hint="Validate with the version of trtkit that converted it (see the manifest), or convert again.",
        )
    return made.path
