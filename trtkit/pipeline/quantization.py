"""What both ``calibrate`` and ``convert --precision int8`` do: decide what is quantized, and find its thresholds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.enough import left_out_text
from calibration.source import DataSpec
from trtkit.arguments import check_fields
from trtkit.artifacts.calibration_table import CalibrationTable
from trtkit.artifacts.exported import CastModel, ExportedModel
from trtkit.artifacts.files import write_json
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import UsageError
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.table_fit import check_table
from trtkit.pipeline.thresholds import calibrated, spread_of
from trtkit.quant import quant_type
from trtkit.stages.quantize import quantize

if TYPE_CHECKING:
    from trtkit.graph.placement import Placement

__all__ = ["Quantization", "check_thresholds", "checkpoint_path", "lower_quantized", "placed"]


_SETTINGS = ("method", "holdout", "batch", "seed", "search_samples", "search_seconds")


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
        allow_other_weights: take a table that was made for other weights.
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
    allow_other_weights: bool = False

    def __post_init__(self) -> None:
        check_fields(self)

    def identity(self) -> dict[str, object]:
        """What decides the quantized model, for reuse: files by their content, data by names, sizes and times."""
        from calibration.fingerprint import fingerprint
        from trtkit.artifacts.files import sha256_file

        def content(path: Path | None) -> str | None:
            return sha256_file(path) if path is not None and path.is_file() else None

        settings = [getattr(self, name) for name in _SETTINGS] if self.data else [self.allow_other_weights]
        return {
            "table": content(self.table),
            "data": [_named(self.data), fingerprint(self.data)] if self.data else None,
            "settings": settings,
            "placement": [list(self.exclude), content(self.recipe), self.high_precision],
            "preprocess": [self.preprocess, content(Path(self.preprocess)) if self.preprocess else None],
        }


def _named(data: DataSpec) -> object:
    """What data are asked for; a Python object tells nothing until it is gone through, and is never reused."""
    return data.to_json() if isinstance(data.source, str | Path | None) else type(data.source).__name__


def checkpoint_path(folder: Path, name: str) -> Path:
    """Where an interrupted calibration keeps its statistics."""
    return folder / f"{name}.calibration.partial.npz"


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


def check_thresholds(how: Quantization | None, precision: str) -> None:
    """Refuse to quantize a float model from nothing.

    Raises:
        UsageError: there is neither a table nor data.
    """
    if how is None or (how.table is None and how.data is None):
        raise UsageError(
            f"--precision {precision} needs thresholds: a calibration table, or data to calibrate with.",
            hint="Give --calibration MODEL.calibration.json, --data FOLDER, or --synthetic 64 (labelled so).",
        )


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

    check_thresholds(how, precision)
    name = exported.source.name
    fp32 = io.save(exported.model, scratch / f"{name}.fp32.onnx", name=name, precision="fp32")
    reference = exported.original if exported.original and exported.loadable else fp32.path
    source = exported.source if exported.original else replace(exported.source, sha256=fp32.sha256)
    placement = placed(exported, how, precision)
    if how.table is not None:
        table = CalibrationTable.read(how.table)
    else:
        checkpoint = checkpoint_path(output, name)
        table, report = calibrated(
            exported, source, fp32.path, placement, how, precision, scratch, checkpoint, command, listener
        )
        table.write(path.with_name(f"{name}.calibration.json"))
        write_json(path.with_name(f"{name}.calibration-report.json"), report.to_json())
        checkpoint.unlink(missing_ok=True)
        if left_out := left_out_text(report.data):
            listener.note(left_out)
    check_table(
        table,
        source,
        placement,
        precision,
        listener,
        transforms=exported.transforms,
        allow_other_weights=how.allow_other_weights,
    )
    if exported.source.definition is None and table.preprocessing is not None:
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
    notes = [_origin(table)]
    if table.model_sha256 != source.sha256:
        notes.append(f"the calibration table was made for another model (SHA-256 {table.model_sha256})")
    return CastModel(onnx, reference, source, stays_float, tuple(notes))


def _origin(table: CalibrationTable) -> str:
    """``calibrated by entropy on 205 samples, 51 held out; 2 samples were left out: …``, for the manifest."""
    if not table.samples:
        return f"thresholds by {table.method} from {table.data.get('source')}"
    kind = "SYNTHETIC samples" if table.synthetic else "samples"
    left_out = left_out_text(table.data)
    return f"calibrated by {table.method} on {table.samples} {kind}, {table.held_out} held out" + (
        f"; {left_out}" if left_out else ""
    )
