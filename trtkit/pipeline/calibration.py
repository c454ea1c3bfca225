"""Data (or an old TensorRT cache) → calibration table, Q/DQ model and report."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from calibration import trt_cache
from calibration.methods import methods_of
from calibration.trt_cache import CacheMatch
from trtkit.arguments import check_argument, check_fields
from trtkit.artifacts.calibration_report import CalibrationReport
from trtkit.artifacts.calibration_table import CalibrationTable
from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.files import publish, staging, write_json
from trtkit.artifacts.model import OnnxModel
from trtkit.errors import UsageError
from trtkit.pipeline.cached_thresholds import from_trt_cache
from trtkit.pipeline.listener import Listener, Silence
from trtkit.pipeline.quantization import Quantization, checkpoint_path, placed
from trtkit.pipeline.rewriting import Rewriting, check_asked, rewritten
from trtkit.pipeline.table_fit import check_table
from trtkit.pipeline.table_kept import note_replaced, older_table, table_path
from trtkit.pipeline.thresholds import calibrated
from trtkit.stages.export import SourceRequest, export
from trtkit.stages.quantize import quantize, quantized_name

if TYPE_CHECKING:
    from trtkit.graph.placement import Placement

__all__ = ["CalibrationRequest", "CalibrationResult", "calibrate", "explain"]


@dataclass(frozen=True)
class CalibrationRequest:
    """Everything that ``trtkit calibrate`` can be told.

    Attributes:
        source: the model.
        how: data, method, what is quantized.
        precision: ``int8`` or ``fp8``.
        from_trt_cache: take the thresholds from a TensorRT calibration cache; data, if given, only tell how good they
            are.
        to_trt_cache: write one as well.
        trt_cache_header: its first line, such as ``TRT-8601-MinMaxCalibration``; ``None``: that of the cache that was
            read, or one of TensorRT 8.6 with the calibrator closest to the method.
        output: the folder for the artifacts.
        command: the command line, for the table.
        force: let a table from synthetic samples replace one from real data.
        rewrite: rewrites for speed before the calibration: ``none``, ``safe`` or names with commas between; ``None``
            takes ``safe``, but ``none`` where a TensorRT cache is read or written, which names the source's tensors.
    """

    source: SourceRequest
    how: Quantization
    precision: str = "int8"
    from_trt_cache: Path | None = None
    to_trt_cache: Path | None = None
    trt_cache_header: str | None = None
    output: Path = Path()
    command: tuple[str, ...] = ()
    rewrite: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def rewriting(self) -> Rewriting:
        """What is rewritten: for an engine builder, since that is what Q/DQ models are for."""
        caches = self.from_trt_cache is not None or self.to_trt_cache is not None
        return Rewriting(self.rewrite or ("none" if caches else "safe"), "tensorrt", self.precision)


@dataclass(frozen=True)
class CalibrationResult:
    """What is there afterwards.

    Attributes:
        table_path, table: the calibration table.
        onnx: the Q/DQ model.
        report_path, report: what was found.
        cache: how a TensorRT cache matched the model; ``None`` without one.
        placement: for every node what was decided, and by which rule.
        trt_cache: the TensorRT cache that was written, and its header; ``None`` without one.
        seconds: wall time of this call.
    """

    table_path: Path
    table: CalibrationTable
    onnx: OnnxModel
    report_path: Path
    report: CalibrationReport
    cache: CacheMatch | None
    placement: Placement
    trt_cache: tuple[Path, str] | None
    seconds: float

    def to_json(self) -> dict[str, object]:
        """The result as one JSON document."""
        return {
            "table": str(self.table_path),
            "onnx": {**self.onnx.to_json(), "path": str(self.onnx.path)},
            "report": {"path": str(self.report_path), **self.report.to_json()},
            "chosen": self.table.method,
            "tensors": len(self.table.tensors),
            "synthetic": self.table.synthetic,
            "trt_cache": None
            if self.trt_cache is None
            else {"path": str(self.trt_cache[0]), "header": self.trt_cache[1]},
            "seconds": self.seconds,
        }


def calibrate(request: CalibrationRequest, listener: Listener | None = None) -> CalibrationResult:
    """Calibrate a model; the files appear together when all is done.

    Raises:
        TrtkitError: any of the tree; see :mod:`trtkit.errors`.
    """
    from trtkit.graph import io

    started = time.perf_counter()
    check_argument("calibrate", "request", request, CalibrationRequest)
    listener = listener or Silence()
    _check(request)
    name = request.source.name
    checkpoint = checkpoint_path(request.output, name)
    new_data = None if request.from_trt_cache is not None else request.how.data
    older = older_table(table_path(request.output, name), new_data, force=request.force)
    with staging(request.output) as folder:
        listener.stage(f"Exporting {name}")
        exported = export(request.source)
        truth = folder / "reference"
        truth.mkdir()
        exported = _rewritten(exported, request.rewriting, truth, listener)
        fp32 = io.save(exported.model, truth / f"{name}.fp32.onnx", name=name, precision="fp32")
        source = exported.source if exported.original else replace(exported.source, sha256=fp32.sha256)
        placement = placed(exported, request.how, request.precision)
        cache = None
        if request.from_trt_cache is not None:
            table, cache, report = from_trt_cache(
                request.from_trt_cache, exported, source, fp32.path, placement, request.how, truth, listener
            )
            report = report.made_by(request.command)
        else:
            table, report = calibrated(
                exported,
                source,
                fp32.path,
                placement,
                request.how,
                request.precision,
                truth,
                checkpoint,
                request.command,
                listener,
            )
        check_table(table, source, placement, request.precision, listener)
        listener.stage("Writing the quantized model")
        label = quantized_name(request.precision, request.how.high_precision)
        onnx = quantize(
            exported,
            source,
            placement,
            table.amax,
            folder / f"{name}.{label}.onnx",
            precision=request.precision,
            high_precision=request.how.high_precision,
        )
        table.write(folder / f"{name}.calibration.json")
        report_path = request.output / f"{name}.calibration-report.json"
        write_json(folder / report_path.name, report.to_json())
        publish(folder, request.output, last=f"{name}.calibration.json")
    note_replaced(table_path(request.output, name), older, listener)
    checkpoint.unlink(missing_ok=True)
    written = None
    if request.to_trt_cache is not None:
        header = request.trt_cache_header or trt_cache.header_for(table)
        trt_cache.write_cache(table, request.to_trt_cache, header=header)
        written = (request.to_trt_cache, header)
    return CalibrationResult(
        request.output / f"{name}.calibration.json",
        table,
        onnx.moved_to(request.output / onnx.path.name),
        report_path,
        report,
        cache,
        placement,
        written,
        time.perf_counter() - started,
    )


def explain(
    source: SourceRequest,
    how: Quantization,
    precision: str,
    rewrite: str | None = None,
    listener: Listener | None = None,
) -> Placement:
    """What would be quantized, and by which rule; no data are needed, and nothing is written.

    Raises:
        TrtkitError: the model or the recipe is at fault.
    """
    check_asked(rewrite or "safe")
    rewriting = CalibrationRequest(source, how, precision, rewrite=rewrite).rewriting
    with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
        exported = _rewritten(export(source), rewriting, Path(folder), listener or Silence())
    return placed(exported, how, precision)


def _rewritten(exported: ExportedModel, how: Rewriting, scratch: Path, listener: Listener) -> ExportedModel:
    from trtkit.graph import io
    from trtkit.graph.shapes import resolve_profile

    if how.asked == "none":
        return exported
    try:
        profile = resolve_profile(io.specs(exported.model)[0], None, ())
    except UsageError:  # sizes that only the data will tell
        if how.asked != "safe":
            raise
        listener.note("the graph is calibrated as it is: rewrites cannot be checked where the model leaves sizes open")
        return exported
    return rewritten(exported, how, profile, scratch, listener)


def _check(request: CalibrationRequest) -> None:
    """Refuse what cannot be honoured before anything is computed.

    Raises:
        UsageError: neither data nor a cache, or a cache that cannot be read or written for this precision.
    """
    check_asked(request.rewrite or "safe")
    if request.rewrite == "auto":
        raise UsageError(
            "--rewrite auto measures plans, and calibrate builds none.",
            hint="Run trtkit convert --precision int8 --data … --rewrite auto, or name the rewrites here.",
        )
    if request.from_trt_cache is None and request.how.data is None:
        raise UsageError(
            "Calibration takes its thresholds either from data or from a TensorRT cache; neither was given.",
            hint="Give --data FOLDER, --synthetic 64 (labelled so), or --from-trt-cache FILE.",
        )
    caches = request.from_trt_cache is not None or request.to_trt_cache is not None
    if caches and request.precision != "int8":
        raise UsageError("TensorRT's calibration caches hold int8 scales.", hint="Leave --precision fp8 out.")
    if request.trt_cache_header is not None:
        if request.to_trt_cache is None:
            raise UsageError(
                "--trt-cache-header is the first line of a cache, and none is to be written.",
                hint="Add --to-trt-cache FILE.",
            )
        trt_cache.check_header(request.trt_cache_header)
    if request.how.data is not None:
        methods_of(request.how.method)
