"""Which stored tensors are parameters, and which are shapes, running statistics, quantization scales, plain numbers."""

from __future__ import annotations

import math

import onnx

from trtkit.graph.tree import every_graph, size_in_bytes

__all__ = ["PARAMETER_INPUTS", "Parameters"]

PARAMETER_INPUTS: dict[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "ConvInteger": (1,),
    "QLinearConv": (3, 8),
    "DeformConv": (1, 3),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "Einsum": (0, 1, 2, 3),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "RMSNormalization": (1,),
    "PRelu": (1,),
    "LSTM": (1, 2, 3, 7),
    "GRU": (1, 2, 3),
    "RNN": (1, 2, 3),
    "Gather": (0,),
}
"""Positions at which operators take trainable tensors; for Gather only tables of two or more dimensions, embeddings."""

_STATISTICS = {"BatchNormalization": (3, 4)}
_LINEAR = frozenset(("Conv", "ConvTranspose", "MatMul", "Gemm", "MatMulInteger", "ConvInteger"))
_SAME_VALUES = frozenset(
    (
        "Identity",
        "Cast",
        "Transpose",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "QuantizeLinear",
        "DequantizeLinear",
    )
)
_FLOATS = frozenset(
    (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
)
_QUANTIZED = frozenset(("ConvInteger", "QLinearConv", "MatMulInteger", "QLinearMatMul"))


class Parameters:
    """The parameters of a model's graphs (subgraphs included).

    Args:
        bare: the graph whose nodes are walked; its large weights may have lost their data.
        full: the graph that stores the initializers.

    Attributes:
        total: trainable elements, shared ones once.
        stored_bytes: their bytes and those of running statistics, as stored.
    """

    def __init__(self, bare: onnx.GraphProto, full: onnx.GraphProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in full.initializer}
        self._origin: dict[str, str] = {}
        self._dequantized: set[str] = set()
        self._linear_outputs: set[str] = set()
        self._seen: dict[str, int] = {}
        self.total = 0
        self.stored_bytes = 0
        for graph in every_graph(bare):
            for tensor in graph.initializer:
                self._tensors.setdefault(tensor.name, tensor)
            for node in graph.node:
                self._learn(node)
            for node in graph.node:
                self._count(node)

    def _learn(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    self._tensors[node.output[0]] = attribute.t
        elif node.op_type in _SAME_VALUES and node.input:
            self._origin[node.output[0]] = node.input[0]
            if node.op_type == "DequantizeLinear":
                self._dequantized.add(node.output[0])
        elif node.op_type in _LINEAR:
            self._linear_outputs.add(node.output[0])

    def _stored(self, name: str, *, quantized: bool) -> tuple[str, onnx.TensorProto] | None:
        """The stored tensor behind ``name``, through reshapes, casts, Q/DQ; None for computed and integer tensors."""
        while name not in self._tensors and name in self._origin:
            quantized |= name in self._dequantized
            name = self._origin[name]
        tensor = self._tensors.get(name)
        if tensor is None or not (quantized or tensor.data_type in _FLOATS):
            return None
        return name, tensor

    def _inputs(self, node: onnx.NodeProto) -> list[tuple[str, onnx.TensorProto]]:
        names = [node.input[i] for i in PARAMETER_INPUTS.get(node.op_type, ()) if i < len(node.input)]
        if node.op_type == "Add" and any(name in self._linear_outputs for name in node.input):
            names = [name for name in node.input if name not in self._linear_outputs]
        found = [self._stored(name, quantized=node.op_type in _QUANTIZED) for name in names if name]
        if node.op_type == "Gather":
            found = [item for item in found if item is not None and len(item[1].dims) > 1]
        if node.op_type == "Add":
            found = [item for item in found if item is not None and math.prod(item[1].dims) > 1]
        return [item for item in found if item is not None]

    def of(self, node: onnx.NodeProto) -> int:
        """Trainable elements that one node reads."""
        return sum(math.prod(tensor.dims) for _, tensor in self._inputs(node))

    def _count(self, node: onnx.NodeProto) -> None:
        for name, tensor in self._inputs(node):
            if name not in self._seen:
                self._seen[name] = math.prod(tensor.dims)
                self.total += self._seen[name]
                self.stored_bytes += size_in_bytes(tensor) or 0
        for i in _STATISTICS.get(node.op_type, ()):
            found = self._stored(node.input[i], quantized=False)
            if found is not None and found[0] not in self._seen:
                self._seen[found[0]] = 0
                self.stored_bytes += size_in_bytes(found[1]) or 0
