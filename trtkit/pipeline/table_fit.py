"""Whether a calibration table is one for this model, these weights and this data type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtkit.artifacts.calibration_table import CalibrationTable
from trtkit.artifacts.plan import Source
from trtkit.errors import CalibrationError
from trtkit.pipeline.listener import Listener

if TYPE_CHECKING:
    from trtkit.graph.placement import Placement

__all__ = ["check_table", "weights_of"]

_NAMED = 5


def weights_of(source: Source) -> str:
    """What tells one set of weights from another, whatever file they lie in: their hash, or the seed of random ones."""
    return source.weights_sha256 or ("" if source.seed is None else f"{source.definition}, seed {source.seed}")


def check_table(
    table: CalibrationTable,
    source: Source,
    placement: Placement,
    dtype: str,
    listener: Listener,
    *,
    transforms: tuple[str, ...] = (),
    allow_other_weights: bool = False,
) -> None:
    """Hold a table against the model that it shall quantize.

    Args:
        table: what was read or made.
        source: the model, with its hash.
        placement: what of it will be quantized.
        dtype: ``int8`` or ``fp8``, asked for.
        listener: is told what should be known and is no error.
        transforms: what was done to the model before; named where it may be why the table does not fit.
        allow_other_weights: take the thresholds of other weights, and say so.

    Raises:
        CalibrationError: it is for another data type or other weights, or tensors are missing from it.
    """
    if table.dtype != dtype:
        raise CalibrationError(
            f"The calibration table is for {table.dtype}, and the precision asked for is {dtype}: "
            "thresholds differ, because methods weigh clipping against the format's own rounding.",
            hint=f"Calibrate again with --precision {dtype}.",
        )
    missing = [name for name in placement.tensors if name not in table.tensors]
    if missing:
        changed = _difference(table.transforms, transforms)
        raise CalibrationError(
            f"The calibration table of {table.model} lacks {len(missing)} of {len(placement.tensors)} tensors that "
            f"{source.name} needs: {', '.join(missing[:_NAMED])}{' …' if len(missing) > _NAMED else ''}.{changed}",
            hint="Calibrate this model itself, or exclude these nodes with --exclude.",
        )
    if table.model_sha256 != source.sha256:
        _check_weights(table, source, listener, allowed=allow_other_weights)
    if table.synthetic:
        listener.note("the calibration table was made from synthetic samples: it says nothing about accuracy")


def _check_weights(table: CalibrationTable, source: Source, listener: Listener, *, allowed: bool) -> None:
    if table.weights and table.weights == weights_of(source):
        listener.note(f"the calibration table was made from another file of {table.model} with the same weights")
        return
    if not allowed:
        raise CalibrationError(
            f"The calibration table was made for other weights: for the {table.model} with SHA-256 "
            f"{table.model_sha256[:12]}…, and this {source.name} has {source.sha256[:12]}…. The ranges of one set of "
            "weights clip or waste the numbers of another.",
            hint="Calibrate this model itself; or add --allow-other-weights if you know that its ranges are the same.",
        )
    listener.note(
        f"the calibration table was made for other weights (SHA-256 {table.model_sha256[:12]}…), and is used as it is, "
        "as you asked"
    )


def _difference(then: tuple[str, ...], now: tuple[str, ...]) -> str:
    if then == now:
        return ""
    return (
        f" The model was changed by {', '.join(then) or 'nothing'} before it was calibrated, and by "
        f"{', '.join(now) or 'nothing'} now."
    )
