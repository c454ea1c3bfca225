"""Between export and build: the rewrites that were asked for, and the ONNX file in the precision of the plan."""

from __future__ import annotations

from pathlib import Path

from trtkit.artifacts.calibration_table import CalibrationTable
from trtkit.artifacts.exported import CastModel, ExportedModel
from trtkit.backends.base import BuildOptions, Capabilities
from trtkit.backends.executing import Known
from trtkit.errors import UsageError
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.quantization import Quantization, lower_quantized
from trtkit.pipeline.request import QUANTIZED, ConvertRequest
from trtkit.pipeline.rewrite_memory import RewriteMemory
from trtkit.pipeline.rewriting import Rewriting, check_replayed, replaying, rewritten, target_of
from trtkit.pipeline.tuning import tuned
from trtkit.stages.adopt import adopt
from trtkit.stages.cast import cast

__all__ = ["lower", "rewrite_as_asked"]


def lower(request: ConvertRequest, exported: ExportedModel, path: Path, scratch: Path, listener: Listener) -> CastModel:
    """Write the ONNX of the asked precision: a cast, a Q/DQ model made here, or one that someone else made."""
    if exported.source.precision in QUANTIZED:
        if request.quantization is not None:
            raise UsageError(
                f"{exported.source.name} is quantized already, so tables, data and exclusions cannot be honoured.",
                hint="Leave them out, or give the float model that it was made from.",
            )
        return adopt(exported, path, request.precision, listener.note)
    if request.precision in QUANTIZED:
        how = request.quantization or Quantization()
        return lower_quantized(
            exported, path, scratch, how, request.precision, request.output, request.command, listener
        )
    return cast(exported, path, scratch, precision=request.precision, fp16_io=request.fp16_io, note=listener.note)


def rewrite_as_asked(
    request: ConvertRequest,
    exported: ExportedModel,
    can: Capabilities,
    options: BuildOptions,
    scratch: Path,
    listener: Listener,
    known: Known,
    memory: RewriteMemory | None,
) -> ExportedModel:
    """The rewrites that were asked for; with a calibration table, those that it was made behind."""
    target, table = target_of(can), request.quantization.table if request.quantization else None
    if request.rewrite is None and table is not None:
        made_behind = CalibrationTable.read(table)
        how = replaying(made_behind, target, request.precision)
        exported = rewritten(exported, how, options.profile, scratch, listener, known)
        check_replayed(made_behind, exported)
        return exported
    how = Rewriting("safe" if request.rewrite is None else request.rewrite, target, request.precision)
    if how.asked == "auto":
        how = tuned(exported, how, can, options.profile, scratch, request.rewrite_seconds, listener)
    return rewritten(exported, how, options.profile, scratch, listener, known, memory)
