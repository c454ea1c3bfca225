"""Definition or ONNX file → checked plan: export, cast, build, validate, and the manifest that tells all of it."""

from __future__ import annotations

import contextlib
import datetime
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit import environment
from trtkit.artifacts.files import sha256_json, write_json
from trtkit.artifacts.plan import PlanManifest, Source, manifest_path
from trtkit.backends.base import BuildOptions, Capabilities
from trtkit.errors import PlanError, RunError, UsageError
from trtkit.pipeline.listener import Listener
from trtkit.stages.build import build
from trtkit.stages.export import ExportedModel, SourceRequest, export
from trtkit.stages.probe import choose
from trtkit.stages.validate import ValidationRequest, could_not, validate

if TYPE_CHECKING:
    import onnx

    from trtkit.artifacts.model import OnnxModel

__all__ = ["PRECISIONS", "ConvertRequest", "ConvertResult", "convert"]

PRECISIONS = ("fp32", "tf32", "fp16")
"""What ``convert`` can be asked for."""


@dataclass(frozen=True)
class ConvertRequest:
    """Everything that ``trtkit convert`` can be told.

    Attributes:
        source: the model.
        precision: one of :data:`PRECISIONS`.
        family: a family's name or ``auto``.
        batch: ``MIN:OPT:MAX`` for the batch axis; ``None`` for 1:32:128.
        shapes: ``NAME=MIN:OPT:MAX`` for any dynamic input.
        options: the build options but for profile and TF32, which follow from the rest.
        output: the folder for the artifacts.
        fp16_io: float16 inputs and outputs too.
        force: build even if an equal plan is there.
        command: the command line, for the manifest.
    """

    source: SourceRequest
    precision: str = "fp32"
    family: str = "auto"
    batch: str | None = None
    shapes: tuple[str, ...] = ()
    options: dict[str, object] = field(default_factory=dict)
    output: Path = Path()
    fp16_io: bool = False
    force: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConvertResult:
    """A plan that is there, new or reused.

    Attributes:
        plan: the file.
        manifest: what stands beside it.
        reused: whether an earlier run had built it.
        chosen_because: why this family.
        seconds: wall time of this call.
    """

    plan: Path
    manifest: PlanManifest
    reused: bool
    chosen_because: str
    seconds: float

    def to_json(self) -> dict[str, object]:
        """The result as one JSON document: the manifest, and what only this run knows."""
        return {
            "plan": str(self.plan),
            "reused": self.reused,
            "chosen_because": self.chosen_because,
            "seconds": self.seconds,
            "manifest": self.manifest.to_json(),
        }


def convert(request: ConvertRequest, listener: Listener) -> ConvertResult:
    """Definition or ONNX file → checked plan with its manifest, and the ONNX it was built from.

    Raises:
        TrtkitError: any of the tree; see :mod:`trtkit.errors`.
    """
    started = time.perf_counter()
    if request.precision not in PRECISIONS:
        raise UsageError(
            f"There is no precision {request.precision!r}; allowed: {', '.join(PRECISIONS)}.", hint="Choose one of these."
        )
    if request.fp16_io and request.precision != "fp16":
        raise UsageError(
            f"--fp16-io makes inputs and outputs of an fp16 plan float16; the precision is {request.precision}.",
            hint="Add --precision fp16, or leave --fp16-io out.",
        )
    identity = request.source.identity()
    listener.stage("Looking for an engine family")
    can, why = choose(request.family)
    # Shapes are left out of this first check: they need the model, and a refused option needs no model to be refused.
    can.check(_options(request, None))
    plan = request.output / f"{request.source.name}.{request.precision}.{can.label}{can.suffix}"
    key = sha256_json(
        {
            "source": identity,
            "precision": [request.precision, request.fp16_io],
            "shapes": [request.batch, *request.shapes],
            "family": [can.family, can.version],
            "current_gpu": can.device,
            "options": _options(request, None).identity(),
            "code": environment.code_fingerprint(),
        }
    )
    if not request.force and (manifest := _reusable(plan, key)) is not None:
        return ConvertResult(plan, manifest, True, why, time.perf_counter() - started)
    manifest = _convert(request, can, plan, key, listener)
    return ConvertResult(plan, manifest, False, why, time.perf_counter() - started)


def _convert(
    request: ConvertRequest, can: Capabilities, plan: Path, key: str, listener: Listener
) -> PlanManifest:
    from trtkit.graph.outputs import softmax_axes
    from trtkit.graph.precision_proof import prove
    from trtkit.graph.shapes import resolve_profile

    timings: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        with _timed("export", timings):
            listener.stage(f"Exporting {request.source.name}")
            exported = export(request.source)
            softmax = softmax_axes(exported.model)
            onnx, reference, source = _write_onnx(request, exported, stack, listener)
            nodes = [(node.name, node.op_type) for node in exported.model.graph.node]
            del exported  # the weights leave this process before the builder needs the memory
        options = _options(request, resolve_profile(onnx.inputs, request.batch, request.shapes))
        with _timed("build", timings):
            listener.stage(f"Building with {can.family} {can.version}")
            built = build(onnx, plan, can, options, listener.event)
        timings |= {"parse": built.outcome.parse_seconds, "builder": built.outcome.build_seconds}
        with _timed("validate", timings):
            listener.stage("Validating")
            wanted = ValidationRequest(
                plan=plan,
                plan_sha256=built.sha256,
                targets=built.outcome.targets,
                onnx=onnx,
                reference=reference,
                reference_sha256=source.sha256,
                softmax_axes=softmax,
                profile=options.profile,
                precision=request.precision,
                input_std=source.input_std,
                runtime_cache=options.runtime_cache,
            )
            try:
                report = validate(wanted, can, listener.event)
            except (PlanError, RunError) as error:  # the plan is built: it is kept, and its manifest says what happened
                report = could_not(wanted, error)
    layers = built.outcome.layers
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
        source=source,
        onnx=onnx,
        options=options.to_json(),
        flags=built.outcome.flags,
        warnings=built.outcome.warnings,
        timings_s={name: round(seconds, 4) for name, seconds in timings.items()},
        peak_rss_bytes=built.peak_rss_bytes,
        layers=layers,
        proof=prove(nodes, layers, request.precision) if layers is not None else None,
        validation=report,
        environment=environment.describe().to_json(),
        command=request.command,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    write_json(manifest_path(plan), manifest.to_json())
    return manifest


def _write_onnx(
    request: ConvertRequest, exported: ExportedModel, stack: contextlib.ExitStack, listener: Listener
) -> tuple[OnnxModel, Path, Source]:
    """Write what the plan is built from; returns it, the FP32 reference file, and the source with its hash."""
    from trtkit.graph import io

    numbers = "fp16" if request.precision == "fp16" else "fp32"  # TF32 is a way to multiply, not a number in a file
    name = exported.source.name
    path = request.output / f"{name}.{numbers}.onnx"
    if exported.original is not None and path.exists() and path.samefile(exported.original):
        raise UsageError(
            f"The ONNX that the plan is built from would be written over its source {path}.",
            hint="Give another folder with -o/--output.",
        )
    model: onnx.ModelProto = exported.model
    transforms = exported.transforms
    if numbers == "fp16":
        from trtkit.graph.float16 import to_float16

        result = to_float16(model, keep_io=not request.fp16_io)
        transforms = (*transforms, "float16")
        for kept in result.kept_float32[:3]:
            listener.note(f"{kept.op_type} {kept.name} stays in float32: {kept.reason}")
        if len(result.kept_float32) > 3:
            listener.note(f"… and {len(result.kept_float32) - 3} more nodes stay in float32")
        if exported.original is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trtkit-")))
            fp32 = io.save(model, folder / f"{name}.fp32.onnx", name=name, precision="fp32")
            exported = exported.with_sha256(fp32.sha256)
            reference = fp32.path
        model = result.model
    parents = tuple(digest for digest in (exported.source.sha256, exported.source.weights_sha256) if digest)
    written = io.save(model, path, name=name, precision=numbers, parents=parents, transforms=transforms)
    if exported.original is not None:
        reference = exported.original
    elif numbers == "fp32":
        exported, reference = exported.with_sha256(written.sha256), written.path
    return written, reference, exported.source


def _options(request: ConvertRequest, profile: object) -> BuildOptions:
    from trtkit.artifacts.profile import OptimizationProfile

    chosen = profile if isinstance(profile, OptimizationProfile) else OptimizationProfile({})
    return BuildOptions(profile=chosen, tf32=request.precision == "tf32", **request.options)  # type: ignore[arg-type]


def _reusable(plan: Path, key: str) -> PlanManifest | None:
    """The manifest of an equal plan that is already there, whole and unchanged, with its ONNX."""
    from trtkit.graph import io

    if not plan.exists():
        return None
    with contextlib.suppress(PlanError):
        manifest = PlanManifest.read(plan)
        onnx = manifest.onnx
        if manifest.key == key and onnx.path.exists() and io.sha256_of(onnx.path) == onnx.sha256:
            return manifest
    return None


@contextlib.contextmanager
def _timed(name: str, timings: dict[str, float]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - started
