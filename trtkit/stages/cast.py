"""FP32 model → the ONNX of the asked precision, on the disk: precision lives in the file that the builder is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit.artifacts.exported import CastModel, ExportedModel
from trtkit.errors import ModelError

if TYPE_CHECKING:
    import onnx

__all__ = ["cast", "numbers_of"]

_NOTES = 3


def numbers_of(precision: str) -> str:
    """The numbers that a precision's ONNX file holds: TF32 is a way to multiply float32, not a number in a file."""
    return "fp16" if precision == "fp16" else "fp32"


def cast(
    exported: ExportedModel, path: Path, scratch: Path, *, precision: str, fp16_io: bool, note: Callable[[str], None]
) -> CastModel:
    """Write a model in its precision to ``path``.

    Args:
        exported: checked and prepared.
        path: the file to write.
        scratch: a folder for the reference of a definition.
        precision: ``fp32``, ``tf32`` or ``fp16``.
        fp16_io: float16 inputs and outputs too.
        note: is told which nodes stay in float32.

    Raises:
        ModelError: the model holds float16 numbers and a float32 plan was asked for, or it cannot be cast.
    """
    from trtkit.graph import io

    numbers = numbers_of(precision)
    model, source, transforms = exported.model, exported.source, exported.transforms
    if source.precision == "fp16" and numbers == "fp32":
        raise ModelError(
            f"{source.name} holds float16 weights, and the types in the file are the types that run: "
            f"it cannot become an {precision} plan.",
            hint="Add --precision fp16, or convert the float32 model that it was made from.",
        )
    reference = exported.original
    if reference is not None and not exported.loadable:
        reference = io.save(model, scratch / "prepared.onnx", name=source.name, precision=source.precision).path
    if numbers == "fp16" and source.precision == "fp32":
        if reference is None:
            truth = io.save(model, scratch / f"{source.name}.fp32.onnx", name=source.name, precision="fp32")
            source, reference = replace(source, sha256=truth.sha256), truth.path
        model = _to_float16(model, keep_io=not fp16_io, note=note)
        transforms = (*transforms, "float16")
    parents = tuple(digest for digest in (source.sha256, source.weights_sha256) if digest)
    written = io.save(model, path, name=source.name, precision=numbers, parents=parents, transforms=transforms)
    if reference is None:
        source, reference = replace(source, sha256=written.sha256), written.path
    return CastModel(written, reference, source)


def _to_float16(model: onnx.ModelProto, *, keep_io: bool, note: Callable[[str], None]) -> onnx.ModelProto:
    from trtkit.graph.float16 import to_float16

    result = to_float16(model, keep_io=keep_io)
    for kept in result.kept_float32[:_NOTES]:
        note(f"{kept.op_type} {kept.name} stays in float32: {kept.reason}")
    if len(result.kept_float32) > _NOTES:
        note(f"… and {len(result.kept_float32) - _NOTES} more nodes stay in float32")
    return result.model
