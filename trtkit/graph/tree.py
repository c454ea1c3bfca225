"""Walking an ONNX model: every graph, node and tensor of it, those inside If, Loop, Scan and functions included."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import onnx
from onnx import helper

__all__ = [
    "every_graph",
    "every_node",
    "every_tensor",
    "listed",
    "node_text",
    "size_in_bytes",
    "subgraphs",
    "type_text",
    "weightless",
]

_BITS = {
    onnx.TensorProto.UINT4: 4,
    onnx.TensorProto.INT4: 4,
    getattr(onnx.TensorProto, "FLOAT4E2M1", -1): 4,
    getattr(onnx.TensorProto, "UINT2", -2): 2,
    getattr(onnx.TensorProto, "INT2", -3): 2,
}


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node's attributes hold (the branches of If, the body of Loop and Scan), not their own."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def every_graph(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """``graph`` and all graphs inside it, outer before inner."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from every_graph(inner)


def every_node(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """All nodes of a model: of the main graph, of the graphs inside, of the model's own functions."""
    for graph in every_graph(model.graph):
        yield from graph.node
    for function in model.functions:
        for node in function.node:
            yield node
            for inner in subgraphs(node):
                for graph in every_graph(inner):
                    yield from graph.node


def every_tensor(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors stored in a model: initializers, then node attributes (Constant); sparse ones by their parts."""
    for graph in every_graph(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices
    for node in every_node(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def size_in_bytes(tensor: onnx.TensorProto) -> int | None:
    """Bytes that a tensor's elements take as raw data, from shape and type; ``None`` for strings and unknown types."""
    if tensor.data_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        return None
    count = int(math.prod(tensor.dims))
    if tensor.data_type in _BITS:
        return (count * _BITS[tensor.data_type] + 7) // 8
    try:
        return count * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except KeyError:
        return None


def type_text(element_type: int) -> str:
    """NumPy's name of an ONNX element type (``float32``); ``string`` for text; a number where unknown."""
    if element_type == onnx.TensorProto.STRING:
        return "string"
    try:
        return str(helper.tensor_dtype_to_np_dtype(element_type).name)
    except KeyError:
        return f"element type {element_type}"


def weightless(model: onnx.ModelProto, *, above_bytes: int = 1024) -> tuple[onnx.ModelProto, list[str]]:
    """A copy of ``model`` whose large initializers became graph inputs, and the names of those.

    onnx's checker, shape inference and version converter serialize the whole model on their way into C++. None of
    them looks at large weights, so they get a copy without any: the cost no longer depends on the size of the
    weights. Small initializers (shapes, axes, scales) stay, because shape inference reads their values.
    """
    copy = onnx.ModelProto()
    _copy_scalars(model, copy)
    copy.opset_import.extend(model.opset_import)
    copy.metadata_props.extend(model.metadata_props)
    copy.functions.extend(model.functions)
    source, graph = model.graph, copy.graph
    _copy_scalars(source, graph)
    graph.node.extend(source.node)
    graph.input.extend(source.input)
    graph.output.extend(source.output)
    graph.value_info.extend(source.value_info)
    graph.sparse_initializer.extend(source.sparse_initializer)
    inputs = {value.name for value in source.input}
    moved = []
    for tensor in source.initializer:
        size = size_in_bytes(tensor)
        if size is None or size <= above_bytes:
            graph.initializer.append(tensor)
            continue
        moved.append(tensor.name)
        if tensor.name not in inputs:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return copy, moved


def _copy_scalars(source: onnx.ModelProto | onnx.GraphProto, target: onnx.ModelProto | onnx.GraphProto) -> None:
    """Copy the numbers and texts that are set, such as names, versions and descriptions."""
    for field, value in source.ListFields():
        if isinstance(value, int | str):
            setattr(target, field.name, value)


def listed(items: Sequence[str], limit: int = 5) -> str:
    """``a, b, c`` or, above the limit, ``a, b, c and 4 more``; names of over 60 characters are cut in the middle."""
    short = [item if len(item) <= 60 else f"{item[:28]}…{item[-28:]}" for item in items[:limit]]
    return ", ".join(short) + (f" and {len(items) - limit} more" if len(items) > limit else "")


def node_text(node: onnx.NodeProto) -> str:
    """How an error names a node: ``Conv 'conv1'``, or by its first output where it has no name."""
    if node.name:
        return f"{node.op_type} {listed([node.name])!r}"
    return f"{node.op_type} (unnamed, makes {listed(list(node.output[:1])) or 'nothing'!r})"
