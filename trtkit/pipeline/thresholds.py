"""Samples → thresholds: what the stage is told about a model and its data, and what of its answer goes into a table."""

from __future__ import annotations

import glob
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.image_input import layout_of, size_of
from calibration.job_data import JobData
from calibration.methods import methods_of
from calibration.preprocess import load_preprocessing
from calibration.staged_samples import staged
from calibration.suspicion import contradictions
from trtkit import environment
from trtkit.artifacts.calibration_report import CalibrationReport
from trtkit.artifacts.calibration_table import CalibrationTable, TensorRange
from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.plan import Source
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import CalibrationError
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.table_fit import weights_of
from trtkit.stages.calibrate import CalibrateRequest, calibrate, measure
from trtkit.worker import Log, Progress

if TYPE_CHECKING:
    from trtkit.graph.placement import Placement
    from trtkit.pipeline.quantization import Quantization

__all__ = ["calibrated", "measured", "spread_of"]

_USUAL_SIZE = (224, 224)  # pixels, where the model leaves it open
_PIXEL_STD = 58.0  # of photographs' 8-bit pixels, as ImageNet's published deviations (57 to 58) have it


def calibrated(
    exported: ExportedModel,
    source: Source,
    reference: Path,
    placement: Placement,
    how: Quantization,
    dtype: str,
    scratch: Path,
    checkpoint: Path,
    command: tuple[str, ...],
    listener: Listener,
) -> tuple[CalibrationTable, CalibrationReport]:
    """Calibrate, and put what was found into a table.

    Raises:
        CalibrationError: the data are at fault.
        UsageError: no data, or a method that does not exist.
    """
    assert how.data is not None
    listener.stage(f"Calibrating {source.name}")
    request = _request(exported, source, how, dtype, checkpoint, scratch)
    odd = _contradictions(exported, request.data)
    for text in odd:
        listener.note(text)
    try:
        report = calibrate(exported.model, reference, placement, request, scratch, _hearing(listener))
    except BaseException as error:
        refused = isinstance(error, CalibrationError) and checkpoint.name in error.message  # another's, or damaged
        if checkpoint.exists() and not refused:
            listener.note(f"{checkpoint} keeps what was collected; the same command with --resume continues from it")
        raise
    finally:  # a worker that was killed while it wrote a checkpoint leaves its scratch file
        for left in checkpoint.parent.glob(f".{glob.escape(checkpoint.stem)}.*.part{checkpoint.suffix}"):
            left.unlink(missing_ok=True)
    for name in report.dead[:3]:
        listener.note(f"tensor {name} was zero in every sample: its scale is a guess")
    preprocessing = request.data.preprocessing
    exact = set(placement.raw)  # the input keeps its maximum, whatever the method
    table = CalibrationTable(
        model=source.name,
        model_sha256=source.sha256,
        weights=weights_of(source),
        dtype=dtype,
        method=report.chosen,
        tensors={
            name: TensorRange(amax, "minmax" if name in exact else report.chosen)
            for name, amax in report.best.amax.items()
        },
        samples=report.samples,
        held_out=report.held_out,
        data=report.data,
        preprocessing=preprocessing.to_json() if preprocessing else None,
        synthetic=bool(report.data.get("synthetic")),
        transforms=exported.transforms,
        rewrites=exported.rewrites.replay if exported.rewrites is not None else {},
        environment=environment.describe().to_json(),
    )
    return table, replace(report, warnings=(*odd, *report.warnings)).made_by(command)


def _contradictions(exported: ExportedModel, data: JobData) -> tuple[str, ...]:
    """What the model itself does to an image input, where that contradicts the preprocessing."""
    from trtkit.graph.input_normalization import input_normalization

    if data.preprocessing is None or len(data.inputs) != 1:
        return ()
    found = input_normalization(exported.model, data.inputs[0].name)
    return tuple(contradictions(found, data.preprocessing)) if found is not None else ()


def measured(
    exported: ExportedModel,
    source: Source,
    reference: Path,
    placement: Placement,
    how: Quantization,
    table: CalibrationTable,
    scratch: Path,
    listener: Listener,
) -> CalibrationReport:
    """How good a table from elsewhere is, on all samples of the data.

    Raises:
        CalibrationError: the data are at fault.
    """
    request = _request(exported, source, replace(how, holdout=0.0), table.dtype, scratch / "none.npz", scratch)
    listener.stage(f"Scoring {source.name}")
    return measure(exported.model, reference, placement, request, table.method, table.amax, scratch, _hearing(listener))


def _request(
    exported: ExportedModel, source: Source, how: Quantization, dtype: str, checkpoint: Path, scratch: Path
) -> CalibrateRequest:
    from trtkit.graph import io
    from trtkit.graph.outputs import softmax_axes

    assert how.data is not None
    methods = methods_of(how.method)
    inputs, outputs = io.specs(exported.model)
    preprocessing = _preprocessing(source, how, inputs)
    data = staged(how.data, scratch, inputs, preprocessing)
    first = inputs[0].shape[0] if inputs[0].shape else 1
    batch = how.batch if isinstance(first, str) else first  # a fixed batch is what the model takes, and nothing else
    return CalibrateRequest(
        data=JobData(data, inputs, preprocessing, how.holdout, how.seed, batch, fixed=isinstance(first, int)),
        methods=methods,
        dtype=dtype,
        softmax_axes=softmax_axes(exported.model),
        classes=len(outputs) == 1 and len(outputs[0].shape) == 2,
        model_sha256=source.sha256,
        checkpoint=checkpoint,
        resume=how.resume,
        search_samples=how.search_samples,
        search_seconds=how.search_seconds,
    )


def _hearing(listener: Listener) -> Callable[[Progress | Log], None]:
    """What calibration's workers say is for the user, and no vendor's log."""

    def hear(event: Progress | Log) -> None:
        if isinstance(event, Log) and event.severity in ("info", "warning"):
            listener.note(event.text)
        else:
            listener.event(event)

    return hear


def spread_of(preprocessing: Preprocessing) -> float:
    """Standard deviation of the inputs that a preprocessing makes of photographs, whose pixels have about 58."""
    return round(
        abs(preprocessing.scale) * _PIXEL_STD * sum(1 / s for s in preprocessing.std) / len(preprocessing.std), 3
    )


def _preprocessing(source: Source, how: Quantization, inputs: tuple[TensorSpec, ...]) -> Preprocessing | None:
    if how.preprocess is not None:
        layout = layout_of(inputs[0]) if len(inputs) == 1 else None
        size = size_of(inputs[0], layout) if layout else None
        if all(isinstance(dim, str) for dim in inputs[0].shape):
            layout = None  # the shape says nothing, so a file may
        return load_preprocessing(how.preprocess, size or _USUAL_SIZE, layout)
    if source.definition is not None:
        import model_defs

        return model_defs.get(source.definition).preprocessing
    return None
