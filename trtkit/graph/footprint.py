"""How much memory one run of a model needs at given input shapes, from shapes alone: weights and live activations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import inliner

from trtkit.graph.tree import weightless

__all__ = ["ELEMENT_LIMIT", "Footprint", "footprint"]

ELEMENT_LIMIT = 2**31
"""Elements of one tensor from which 32-bit indices overflow. Some kernels bear more, many do not."""

_SIDE_BY_SIDE = frozenset(("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"))
_IN_PLACE = frozenset(("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "BatchNormalization", "Add", "Mul"))


@dataclass(frozen=True)
class Footprint:
    """Memory of one run.

    Attributes:
        weight_bytes: of all weights, as stored.
        activation_bytes: the most that is alive at one moment, executed node by node in the file's order; element-wise
            operators write over their first input. An engine that fuses more needs less, one with scratch memory more.
        largest_name, largest_elements: the tensor with the most elements.
    """

    weight_bytes: int
    activation_bytes: int
    largest_name: str
    largest_elements: int

    @property
    def bytes(self) -> int:
        """Weights and activations together."""
        return self.weight_bytes + self.activation_bytes


def footprint(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> Footprint | None:
    """Estimate the memory of one run.

    Args:
        model: any ONNX model; it is neither changed nor are its weights copied.
        shapes: input name → shape in force, batch included.

    Returns:
        ``None`` where the size of a tensor cannot be known from the shapes of the inputs.
    """
    bare, _ = weightless(model)
    if model.functions:
        bare = inliner.inline_local_functions(bare)
    for value in bare.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            dim.dim_value = size
    for value in bare.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    del bare.graph.value_info[:]
    bare = onnx.shape_inference.infer_shapes(bare, data_prop=True)
    stored = {tensor.name for tensor in model.graph.initializer}
    weights = sum(math.prod(tensor.dims) * _width(tensor.data_type) for tensor in model.graph.initializer)
    sizes: dict[str, tuple[int, int]] = {}
    for value in [*bare.graph.input, *bare.graph.value_info, *bare.graph.output]:
        found = _size(value)
        if found is not None and value.name not in stored:
            sizes[value.name] = found
    produced = [value.name for value in bare.graph.input if value.name not in stored]
    produced += [name for node in bare.graph.node for name in node.output if name]
    if not produced or any(name not in sizes for name in produced):
        return None
    largest = max(produced, key=lambda name: sizes[name][0])
    return Footprint(weights, _peak(bare.graph, sizes, stored), largest, sizes[largest][0])


def _peak(graph: onnx.GraphProto, sizes: Mapping[str, tuple[int, int]], stored: set[str]) -> int:
    """The most bytes alive at once: a tensor lives from its node to its last reader; inputs and outputs to the end."""
    last: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        last |= dict.fromkeys(node.input, index)
    kept = {value.name for value in graph.output} | {value.name for value in graph.input}
    live = sum(sizes[value.name][1] for value in graph.input if value.name not in stored)
    peak = live
    for index, node in enumerate(graph.node):
        first = node.input[0] if node.input else ""
        dying = {name for name in node.input if name in sizes and name not in kept and last[name] == index}
        reused = node.op_type in _SIDE_BY_SIDE | _IN_PLACE and first in dying
        made = sum(sizes[name][1] for name in node.output if name)
        if reused:
            live += made - sizes[first][1]
            dying.discard(first)
            peak = max(peak, live)
        else:
            live += made
            peak = max(peak, live)
        live -= sum(sizes[name][1] for name in dying)
    return peak


def _size(value: onnx.ValueInfoProto) -> tuple[int, int] | None:
    """Elements and bytes of a tensor; ``None`` where a dimension or the type is unknown."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not tensor.elem_type:
        return None
    dims = [dim.dim_value if dim.WhichOneof("value") == "dim_value" else -1 for dim in tensor.shape.dim]
    if any(dim < 0 for dim in dims):
        return None
    elements = math.prod(dims)
    return elements, elements * _width(tensor.elem_type)


def _width(elem_type: int) -> int:
    """Bytes of one element; strings count as pointers."""
    if elem_type == onnx.TensorProto.STRING:
        return 8
    return int(onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize)
