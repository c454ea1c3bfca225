"""Which stored tensors are parameters, and which are shapes, running statistics, quantization scales, plain numbers."""

from __future__ import annotations

import math

import onnx

from trtkit.graph.tree import size_in_bytes, subgraphs

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

_Key = tuple[int, str]  # number of the graph that stores a tensor, and its name
_Stored = tuple[_Key, onnx.TensorProto]


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
        self._origin: dict[str, str] = {}
        self._dequantized: set[str] = set()
        self._linear_outputs: set[str] = set()
        self._seen: set[_Key] = set()
        self._graphs = 0
        self._tensors: dict[str, _Stored] = {tensor.name: ((0, tensor.name), tensor) for tensor in full.initializer}
        self.total = 0
        self.stored_bytes = 0
        self._walk(bare, self._tensors)

    def of(self, node: onnx.NodeProto) -> int:
        """Trainable elements that one node of the main graph reads."""
        return sum(math.prod(tensor.dims) for _, tensor in self._inputs(node, self._tensors))

    def _walk(self, graph: onnx.GraphProto, tensors: dict[str, _Stored]) -> None:
        for tensor in graph.initializer:
            tensors.setdefault(tensor.name, ((self._graphs, tensor.name), tensor))
        for node in graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        tensors[node.output[0]] = ((self._graphs, node.output[0]), attribute.t)
            elif node.op_type in _SAME_VALUES and node.input:
                self._origin[node.output[0]] = node.input[0]
                if node.op_type == "DequantizeLinear":
                    self._dequantized.add(node.output[0])
            elif node.op_type in _LINEAR:
                self._linear_outputs.add(node.output[0])
        for node in graph.node:
            for key, tensor in self._inputs(node, tensors):
                self._add(key, tensor, math.prod(tensor.dims))
            for i in _STATISTICS.get(node.op_type, ()):
                found = self._stored(node.input[i], tensors, quantized=False)
                if found is not None:
                    self._add(*found, 0)
            for inner in subgraphs(node):
                # The branches of an If may use one name for two tensors: a number of its own tells a graph's apart.
                self._graphs += 1
                self._walk(inner, dict(tensors))

    def _add(self, key: _Key, tensor: onnx.TensorProto, trainable: int) -> None:
        if key not in self._seen:
            self._seen.add(key)
            self.total += trainable
            self.stored_bytes += size_in_bytes(tensor) or 0

    def _stored(self, name: str, tensors: dict[str, _Stored], *, quantized: bool) -> _Stored | None:
        """The stored tensor behind ``name``, through reshapes, casts, Q/DQ; None for computed and integer tensors."""
        while name not in tensors and name in self._origin:
            quantized |= name in self._dequantized
            name = self._origin[name]
        found = tensors.get(name)
        return found if found is not None and (quantized or found[1].data_type in _FLOATS) else None

    def _inputs(self, node: onnx.NodeProto, tensors: dict[str, _Stored]) -> list[_Stored]:
        names = [node.input[i] for i in PARAMETER_INPUTS.get(node.op_type, ()) if i < len(node.input)]
        if node.op_type == "Add" and any(name in self._linear_outputs for name in node.input):
            names = [name for name in node.input if name not in self._linear_outputs]
        candidates = [self._stored(name, tensors, quantized=node.op_type in _QUANTIZED) for name in names if name]
        found = [item for item in candidates if item is not None]
        if node.op_type == "Gather":
            return [item for item in found if len(item[1].dims) > 1]
        if node.op_type == "Add":  # a bias, unlike a single number
            return [item for item in found if math.prod(item[1].dims) > 1]
        return found
