"""Graph outputs get the type and shape that an exporter left out: without a type, TensorRT's parser fails."""

from __future__ import annotations

import onnx
from onnx import shape_inference

from trtkit.graph.tree import weightless

__all__ = ["infer_output_types"]


def infer_output_types(model: onnx.ModelProto) -> bool:
    """Fill missing types and shapes of graph outputs from onnx's shape inference, in place; declared ones stay.

    What inference cannot find stays open: ``trtkit.graph.check`` names it.

    Returns:
        Whether anything changed.
    """
    lacking = [value for value in model.graph.output if not _complete(value)]
    if not lacking:
        return False
    shell, _ = weightless(model)
    try:
        inferred = shape_inference.infer_shapes(shell, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError):
        return False  # the graph is broken in another way, which the check puts into words
    found = {value.name: value for value in inferred.graph.output}
    changed = False
    for value in lacking:
        better = found.get(value.name)
        if better is not None and better.SerializeToString() != value.SerializeToString():
            value.type.CopyFrom(better.type)
            changed = True
    return changed


def _complete(value: onnx.ValueInfoProto) -> bool:
    if value.type.WhichOneof("value") not in (None, "tensor_type"):
        return True
    return bool(value.type.tensor_type.elem_type) and value.type.tensor_type.HasField("shape")
