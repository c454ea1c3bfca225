"""A Q/DQ model that someone else made (by quantization-aware training, say): checked, and taken as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trtkit.artifacts.exported import CastModel, ExportedModel
from trtkit.errors import ModelError

__all__ = ["adopt"]

_NOTES = 5


def adopt(exported: ExportedModel, path: Path, precision: str, note: Callable[[str], None]) -> CastModel:
    """Write a quantized model to ``path`` unchanged.

    Args:
        exported: the model; its source's precision is what its Q/DQ pairs say.
        path: the file to write.
        precision: asked for.
        note: is told each breach of a rule that costs speed but does not stop a build.

    Raises:
        ModelError: another precision was asked for, or TensorRT would refuse or misread the model.
    """
    from trtkit.graph import io
    from trtkit.graph.qdq_rules import check

    source = exported.source
    if source.precision != precision:
        first = next(
            node for node in exported.model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        )
        raise ModelError(
            f"{source.name} is quantized already: its Q/DQ pairs (the first is {first.name!r}) make it "
            f"{source.precision}, not {precision}.",
            hint=f"Add --precision {source.precision}, or convert the float32 model that it was made from.",
        )
    breaches = check(exported.model)
    fatal = [breach for breach in breaches if breach.fatal]
    if fatal:
        listed = "; ".join(f"{breach.rule} at {breach.node}: {breach.text}" for breach in fatal[:3])
        more = f" (and {len(fatal) - 3} more)" if len(fatal) > 3 else ""
        raise ModelError(f"TensorRT would refuse or misread {source.name}: {listed}{more}.", hint=fatal[0].way_out)
    for breach in breaches[:_NOTES]:
        note(f"{breach.rule} at {breach.node}: {breach.text}")
    if len(breaches) > _NOTES:
        note(f"… and {len(breaches) - _NOTES} more breaches of Q/DQ rules")
    parents = (source.sha256,)
    onnx = io.save(
        exported.model, path, name=source.name, precision=precision, parents=parents, transforms=exported.transforms
    )
    return CastModel(onnx, exported.original or path, source)
