"""What both ``calibrate`` and ``convert --precision int8`` do: decide what is quantized, and find its thresholds."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.job_data import JobData
from calibration.preprocess import load_preprocessing
from calibration.source import DataSpec
from trtkit import environment
from trtkit.artifacts.calibration_report import CalibrationReport
from trtkit.artifacts.calibration_table import CalibrationTable, TensorRange
from trtkit.artifacts.exported import CastModel, ExportedModel
from trtkit.artifacts.files import write_json
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.plan import Source
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import CalibrationError, UsageError
from trtkit.pipeline.listener import Listener
from trtkit.quant import quant_type
from trtkit.stages.calibrate import CalibrateRequest, calibrate, methods_of
from trtkit.stages.quantize import quantize

if TYPE_CHECKING:
    from trtkit.graph.placement import Placement

__all__ = ["Quantization", "calibrated", "check_table", "lower_quantized", "placed"]


_PIXEL_STD = 58.0  # of photographs' 8-bit pixels, as ImageNet's published deviations (57 to 58) have it


@dataclass(frozen=True)
class Quantization:
    """How to quantize, and from what.

    Attributes:
        table: a calibration table that is there already; ``None`` to calibrate.
        data: samples to calibrate with; ``None`` with a table.
        method: ``minmax``, ``percentile[:P]``, ``entropy``, ``mse``, ``search``, several with commas, or ``all``.
        preprocess: ``imagenet``, ``caffe``, ``none`` or a JSON file; ``None`` takes the definition's own.
        exclude: nodes (names or patterns) and operators that stay float.
        recipe: a JSON file with the same and more.
        high_precision: numbers of what stays float, ``fp32`` or ``fp16``.
        holdout: share (below 1) or number of samples to compare methods on.
        batch: samples at a time.
        seed: of the split between calibration and held-out samples.
        search_samples, search_seconds: limits of the search.
        resume: continue an interrupted calibration.
    """

    table: Path | None = None
    data: DataSpec | None = None
    method: str = "entropy"
    preprocess: str | None = None
    exclude: tuple[str, ...] = ()
    recipe: Path | None = None
    high_precision: str = "fp32"
    holdout: float = 0.2
    batch: int = 8
    seed: int = 0
    search_samples: int = 64
    search_seconds: float = 120.0
    resume: bool = False

    def identity(self) -> dict[str, object]:
        """What decides the quantized model, for reuse: a table by its content, data by description."""
        from trtkit.artifacts.files import sha256_file

        return {
            "table": sha256_file(self.table) if self.table is not None and self.table.exists() else None,
            "data": self.data.to_json() if self.data else None,
            "settings": [self.method, self.preprocess, *self.exclude, self.high_precision, self.holdout, self.seed],
            "recipe": sha256_file(self.recipe) if self.recipe is not None and self.recipe.exists() else None,
        }


def placed(exported: ExportedModel, how: Quantization, dtype: str) -> Placement:
    """What of a model will be quantized.

    Raises:
        UsageError: the recipe is at fault.
        ModelError: the model is quantized already, or nothing in it can be.
    """
    from trtkit.graph.placement import place
    from trtkit.graph.recipe import Recipe

    recipe = Recipe.load(how.recipe) if how.recipe is not None else Recipe()
    return place(exported.model, replace(recipe, exclude=(*recipe.exclude, *how.exclude)), quant_type(dtype))


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
    from trtkit.graph import io
    from trtkit.graph.outputs import softmax_axes

    methods = methods_of(how.method)
    assert how.data is not None
    inputs, outputs = io.specs(exported.model)
    preprocessing = _preprocessing(source, how, inputs)
    first = inputs[0].shape[0] if inputs[0].shape else 1
    batch = how.batch if isinstance(first, str) else first  # a fixed batch is what the model takes, and nothing else
    request = CalibrateRequest(
        data=JobData(how.data, inputs, preprocessing, how.holdout, how.seed, batch, fixed=isinstance(first, int)),
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
    listener.stage(f"Calibrating {source.name}")
    report = calibrate(exported.model, reference, placement, request, scratch, listener.event)
    for name in report.dead[:3]:
        listener.note(f"tensor {name} was zero in every sample: its scale is a guess")
    table = CalibrationTable(
        model=source.name,
        model_sha256=source.sha256,
        dtype=dtype,
        method=report.chosen,
        tensors={name: TensorRange(amax, report.chosen) for name, amax in report.best.amax.items()},
        samples=report.samples,
        data=report.data,
        preprocessing=preprocessing.to_json() if preprocessing else None,
        synthetic=bool(report.data.get("synthetic")),
        transforms=exported.transforms,
        environment=environment.describe().to_json(),
        command=" ".join(command),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return table, report


def check_table(table: CalibrationTable, source: Source, placement: Placement, dtype: str, listener: Listener) -> None:
    """Hold a table against the model that it shall quantize.

    Raises:
        CalibrationError: it is for another data type, or tensors are missing from it.
    """
    if table.dtype != dtype:
        raise CalibrationError(
            f"The calibration table is for {table.dtype}, and the precision asked for is {dtype}: "
            "thresholds differ, because methods weigh clipping against the format's own rounding.",
            hint=f"Calibrate again with --precision {dtype}.",
        )
    missing = [name for name in placement.tensors if name not in table.tensors]
    if missing:
        raise CalibrationError(
            f"The calibration table of {table.model} lacks {len(missing)} of {len(placement.tensors)} tensors that "
            f"{source.name} needs: {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}.",
            hint="Calibrate this model itself, or exclude these nodes with --exclude.",
        )
    if table.model_sha256 != source.sha256:
        listener.note(
            f"the calibration table was made for another {table.model} (SHA-256 {table.model_sha256[:12]}…); all "
            "tensor names match, and it is used as it is"
        )
    if table.synthetic:
        listener.note("the calibration table was made from synthetic samples: it says nothing about accuracy")


def lower_quantized(
    exported: ExportedModel,
    path: Path,
    scratch: Path,
    how: Quantization,
    precision: str,
    output: Path,
    command: tuple[str, ...],
    listener: Listener,
) -> CastModel:
    """Quantize a float model for a build; a new calibration's table and report are written beside ``path``.

    Raises:
        UsageError: there is neither a table nor data.
        CalibrationError: table or data are at fault.
    """
    from trtkit.graph import io

    if how.table is None and how.data is None:
        raise UsageError(
            f"--precision {precision} needs thresholds: a calibration table, or data to calibrate with.",
            hint="Give --calibration MODEL.calibration.json, --data FOLDER, or --synthetic 64 (labelled so).",
        )
    name = exported.source.name
    fp32 = io.save(exported.model, scratch / f"{name}.fp32.onnx", name=name, precision="fp32")
    reference = exported.original if exported.original and exported.loadable else fp32.path
    source = exported.source if exported.original else replace(exported.source, sha256=fp32.sha256)
    placement = placed(exported, how, precision)
    if how.table is not None:
        table = CalibrationTable.read(how.table)
    else:
        checkpoint = output / f"{name}.calibration.partial.npz"
        table, report = calibrated(
            exported, source, fp32.path, placement, how, precision, scratch, checkpoint, command, listener
        )
        table.write(path.with_name(f"{name}.calibration.json"))
        write_json(path.with_name(f"{name}.calibration-report.json"), report.to_json())
        checkpoint.unlink(missing_ok=True)
    check_table(table, source, placement, precision, listener)
    if exported.original is not None and table.preprocessing is not None:
        source = replace(source, input_std=spread_of(Preprocessing.from_json(dict(table.preprocessing))))
    onnx = quantize(
        exported,
        source,
        placement,
        table.amax,
        path,
        precision=precision,
        high_precision=how.high_precision,
    )
    stays_float = {d.node: f"{d.rule}: {d.why}" for d in placement.decisions if not d.quantized}
    origin = f"{table.samples} SYNTHETIC samples" if table.synthetic else f"{table.samples} samples"
    notes = [f"calibrated by {table.method} on {origin}"]
    if table.model_sha256 != source.sha256:
        notes.append(f"the calibration table was made for another model (SHA-256 {table.model_sha256})")
    return CastModel(onnx, reference, source, stays_float, tuple(notes))


def spread_of(preprocessing: Preprocessing) -> float:
    """Standard deviation of the inputs that a preprocessing makes of photographs, whose pixels have about 58."""
    return round(
        abs(preprocessing.scale) * _PIXEL_STD * sum(1 / s for s in preprocessing.std) / len(preprocessing.std), 3
    )


def _preprocessing(source: Source, how: Quantization, inputs: tuple[TensorSpec, ...]) -> Preprocessing | None:
    if how.preprocess is not None:
        size = inputs[0].shape[-2:]
        fixed = tuple(dim for dim in size if isinstance(dim, int))
        return load_preprocessing(how.preprocess, *([(fixed[0], fixed[1])] if len(fixed) == 2 else []))
    if source.definition is not None:
        import model_defs

        return model_defs.get(source.definition).preprocessing
    return None
