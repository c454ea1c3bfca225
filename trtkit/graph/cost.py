"""What a model costs: parameters, bytes of weights, and multiply-accumulate operations (MACs), from shapes alone.

One MAC is one multiplication with its addition, so FLOPs are twice that; additions of a bias are not counted. Each
formula is the number of products in the operator's definition in ONNX, with the zeros of the padding, and for
ConvTranspose with what padding crops away again:

    Conv            output elements × (input channels / groups) × kernel elements
    ConvTranspose   input elements × (output channels / groups) × kernel elements
    Gemm            M × N × K
    MatMul          output elements × K
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx
from onnx import inliner

from trtkit.errors import UsageError
from trtkit.graph.parameters import Parameters
from trtkit.graph.tree import every_graph, node_text, subgraphs, weightless

__all__ = ["Cost", "NodeCost", "cost"]

Shape = tuple[int | str, ...]

_CONV = frozenset(("Conv", "ConvInteger", "QLinearConv"))
_MATMUL = frozenset(("MatMul", "MatMulInteger", "QLinearMatMul"))
_COUNTED = _CONV | _MATMUL | {"ConvTranspose", "Gemm"}
_UNCOUNTED = frozenset(("LSTM", "GRU", "RNN", "Einsum", "Attention", "DeformConv", "DFT", "STFT"))
"""Operators that multiply and accumulate, but have no formula here: they make a model's MACs unknown."""


@dataclass(frozen=True)
class NodeCost:
    """One node of the main graph, for one run at ``Cost.batch``.

    Attributes:
        name: the node's name, or its first output's where it has none.
        op_type: the operator.
        macs: multiply-accumulates; 0 for operators without any, None where a shape is unknown.
        parameters: trainable elements that the node reads; shared ones count at every reader.
        output_elements: of all outputs together; None where a shape is unknown.
    """

    name: str
    op_type: str
    macs: int | None
    parameters: int
    output_elements: int | None


@dataclass(frozen=True)
class Cost:
    """A model's cost.

    Attributes:
        parameters: trainable elements: weights, biases, scales and shifts of normalizations, embedding tables. Shared
            ones count once; running means and variances do not count.
        weight_bytes: bytes of those parameters and of the running statistics, in the type in which they are stored.
        macs: multiply-accumulates per image; None where they cannot be known.
        macs_unknown_because: the reason, or None.
        batch: images per run: the leading dimension of the first input (the ``batch`` asked for, if that is dynamic).
        nodes: one entry a node of the main graph, in order.
    """

    parameters: int
    weight_bytes: int
    macs: int | None
    macs_unknown_because: str | None
    batch: int
    nodes: tuple[NodeCost, ...]


def cost(model: onnx.ModelProto, batch: int = 1) -> Cost:
    """Count parameters and MACs.

    The model is neither changed nor copied as a whole: shapes are inferred on a copy without weights.

    Args:
        model: any ONNX model; weights may be missing from it (external data), their shapes suffice.
        batch: size of the batch axis: of the leading dimension of every input where that is dynamic, and of every other
            dimension that carries the same name.

    Raises:
        UsageError: ``batch`` is below 1.
    """
    if batch < 1:
        raise UsageError(f"batch {batch} is no number of images; 1 and more are", hint="pass batch=1")
    bare, _ = weightless(model)
    if model.functions:
        bare = inliner.inline_local_functions(bare)
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in stored]
    images = _bind_batch(bare.graph, set(inputs), inputs[0] if inputs else "", batch)
    bare = onnx.shape_inference.infer_shapes(bare, data_prop=True)

    shapes = _shapes(bare.graph)
    parameters = Parameters(bare.graph, model.graph)
    nodes, reasons = [], []
    for node in bare.graph.node:
        macs, reason = _macs(node, shapes)
        sizes = [_elements(shapes.get(name)) for name in node.output if name]
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        name = node.name or next(iter(node.output), "")
        nodes.append(NodeCost(name, node.op_type, macs, parameters.of(node), total))
        if reason is not None:
            reasons.append(reason)
    if not reasons:
        whole = sum(node.macs or 0 for node in nodes)
        if images is None:
            reasons.append("the leading dimension of the first input is unknown")
        elif whole % images:
            reasons.append(f"{whole} MACs of one run do not divide among {images} images")
    macs = None if reasons or images is None else whole // images
    return Cost(
        parameters.total, parameters.stored_bytes, macs, reasons[0] if reasons else None, images or batch, tuple(nodes)
    )


def _bind_batch(graph: onnx.GraphProto, inputs: set[str], first: str, batch: int) -> int | None:
    """Give the batch axis its size, forget shapes that were written for another one, return the images of a run."""
    named, images = set(), None
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in inputs and len(dims):
            if dims[0].dim_value < 1:  # a name, nothing at all, or the -1 that some exporters write
                if dims[0].dim_param:
                    named.add(dims[0].dim_param)
                dims[0].dim_value = batch
            if value.name == first:
                images = dims[0].dim_value or None
    for value in graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in named:
                dim.dim_value = batch
    for value in graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    plain = {name for node in graph.node if node.domain in ("", "ai.onnx") for name in node.output}
    kept = [value for value in graph.value_info if value.name not in plain]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    return images if first or images else 1


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Shape by tensor name; a dimension that is not known is a string: its name, or ``?``."""
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in [*graph.value_info, *graph.input, *graph.output]:
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            shapes[value.name] = tuple(
                dim.dim_value if dim.WhichOneof("value") == "dim_value" and dim.dim_value >= 0 else dim.dim_param or "?"
                for dim in tensor.shape.dim
            )
    return shapes


def _elements(shape: Shape | None) -> int | None:
    if shape is None or any(isinstance(dim, str) for dim in shape):
        return None
    return math.prod(int(dim) for dim in shape)


def _macs(node: onnx.NodeProto, shapes: dict[str, Shape]) -> tuple[int | None, str | None]:
    """MACs of one node, or None and the reason."""
    for inner in subgraphs(node):
        for graph in every_graph(inner):
            for other in graph.node:
                if other.op_type in _COUNTED | _UNCOUNTED:
                    return None, f"{node_text(other)} inside {node_text(node)} runs as often as the data demand"
    if node.domain not in ("", "ai.onnx"):
        if node.domain == "ai.onnx.ml":
            return 0, None
        return None, f"{node_text(node)} is a custom operator ({node.domain})"
    if node.op_type in _UNCOUNTED:
        return None, f"{node_text(node)} has no MAC formula here"
    if node.op_type not in _COUNTED:
        return 0, None
    weight = {"QLinearConv": 3, "QLinearMatMul": 3}.get(node.op_type, 1)
    left, right, out = (shapes.get(name) for name in (node.input[0], node.input[weight], node.output[0]))
    needed: list[Shape | None]
    if node.op_type in _CONV:
        needed = [out, right and right[1:]]
    elif node.op_type == "ConvTranspose":
        needed = [left, right and right[1:]]
    elif node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        needed = [out, left and left[:1] if transposed else left and left[1:]]
    else:
        needed = [out, left and left[-1:]]
    sizes = [_elements(shape) for shape in needed]
    if None in sizes:
        known = ", ".join(f"{_text(shapes.get(name))}" for name in (node.input[0], node.input[weight], node.output[0]))
        return None, f"{node_text(node)} has unknown dimensions: input, weight and output are {known}"
    return math.prod(size for size in sizes if size is not None), None


def _text(shape: Shape | None) -> str:
    return "of unknown rank" if shape is None else "×".join(map(str, shape)) or "scalar"
