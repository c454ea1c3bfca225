"""Float model and thresholds → Q/DQ model on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.model import OnnxModel
from trtkit.artifacts.plan import Source
from trtkit.quant import quant_type

if TYPE_CHECKING:
    from trtkit.graph.placement import Placement

__all__ = ["quantize", "quantized_name"]


def quantized_name(precision: str, high_precision: str) -> str:
    """The precision as it stands in file names: ``int8``, or ``int8-fp16`` where the float remainder is float16."""
    return f"{precision}-fp16" if high_precision == "fp16" else precision


def quantize(
    exported: ExportedModel,
    source: Source,
    placement: Placement,
    amax: Mapping[str, float],
    path: Path,
    *,
    precision: str,
    high_precision: str,
) -> OnnxModel:
    """Write Q/DQ pairs into a copy of the model.

    Args:
        exported: the float model.
        source: where it came from, with its hash.
        placement: what is quantized.
        amax: tensor → threshold, for every tensor of the placement.
        path: the file to write.
        precision: ``int8`` or ``fp8``.
        high_precision: numbers of what stays float, ``fp32`` or ``fp16``.

    Raises:
        ModelError: the model is quantized already, or cannot be typed.
    """
    from trtkit.graph import io
    from trtkit.graph.qdq import insert

    model = insert(
        exported.model,
        placement,
        amax,
        quant_type(precision),
        high_precision="fp16" if high_precision == "fp16" else "fp32",
    )
    transforms = (*exported.transforms, f"qdq-{precision}", *(("float16",) if high_precision == "fp16" else ()))
    parents = tuple(digest for digest in (source.sha256, source.weights_sha256) if digest)
    return io.save(model, path, name=source.name, precision=precision, parents=parents, transforms=transforms)
