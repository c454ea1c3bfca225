"""Data (or an old TensorRT cache) → calibration table, Q/DQ model and report."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from calibration import trt_cache
from calibration.trt_cache import CacheMatch
from trtkit import environment
from trtkit.artifacts.calibration_report import CalibrationReport
from trtkit.artifacts.calibration_table import CalibrationTable
from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.files import publish, staging, write_json
from trtkit.artifacts.model import OnnxModel
from trtkit.artifacts.plan import Source
from trtkit.errors import CalibrationError, UsageError
from trtkit.pipeline.listener import Listener, Silence
from trtkit.pipeline.quantization import Quantization, calibrated, check_table, placed
from trtkit.stages.export import SourceRequest, export
from trtkit.stages.quantize import quantize, quantized_name

if TYPE_CHECKING:
    from trtkit.graph.placement import Placement

__all__ = ["CalibrationRequest", "CalibrationResult", "calibrate", "checkpoint_path"]


@dataclass(frozen=True)
class CalibrationRequest:
    """Everything that ``trtkit calibrate`` can be told.

    Attributes:
        source: the model.
        how: data, method, what is quantized.
        precision: ``int8`` or ``fp8``.
        from_trt_cache: take the thresholds from a TensorRT calibration cache instead of data.
        to_trt_cache: write one as well.
        output: the folder for the artifacts.
        command: the command line, for the table.
    """

    source: SourceRequest
    how: Quantization
    precision: str = "int8"
    from_trt_cache: Path | None = None
    to_trt_cache: Path | None = None
    output: Path = Path()
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class CalibrationResult:
    """What is there afterwards.

    Attributes:
        table_path, table: the calibration table.
        onnx: the Q/DQ model.
        report_path, report: what was found; ``None`` without data.
        cache: how a TensorRT cache matched the model; ``None`` without one.
        explanation: for every node what was decided, and by which rule.
        seconds: wall time of this call.
    """

    table_path: Path
    table: CalibrationTable
    onnx: OnnxModel
    report_path: Path | None
    report: CalibrationReport | None
    cache: CacheMatch | None
    explanation: str
    seconds: float

    def to_json(self) -> dict[str, object]:
        """The result as one JSON document."""
        return {
            "table": str(self.table_path),
            "onnx": self.onnx.to_json(),
            "report": self.report.to_json() if self.report else None,
            "chosen": self.table.method,
            "tensors": len(self.table.tensors),
            "synthetic": self.table.synthetic,
            "seconds": self.seconds,
        }


def checkpoint_path(folder: Path, name: str) -> Path:
    """Where an interrupted calibration keeps its statistics."""
    return folder / f"{name}.calibration.partial.npz"


def calibrate(request: CalibrationRequest, listener: Listener | None = None) -> CalibrationResult:
    """Calibrate a model; the files appear together when all is done.

    Raises:
        TrtkitError: any of the tree; see :mod:`trtkit.errors`.
    """
    from trtkit.graph import io

    started = time.perf_counter()
    listener = listener or Silence()
    if (request.from_trt_cache is None) == (request.how.data is None):
        raise UsageError(
            "Calibration takes its thresholds either from data or from a TensorRT cache"
            + ("; neither was given." if request.how.data is None else ", not from both."),
            hint="Give --data FOLDER, --synthetic 64 (labelled so), or --from-trt-cache FILE.",
        )
    name = request.source.name
    checkpoint = checkpoint_path(request.output, name)
    with staging(request.output) as folder:
        listener.stage(f"Exporting {name}")
        exported = export(request.source)
        truth = folder / "reference"
        truth.mkdir()
        fp32 = io.save(exported.model, truth / f"{name}.fp32.onnx", name=name, precision="fp32")
        source = exported.source if exported.original else replace(exported.source, sha256=fp32.sha256)
        placement = placed(exported, request.how, request.precision)
        report, cache = None, None
        if request.from_trt_cache is not None:
            table, cache = _from_cache(request, exported, source, placement, listener)
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
        report_path = None
        if report is not None:
            report_path = request.output / f"{name}.calibration-report.json"
            write_json(folder / report_path.name, report.to_json())
        publish(folder, request.output, last=f"{name}.calibration.json")
    checkpoint.unlink(missing_ok=True)
    if request.to_trt_cache is not None:
        trt_cache.write_cache(table, request.to_trt_cache)
    return CalibrationResult(
        request.output / f"{name}.calibration.json",
        table,
        onnx.moved_to(request.output / onnx.path.name),
        report_path,
        report,
        cache,
        placement.explain(),
        time.perf_counter() - started,
    )


def _from_cache(
    request: CalibrationRequest, exported: ExportedModel, source: Source, placement: Placement, listener: Listener
) -> tuple[CalibrationTable, CacheMatch]:
    """A table from a TensorRT calibration cache; every wanted tensor must be in it."""
    assert request.from_trt_cache is not None
    if request.precision != "int8":
        raise UsageError("TensorRT's calibration caches hold int8 scales.", hint="Leave --precision fp8 out.")
    cache = trt_cache.read_cache(request.from_trt_cache)
    graph = exported.model.graph
    known = {name for node in graph.node for name in (*node.input, *node.output)} | {v.name for v in graph.input}
    found = trt_cache.match(cache, placement.tensors, known)
    listener.note(
        f"{len(found.matched)} of {len(placement.tensors)} tensors matched by name; of the other names "
        f"{len(found.fused)} are fused tensors that TensorRT invented, {len(found.unmatched)} no tensor of this model, "
        f"{len(found.unused)} not needed"
    )
    if found.missing:
        raise CalibrationError(
            f"The cache {request.from_trt_cache.name} has no scale for {len(found.missing)} of "
            f"{len(placement.tensors)} tensors; the first: {', '.join(found.missing[:5])}.",
            hint="TensorRT names tensors after the ONNX file: use the very file that was calibrated, or exclude the "
            "nodes with --exclude.",
        )
    table = CalibrationTable(
        model=source.name,
        model_sha256=source.sha256,
        dtype="int8",
        method="trt-cache",
        tensors={name: found.ranges[name] for name in placement.tensors},
        samples=0,
        data={"kind": "trt-cache", "source": request.from_trt_cache.name, "version": cache.version},
        transforms=exported.transforms,
        environment=environment.describe().to_json(),
        command=" ".join(request.command),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return table, found
