"""Definition or ONNX file → the same model with a faster graph, as ONNX, with the report of what was done to it."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from pathlib import Path

from trtkit import environment
from trtkit.arguments import check_argument, check_fields
from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.files import publish, read_json, staging, write_json
from trtkit.artifacts.model import OnnxModel
from trtkit.artifacts.profile import OptimizationProfile
from trtkit.artifacts.rewrites import RewriteReport, Site
from trtkit.backends import registry
from trtkit.backends.base import Capabilities
from trtkit.backends.probing import choose, probe
from trtkit.errors import ModelError, PlanError, UsageError
from trtkit.pipeline.listener import Listener, Silence
from trtkit.pipeline.real_inputs import check_real_inputs
from trtkit.pipeline.rewriting import Rewriting, named_rewrites, rewritten, target_of
from trtkit.pipeline.tuning import tuned
from trtkit.stages.export import SourceRequest, export

__all__ = ["OptimizeRequest", "OptimizeResult", "explain", "optimize", "report_path"]

_PRECISIONS = ("fp32", "tf32", "fp16", "int8", "fp8")


@dataclass(frozen=True)
class OptimizeRequest:
    """Everything that ``trtkit optimize`` can be told.

    Attributes:
        source: the model.
        output: the .onnx file to write; its report is written beside it.
        target: whom the graph is for: a family, perhaps with ``:`` and what it runs on (``tensorrt-rtx:9.0``,
            ``onnxruntime:cpu``); ``None`` for the family that ``convert`` would take.
        rewrite: ``none``, ``safe``, ``auto``, or names with commas between.
        seconds: the longest that ``auto`` may measure.
        precision: in which the model will run; the file that is written keeps the source's numbers.
        batch, shapes: as for :class:`~trtkit.pipeline.request.ConvertRequest`; the optimum is what is measured.
        data: an .npz file with one batch of real inputs, on which the rewrites are checked as well.
        force: replace a file that trtkit did not write, and measure anew.
        command: the command line, for the report.
    """

    source: SourceRequest
    output: Path
    target: str | None = None
    rewrite: str = "safe"
    seconds: float = 300.0
    precision: str = "fp32"
    batch: str | None = None
    shapes: tuple[str, ...] = ()
    data: Path | None = None
    force: bool = False
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class OptimizeResult:
    """What is there afterwards.

    Attributes:
        onnx: the file.
        report: what was tried on it.
        report_path: where that stands.
        target: whom the graph is for.
        seconds: wall time of this call.
    """

    onnx: OnnxModel
    report: RewriteReport
    report_path: Path
    target: str
    seconds: float

    def to_json(self) -> dict[str, object]:
        """The result as one JSON document."""
        return {
            "onnx": {**self.onnx.to_json(), "path": str(self.onnx.path)},
            "report_path": str(self.report_path),
            "target": self.target,
            "kept": list(self.report.names),
            "report": self.report.to_json(),
            "seconds": self.seconds,
        }


def report_path(onnx: Path) -> Path:
    """``faster.onnx`` → ``faster.rewrites.json``."""
    return onnx.with_suffix(".rewrites.json")


def optimize(request: OptimizeRequest, listener: Listener | None = None) -> OptimizeResult:
    """Rewrite a model, check it against its source, and write it; both files appear together when all is done.

    Raises:
        UsageError: the request contradicts itself, or would replace a file of someone else.
        ModelError: the model is at fault, or quantized already.
        RunError: the source does not run in ONNX Runtime, and rewrites, or real inputs, were named.
    """
    from trtkit.graph import io

    started = time.perf_counter()
    check_argument("optimize", "request", request, OptimizeRequest)
    listener = listener or Silence()
    _check(request)
    path = request.output
    with staging(path.parent) as folder:
        scratch = folder / "work"
        scratch.mkdir()
        target, can = _target(request, listener)
        listener.stage(f"Exporting {request.source.name}")
        exported = _exported(request.source, target)
        if request.data is not None:
            check_real_inputs(request.data, io.specs(exported.model)[0])
        profile = _profile(exported, request)
        how = Rewriting(request.rewrite, target, request.precision, interface=True, data=request.data)
        if how.asked == "auto" and can is not None:
            how = tuned(exported, how, can, profile, scratch, request.seconds, listener, anew=request.force)
        after = rewritten(exported, how, profile, scratch, listener)
        report = after.rewrites or RewriteReport(request.rewrite, ())
        parents = tuple(filter(None, (after.source.sha256, after.source.weights_sha256)))
        listener.stage("Writing the model")
        made = io.save(
            after.model,
            folder / path.name,
            name=after.source.name,
            precision=after.source.precision,
            parents=parents,
            transforms=after.transforms,
        )
        record = {
            "schema": 1,
            "onnx": made.to_json(),
            "source": exported.source.name,
            "target": target,
            "precision": request.precision,
            "report": report.to_json(),
            "environment": environment.describe().to_json(),
            "command": list(request.command),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        write_json(folder / report_path(path).name, record)
        publish(folder, path.parent, last=report_path(path).name)
    return OptimizeResult(made.moved_to(path), report, report_path(path), target, time.perf_counter() - started)


def explain(source: SourceRequest, target: str | None, listener: Listener | None = None) -> list[dict[str, object]]:
    """For every rewrite what it does, what it gains where, whether it is safe for a target, and its places.

    Raises:
        UsageError: there is no such target.
        ModelError: the model is at fault.
    """
    from trtkit.graph.rewrites import ALL, safe

    whom, _ = _target(OptimizeRequest(source, Path("unused.onnx"), target), listener or Silence())
    exported = _exported(source, whom)
    chosen, model = safe(whom), exported.model
    rows: list[dict[str, object]] = []
    for name, item in ALL.items():
        sites: tuple[Site, ...] = item.find(model)
        rows.append(
            {
                "rewrite": name,
                "summary": item.summary,
                "gains": item.gains,
                "safe": name in chosen,
                "changes_interface": item.changes_interface,
                "places": [site.to_json() for site in sites],
            }
        )
        if name in chosen and sites:
            model = item.apply(model).model  # what comes later is looked for behind what is applied earlier
    return rows


def _check(request: OptimizeRequest) -> None:
    """Refuse what cannot be honoured before the model is touched.

    Raises:
        UsageError: an unknown rewrite or precision, real inputs for a model whose inputs will change, or an output that
            is no .onnx file or someone else's.
    """
    from trtkit.graph.rewrites import ALL

    changing = [name for name in named_rewrites(request.rewrite) or () if ALL[name].changes_interface]
    if changing and request.data is not None:
        raise UsageError(
            f"--data holds inputs as the source takes them, and {changing[0]} changes what the model takes.",
            hint="Leave --data out: the check then draws images, and gives both sides the same ones.",
        )
    if request.precision not in _PRECISIONS:
        raise UsageError(
            f"There is no precision {request.precision!r}; allowed: {', '.join(_PRECISIONS)}.", hint="Choose one."
        )
    path = request.output
    if path.suffix != ".onnx":
        raise UsageError(f"{path} does not end in .onnx.", hint="Give a file name such as -o faster.onnx.")
    if not path.exists():
        return
    source = Path(request.source.text)
    if request.source.definition is None and source.exists() and path.samefile(source):
        raise UsageError(f"The result would be written over its source {path}.", hint="Give another file with -o.")
    if not request.force and not _ours(path):
        raise UsageError(
            f"{path} exists, and no report beside it says that trtkit wrote it.",
            hint="Give another file with -o, or add --force to replace it.",
        )


def _ours(path: Path) -> bool:
    try:
        return bool(read_json(report_path(path)).get("onnx", {}).get("path") == path.name)
    except PlanError:
        return False


def _target(request: OptimizeRequest, listener: Listener) -> tuple[str, Capabilities | None]:
    """Whom the graph is for, and, where measuring was asked for, what that family can do here.

    Raises:
        UsageError: the family or what it runs on does not exist.
    """
    if request.target is None:
        listener.stage("Looking for an engine family")
        can, _ = choose("auto")
        return target_of(can), can
    text = request.target.lower()
    family, _, place = text.partition(":")
    if family not in registry.FAMILIES:
        raise UsageError(
            f"--for {request.target}: there is no family {family!r}.",
            hint=f"Choose one of: {', '.join(registry.PREFERENCE)}; then perhaps :cpu, :cuda or :8.9.",
        )
    on_onnx = family == "onnxruntime"
    if place and (place not in ("cpu", "cuda") if on_onnx else not place.replace(".", "", 1).isdigit()):
        raise UsageError(
            f"--for {request.target}: {family} does not run on {place!r}.",
            hint="Write onnxruntime:cpu or onnxruntime:cuda." if on_onnx else f"Write {family}:8.9, or {family} alone.",
        )
    found = probe(family) if request.rewrite == "auto" or (on_onnx and not place) else None
    if found is not None and on_onnx and not place:
        text = target_of(found)
    return text, found


def _exported(source: SourceRequest, target: str) -> ExportedModel:
    """The model, which must not be quantized yet."""
    exported = export(source, for_tensorrt=not target.startswith("onnxruntime"))
    if exported.source.precision in ("int8", "fp8"):
        raise ModelError(
            f"{exported.source.name} is quantized already, and rewrites come before quantization.",
            hint="Optimize the float model that it was made from, and quantize the result.",
        )
    return exported


def _profile(exported: ExportedModel, request: OptimizeRequest) -> OptimizationProfile:
    from trtkit.graph import io
    from trtkit.graph.shapes import resolve_profile

    return resolve_profile(io.specs(exported.model)[0], request.batch, request.shapes)
