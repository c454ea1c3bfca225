"""A small graph writer: layers in, ONNX nodes and the list of weight tensors they need out.

Node names are the source's layer names; a node's output carries the node's name. Weights are named after their layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from model_defs.definition import BATCH_AXIS
from model_defs.initialization import Parameter, he_half_width

__all__ = ["GraphBuilder", "Value"]

_IR_VERSION = 8
"""The IR version that came with opset 17's ONNX release (1.12)."""

_BIAS_HALF_WIDTH = 0.05
"""Seeded biases are small but not zero: a bias that a transformation drops or misplaces then shows in the output."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: its name, and its shape without the batch axis, (C, H, W) or (C,)."""

    name: str
    shape: tuple[int, ...]


class GraphBuilder:
    """Collects nodes in topological order and the parameters in order of use.

    Args:
        input_name: the graph input's name.
        input_shape: (C, H, W) of one image.
        input_std: standard deviation that the input is expected to have; the first layer passes it on to :meth:`conv`.
    """

    def __init__(self, input_name: str, input_shape: tuple[int, int, int], input_std: float) -> None:
        self.input = Value(input_name, input_shape)
        self.input_std = input_std
        self.nodes: list[onnx.NodeProto] = []
        self.parameters: list[Parameter] = []
        self._constants: list[tuple[str, np.ndarray]] = []

    def conv(
        self,
        name: str,
        x: Value,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        bias: bool = True,
        input_std: float = 1.0,
    ) -> Value:
        """Square convolution; weight (channels, C / groups, kernel, kernel), seeded for inputs of ``input_std``."""
        fan_in = x.shape[0] // groups * kernel * kernel
        shape = (channels, x.shape[0] // groups, kernel, kernel)
        weights = self._weights(name, shape, he_half_width(fan_in, input_std), bias)
        sides = _window_sides(x, kernel, stride, pad, ceil=False)
        attributes: dict[str, Any] = {"group": groups} if groups > 1 else {}
        return self._node(
            "Conv", name, [x.name, *weights], (channels, *sides), **_window(kernel, stride, pad), **attributes
        )

    def linear(self, name: str, x: Value, features: int, *, rectified: bool = False) -> Value:
        """Fully connected layer with bias; weight (features, inputs).

        He's variance of 2 / inputs makes up for the half that a rectifier takes; where none follows, it is 1 / inputs.
        """
        (inputs,) = x.shape
        half_width = he_half_width(inputs if rectified else 2 * inputs)
        weights = self._weights(name, (features, inputs), half_width, True)
        return self._node("Gemm", name, [x.name, *weights], (features,), transB=1)

    def batch_norm(self, name: str, x: Value, *, epsilon: float, gamma: float = 1.0) -> Value:
        """BatchNorm at inference; seeded as beta 0, mean 0, variance 1 and the given gamma."""
        shape = (x.shape[0],)
        added = (
            Parameter(f"{name}.weight", shape, center=gamma),
            Parameter(f"{name}.bias", shape),
            Parameter(f"{name}.running_mean", shape, trained=False),
            Parameter(f"{name}.running_var", shape, center=1.0, trained=False),
        )
        self.parameters.extend(added)
        return self._node("BatchNormalization", name, [x.name, *(p.name for p in added)], x.shape, epsilon=epsilon)

    def relu(self, name: str, x: Value) -> Value:
        """Rectifier."""
        return self._node("Relu", name, [x.name], x.shape)

    def max_pool(self, name: str, x: Value, kernel: int, *, stride: int, pad: int = 0, ceil: bool = False) -> Value:
        """Square maximum pooling; ``ceil`` keeps a last window that hangs over the edge (Caffe's rule)."""
        attributes = {"ceil_mode": 1} if ceil else {}
        sides = _window_sides(x, kernel, stride, pad, ceil=ceil)
        return self._node("MaxPool", name, [x.name], (x.shape[0], *sides), **_window(kernel, stride, pad), **attributes)

    def average_pool(self, name: str, x: Value, kernel: int) -> Value:
        """Square average pooling of stride 1 without padding."""
        sides = _window_sides(x, kernel, 1, 0, ceil=False)
        return self._node("AveragePool", name, [x.name], (x.shape[0], *sides), **_window(kernel, 1, 0))

    def global_average_pool(self, name: str, x: Value) -> Value:
        """Mean over height and width, kept as (C, 1, 1)."""
        return self._node("GlobalAveragePool", name, [x.name], (x.shape[0], 1, 1))

    def lrn(self, name: str, x: Value, *, size: int, alpha: float, beta: float, bias: float) -> Value:
        """Local response normalisation across channels: x / (bias + alpha / size · Σ x²)^beta."""
        return self._node("LRN", name, [x.name], x.shape, size=size, alpha=alpha, beta=beta, bias=bias)

    def concat(self, name: str, values: Sequence[Value]) -> Value:
        """Concatenation along the channels."""
        shape = (sum(value.shape[0] for value in values), *values[0].shape[1:])
        return self._node("Concat", name, [value.name for value in values], shape, axis=1)

    def add(self, name: str, a: Value, b: Value) -> Value:
        """Sum of two values of one shape."""
        return self._node("Add", name, [a.name, b.name], a.shape)

    def per_channel(self, name: str, x: Value, op_type: str, numbers: Sequence[float]) -> Value:
        """``Mul`` or ``Add`` with one fixed number a channel; a constant of the definition, not a parameter."""
        self._constants.append((f"{name}.constant", np.array(numbers, np.float32).reshape(-1, 1, 1)))
        return self._node(op_type, name, [x.name, f"{name}.constant"], x.shape)

    def flatten(self, name: str, x: Value) -> Value:
        """(C, H, W) to (C·H·W,)."""
        return self._node("Flatten", name, [x.name], (int(np.prod(x.shape)),), axis=1)

    def softmax(self, name: str, x: Value) -> Value:
        """Softmax over the classes."""
        return self._node("Softmax", name, [x.name], x.shape, axis=1)

    def model(
        self, name: str, output: Value, tensors: Iterable[np.ndarray], *, output_name: str, opset: int, doc: str
    ) -> onnx.ModelProto:
        """The finished model; ``tensors`` gives the parameters' values in their order, one at a time."""
        assert output.name == self.nodes[-1].output[0], "a network returns the value of its last layer"
        self.nodes[-1].output[0] = output_name
        inputs = helper.make_tensor_value_info(self.input.name, TensorProto.FLOAT, [BATCH_AXIS, *self.input.shape])
        outputs = helper.make_tensor_value_info(output_name, TensorProto.FLOAT, [BATCH_AXIS, *output.shape])
        model = helper.make_model(
            helper.make_graph(self.nodes, name, [inputs], [outputs], doc_string=doc),
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=_IR_VERSION,
            producer_name="trtkit.model_defs",
        )
        for constant, values in self._constants:
            _append(model.graph, constant, values)
        for parameter, values in zip(self.parameters, tensors, strict=True):
            _append(model.graph, parameter.name, values)
        return model

    def _weights(self, name: str, shape: tuple[int, ...], half_width: float, bias: bool) -> list[str]:
        added = [Parameter(f"{name}.weight", shape, half_width=half_width)]
        if bias:
            added.append(Parameter(f"{name}.bias", shape[:1], half_width=_BIAS_HALF_WIDTH))
        self.parameters.extend(added)
        return [parameter.name for parameter in added]

    def _node(self, op_type: str, name: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> Value:
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return Value(name, shape)


def _window(kernel: int, stride: int, pad: int) -> dict[str, list[int]]:
    return {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}


def _window_sides(x: Value, kernel: int, stride: int, pad: int, *, ceil: bool) -> tuple[int, ...]:
    excess = [side + 2 * pad - kernel for side in x.shape[1:]]
    return tuple((-(-e // stride) if ceil else e // stride) + 1 for e in excess)


def _append(graph: onnx.GraphProto, name: str, values: np.ndarray) -> None:
    # Written in place: make_tensor and extend would hold a 151 MB layer twice more.
    tensor = graph.initializer.add()
    tensor.name = name
    tensor.data_type = TensorProto.FLOAT
    tensor.dims.extend(values.shape)
    tensor.raw_data = values.astype("<f4", copy=False).tobytes()
