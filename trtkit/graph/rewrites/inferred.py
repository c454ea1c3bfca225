"""Shapes and types as the rewrites may rely on them: what onnx infers, without what a runtime may see differently.

What an exporter noted may hold for one batch size only, and is not believed. An initializer that a caller may replace
decides nothing. Where a pool rounds up (``ceil_mode``) and its last window begins behind the map and its front padding,
onnx counts that window and runtimes leave it out: such a map's sizes count as unknown, and so does what follows from
them.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper

from trtkit.errors import ModelError
from trtkit.graph.known_values import Shape, shape_of
from trtkit.graph.quantizable import stored_constants
from trtkit.graph.tree import weightless

__all__ = ["inferred", "lists_all", "overridable"]

_POOLS = ("AveragePool", "LpPool", "MaxPool")


def lists_all(model: onnx.ModelProto) -> bool:
    """Whether every initializer is listed as an input, too.

    That was the rule before IR version 4, and later an exporter's habit (PyTorch's up to 1.3): nobody replaces these.
    """
    listed = {value.name for value in model.graph.input}
    return model.ir_version < 4 or all(tensor.name in listed for tensor in model.graph.initializer)


def overridable(model: onnx.ModelProto) -> frozenset[str]:
    """Initializers that are only the defaults of inputs: they are listed as inputs, too, and others are not."""
    if lists_all(model):
        return frozenset()
    return frozenset(tensor.name for tensor in model.graph.initializer) & {value.name for value in model.graph.input}


def inferred(model: onnx.ModelProto) -> tuple[dict[str, Shape], dict[str, int]]:
    """Shapes and ONNX element types of the main graph's tensors, where known.

    Raises:
        ModelError: shape inference finds a contradiction.
    """
    shell, _ = weightless(model)
    graph, open_ = shell.graph, overridable(model)
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name in open_:
            del graph.initializer[index]
    # Of custom operators nothing else is known than what was noted.
    plain = {name for node in graph.node if node.domain in ("", "ai.onnx") for name in node.output}
    noted = [value for value in graph.value_info if value.name not in plain]
    del graph.value_info[:]
    graph.value_info.extend(noted)
    for output in graph.output:
        if output.name in plain and output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    shapes, types = _looked_up(shell)
    disputed = [index for index, node in enumerate(graph.node) if _is_disputed(node, shapes)]
    if disputed:
        for index in reversed(disputed):
            _cut(graph, index, shapes, types)
        shapes, types = _looked_up(shell)
    for name, tensor in stored_constants(model.graph).items():
        if name not in open_:
            shapes[name], types[name] = tuple(tensor.dims), tensor.data_type
    return shapes, types


def _looked_up(shell: onnx.ModelProto) -> tuple[dict[str, Shape], dict[str, int]]:
    try:
        graph = onnx.shape_inference.infer_shapes(shell, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"Shapes cannot be inferred: {str(error).strip().splitlines()[0]}",
            hint="Run onnx.checker.check_model(model, full_check=True) on the source model.",
        ) from error
    shapes: dict[str, Shape] = {}
    types: dict[str, int] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shape = shape_of(value)
        if shape is not None:
            shapes[value.name] = shape
        if value.type.tensor_type.elem_type:
            types[value.name] = value.type.tensor_type.elem_type
    return shapes, types


def _is_disputed(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> bool:
    """Whether a pool's last window begins behind the map and the padding in front of it."""
    if node.op_type not in _POOLS or node.domain not in ("", "ai.onnx"):
        return False
    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    before, behind = shapes.get(node.input[0]), shapes.get(node.output[0])
    if not given.get("ceil_mode", 0) or before is None or behind is None or "kernel_shape" not in given:
        return False
    axes = range(len(given["kernel_shape"]))
    strides, begin = given.get("strides", [1 for _ in axes]), given.get("pads", [0 for _ in axes])
    for size, count, stride, pad in zip(before[2:], behind[2:], strides, begin, strict=False):
        if isinstance(size, int) and isinstance(count, int) and (count - 1) * stride >= size + pad:
            return True
    return False


def _cut(graph: onnx.GraphProto, index: int, shapes: Mapping[str, Shape], types: Mapping[str, int]) -> None:
    """Replace a node by inputs of which only the first two sizes are known."""
    for name in filter(None, graph.node[index].output):
        shape = shapes.get(name, ())
        sizes = [*shape[:2], *(None for _ in shape[2:])]
        graph.input.append(helper.make_tensor_value_info(name, types.get(name, 0), sizes))
    del graph.node[index]
