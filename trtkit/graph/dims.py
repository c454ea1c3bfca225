"""Dynamic dimensions get names of their own: TensorRT takes equal names, two ``?`` as well, for equal sizes."""

from __future__ import annotations

import re

import onnx

from trtkit.graph.tree import every_graph

__all__ = ["name_dynamic_dims"]

_NOT_NAMES = frozenset({"none", "null", "nan", "unknown", "undefined", "dynamic", "dyn"})
"""What exporters write for "some size", for each dimension the same: no names of one size."""


def _is_name(text: str) -> bool:
    return text.isidentifier() and text.lower() not in _NOT_NAMES


def name_dynamic_dims(model: onnx.ModelProto) -> bool:
    """Give every dynamic dimension of inputs, outputs and inner tensors a name that is an identifier, in place.

    * Good names (``N``, ``unk__123``) stay.
    * No name, ``?``, ``-1`` (as text or as size), ``None`` and the like: each dimension gets a fresh name made of its
      tensor and axis (``x_dim0``).
    * Other texts with a letter (``batch size``, ``N/2``) do name one size: all of one text get one new name
      (``batch_size``).

    Returns:
        Whether anything changed.
    """
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    taken = {dim.dim_param for value in values for dim in _dims(value) if dim.dim_param}
    for inner in every_graph(graph):
        taken.update(dim.dim_param for value in inner.value_info for dim in _dims(value) if dim.dim_param)
    renamed: dict[str, str] = {}
    shapes: dict[str, list[onnx.TensorShapeProto.Dimension]] = {}
    changed = False
    for value in values:
        # A tensor may be listed twice (an input that is an output as well): both must read the same.
        first = shapes.setdefault(value.name, _dims(value))
        for axis, dim in enumerate(_dims(value)):
            if (dim.HasField("dim_value") and dim.dim_value != -1) or _is_name(dim.dim_param):
                continue
            old = dim.dim_param  # empty beside a size of -1, which some exporters write and TensorRT takes for dynamic
            twin = first[axis] if axis < len(first) else dim
            if old in renamed:
                dim.dim_param = renamed[old]
            elif twin is not dim and _is_name(twin.dim_param):
                dim.dim_param = twin.dim_param
            elif re.search(r"[^\W\d_]", old) and old.lower() not in _NOT_NAMES:
                dim.dim_param = renamed[old] = _fresh(old, taken)
            else:
                dim.dim_param = _fresh(f"{value.name}_dim{axis}", taken)
            changed = True
    return changed


def _dims(value: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(value.type.tensor_type.shape.dim) if value.type.HasField("tensor_type") else []


def _fresh(wish: str, taken: set[str]) -> str:
    """``wish`` as an identifier that nobody has yet; it is taken from now on."""
    stem = re.sub(r"\W+", "_", wish).strip("_") or "dim"
    stem = stem if _is_name(stem) else f"dim_{stem}"
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name)
    return name
