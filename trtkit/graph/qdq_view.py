"""A quantized graph as pairs: which tensor is dequantized from what, by which scale, and where it came from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from trtkit.graph.quantizable import stored_constants
from trtkit.graph.tree import weightless

__all__ = ["QUANTIZE", "Dequantizer", "QdqView", "without_pairs"]

QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_SAME_TENSOR = ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Cast")


@dataclass(frozen=True)
class Dequantizer:
    """One DequantizeLinear.

    Attributes:
        node: itself.
        quantizer: the QuantizeLinear in front of it; None where it reads stored numbers or those of another node.
        stored: whether the numbers behind it are constant, quantized already or by :attr:`quantizer`.
        scale: its scale where it is constant.
        axis: the dimension that a scale of more than one number runs along; None for one number.
        element_type: ONNX type of the quantized numbers; 0 if not known.
    """

    node: onnx.NodeProto
    quantizer: onnx.NodeProto | None
    stored: bool
    scale: np.ndarray | None
    axis: int | None
    element_type: int


class QdqView:
    """Look-ups in the main graph of a quantized model.

    Attributes:
        nodes: in order.
        makers: tensor → the node that makes it.
        users: tensor → the nodes that read it.
        constants: stored tensors by name.
        opset: of the default domain.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.constants = stored_constants(model.graph)
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.input)):
                self.users.setdefault(name, []).append(node)
        self.opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
        self._types = {name: tensor.data_type for name, tensor in self.constants.items()}
        shell, _ = weightless(model)
        try:
            inferred = onnx.shape_inference.infer_shapes(shell).graph
            for value in (*inferred.value_info, *inferred.input, *inferred.output):
                self._types.setdefault(value.name, value.type.tensor_type.elem_type)
        except onnx.shape_inference.InferenceError:
            pass  # types then come from zero points and stored numbers, which is where breaches show

    def element_type(self, name: str) -> int:
        """ONNX element type of a tensor, 0 if not known."""
        return int(self._types.get(name, TensorProto.UNDEFINED))

    def value(self, name: str) -> np.ndarray | None:
        """A stored tensor's numbers, None for computed ones."""
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def zero_point_type(self, node: onnx.NodeProto) -> int:
        """The quantized type that a Q or DQ states: by zero point, ``output_dtype``, or (Q) ONNX's default uint8."""
        if len(node.input) > 2 and node.input[2]:
            return self.element_type(node.input[2])
        if node.op_type == QUANTIZE:
            stated = next((item.i for item in node.attribute if item.name == "output_dtype"), 0)
            return int(stated or TensorProto.UINT8)
        return self.element_type(node.input[0])

    def scale(self, node: onnx.NodeProto) -> np.ndarray | None:
        """The constant scale of a Q or DQ."""
        return self.value(node.input[1])

    def axis(self, node: onnx.NodeProto) -> int | None:
        """The dimension of a Q or DQ's scales; None if it has one scale."""
        scale = self.scale(node)
        if scale is None or scale.size == 1:
            return None
        return next((item.i for item in node.attribute if item.name == "axis"), 1)

    def dequantizer(self, name: str) -> Dequantizer | None:
        """The DequantizeLinear that makes a tensor, seen through Reshape, Transpose and the like; None if none does.

        The axis is the DequantizeLinear's own.
        """
        node = self.makers.get(name)
        while node is not None and node.op_type in _SAME_TENSOR:
            node = self.makers.get(node.input[0])
        if node is None or node.op_type != _DEQUANTIZE:
            return None
        source = node.input[0]
        quantizer = self.makers.get(source)
        quantizer = quantizer if quantizer is not None and quantizer.op_type == QUANTIZE else None
        stored = (quantizer.input[0] if quantizer is not None else source) in self.constants
        kind = self.zero_point_type(quantizer) if quantizer is not None else self.zero_point_type(node)
        return Dequantizer(node, quantizer, stored, self.scale(node), self.axis(node), kind)

    def is_direct(self, name: str) -> bool:
        """Whether a tensor is a DequantizeLinear's own output, with nothing in between."""
        node = self.makers.get(name)
        return node is not None and node.op_type == _DEQUANTIZE


def without_pairs(model: onnx.ModelProto, operators: Collection[str]) -> dict[str, str]:
    """Nodes of these operators that read something unquantized, each with a sentence that says what.

    Args:
        model: a Q/DQ model.
        operators: those whose first two inputs are to be quantized.
    """
    view, found = QdqView(model), {}
    for node in view.nodes:
        if node.op_type in operators:
            bare = [name for name in node.input[:2] if view.dequantizer(name) is None]
            if len(bare) == 2:
                found[node.name] = "the file has no Q/DQ there"
            elif bare:
                what = "weight" if bare[0] in view.constants else "input"
                found[node.name] = f"the file has no Q/DQ at its {what} {bare[0]!r}"
    return found
