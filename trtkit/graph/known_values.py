"""Small tensors whose values follow from the file and from the sizes of its inputs: sizes, axes, conditions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

__all__ = ["Shape", "Values", "known_values", "shape_of"]

Values = dict[str, npt.NDArray[np.generic]]
Shape = tuple[int | str | None, ...]
"""Sizes; a name for a dynamic one, ``None`` where nothing is known."""

_LARGEST = 64  # elements: a shape, a condition, the pads of a Pad; never a weight
_COMPUTED = frozenset(
    {"Add", "And", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Gather", "Greater", "GreaterOrEqual"}
    | {"Identity", "Less", "LessOrEqual", "Mul", "Neg", "Not", "Or", "ReduceProd", "Reshape", "Slice", "Squeeze"}
    | {"Sub", "Transpose", "Unsqueeze", "Where"}
)
"""What exporters compute with sizes."""


def shape_of(value: onnx.ValueInfoProto) -> Shape | None:
    """The shape that a value declares, or ``None`` where not even its rank is known."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim)


def known_values(
    graph: onnx.GraphProto, shapes: Mapping[str, Shape], outer: Mapping[str, npt.NDArray[np.generic]], opset: int
) -> Values:
    """Every small tensor of ``graph`` whose value does not depend on data.

    Args:
        graph: in topological order; graphs inside its nodes are not looked into.
        shapes: of the tensors that it sees.
        outer: known values of the graphs around it.
        opset: the model's default one.
    """
    known: Values = dict(outer)
    for tensor in graph.initializer:
        if np.prod(tensor.dims, dtype=np.int64) <= _LARGEST and tensor.data_location != onnx.TensorProto.EXTERNAL:
            known[tensor.name] = numpy_helper.to_array(tensor)
    overridable = {value.name for value in graph.input}  # an initializer that is an input too is only its default
    for name in overridable:
        known.pop(name, None)
    partly: dict[str, Shape] = {}
    for node in graph.node:
        if node.op_type == "Shape" and shapes.get(node.input[0]) is not None:
            partly[node.output[0]] = _between(node, shapes[node.input[0]])
        value = _value(node, known, shapes, opset)
        if value is None and node.op_type in ("Gather", "Slice") and node.input[0] in partly:
            value = _selected(node, partly[node.input[0]], known, opset)
        if value is not None and value.size <= _LARGEST:
            known[node.output[0]] = value
    return known


def _between(node: onnx.NodeProto, shape: Shape) -> Shape:
    """What a Shape node gives of ``shape``: all of it, or from ``start`` to ``end``."""
    ends = {attribute.name: attribute.i for attribute in node.attribute}
    return shape[slice(ends.get("start", 0), ends.get("end", len(shape)))]


def _selected(node: onnx.NodeProto, shape: Shape, known: Values, opset: int) -> npt.NDArray[np.int64] | None:
    """One size out of a shape of which others are open: the node picks positions, and those have to be known."""
    if not all(name in known for name in node.input[1:] if name):
        return None
    positions = _run(node, {**known, node.input[0]: np.arange(len(shape))}, opset)
    if positions is None:
        return None
    sizes = [shape[int(position)] for position in positions.reshape(-1)]
    if not all(isinstance(size, int) for size in sizes):
        return None
    return np.array(sizes, dtype=np.int64).reshape(positions.shape)


def _value(
    node: onnx.NodeProto, known: Values, shapes: Mapping[str, Shape], opset: int
) -> npt.NDArray[np.generic] | None:
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Constant":
        tensor = next((a.t for a in node.attribute if a.name == "value"), None)
        if tensor is not None:
            return numpy_helper.to_array(tensor) if np.prod(tensor.dims, dtype=np.int64) <= _LARGEST else None
        return _run(node, known, opset)
    if node.op_type in ("Shape", "Size"):
        return _size(node, shapes.get(node.input[0]))
    if node.op_type in _COMPUTED and all(name in known for name in node.input if name):
        return _run(node, known, opset)
    return None


def _size(node: onnx.NodeProto, shape: Shape | None) -> npt.NDArray[np.int64] | None:
    if shape is None:
        return None
    shape = _between(node, shape) if node.op_type == "Shape" else shape
    sizes = [size for size in shape if isinstance(size, int)]
    if len(sizes) != len(shape):
        return None
    return np.array(sizes if node.op_type == "Shape" else np.prod(sizes, dtype=np.int64), dtype=np.int64)


def _run(node: onnx.NodeProto, known: Values, opset: int) -> npt.NDArray[np.generic] | None:
    feeds = {name: known[name] for name in node.input if name}
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), None) for n, v in feeds.items()
    ]
    graph = helper.make_graph([node], "one", inputs, [helper.make_empty_tensor_value_info(node.output[0])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        return np.asarray(ReferenceEvaluator(model).run(None, feeds)[0])
    except Exception:  # onnx's evaluator raises what it likes; then the value is not known, which is always safe
        return None
