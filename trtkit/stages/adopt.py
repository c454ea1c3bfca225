"""A Q/DQ model that someone else made (by quantization-aware training, say): checked, and taken as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit.artifacts.exported import CastModel, ExportedModel
from trtkit.artifacts.precision import WEIGHTED_OPS
from trtkit.errors import ModelError

if TYPE_CHECKING:
    from trtkit.graph.qdq_rules import Breach

__all__ = ["adopt"]

_NAMED = 3


def adopt(exported: ExportedModel, path: Path, precision: str, note: Callable[[str], None]) -> CastModel:
    """Write a quantized model to ``path`` unchanged.

    Args:
        exported: the model; its source's precision is what its Q/DQ pairs say.
        path: the file to write.
        precision: asked for.
        note: is told of each rule whose breaches cost speed but do not stop a build, with their number.

    Raises:
        ModelError: another precision was asked for, or TensorRT would refuse or misread the model.
    """
    from trtkit.graph import io
    from trtkit.graph.qdq_rules import check
    from trtkit.graph.qdq_view import without_pairs

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
    by_rule: dict[str, list[Breach]] = {}
    for breach in check(exported.model):
        by_rule.setdefault(breach.rule, []).append(breach)
    advice = [f"{_counted(found)}. {found[0].way_out}" for found in by_rule.values() if not found[0].fatal]
    for text in advice:
        note(text)
    fatal = [found for found in by_rule.values() if found[0].fatal]
    if fatal:
        hints = (f"{found[0].rule}: {found[0].way_out}" if len(fatal) > 1 else found[0].way_out for found in fatal)
        raise ModelError(
            f"TensorRT would refuse or misread {source.name}. {'; '.join(map(_counted, fatal))}.", hint=" ".join(hints)
        )
    parents = (source.sha256,)
    onnx = io.save(
        exported.model, path, name=source.name, precision=precision, parents=parents, transforms=exported.transforms
    )
    bare = without_pairs(exported.model, WEIGHTED_OPS)
    return CastModel(onnx, exported.original or path, source, bare, tuple(advice))


def _counted(found: Sequence[Breach]) -> str:
    """All breaches of one rule: ``X2-uint8 at 12 nodes (a, b, c, …): QuantizeLinear …``."""
    names = list(dict.fromkeys(breach.node for breach in found))
    shown = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    where = f"at {shown}" if len(names) == 1 else f"at {len(names)} nodes ({shown})"
    return f"{found[0].rule} {where}: {found[0].text}"
