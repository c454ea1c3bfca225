"""Small float models for the quantization tests: an Inception block, a residual block, and single products."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tests.graph.models import model, tensor, value


def normal(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def node(op: str, inputs: list[str], output: str, name: str | None = None, **attributes) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], name=name or output, **attributes)


def conv_weights(name: str, outputs: int, inputs: int, side: int = 1, bias: bool = True) -> list[onnx.TensorProto]:
    seed = sum(name.encode())
    made = [tensor(f"{name}_w", normal(seed, outputs, inputs, side, side, scale=(inputs * side * side) ** -0.5))]
    return [*made, tensor(f"{name}_b", normal(seed + 1, outputs, scale=0.1))] if bias else made


def conv(name: str, x: str, side: int = 1, bias: bool = True, **attributes) -> onnx.NodeProto:
    inputs = [x, f"{name}_w", *([f"{name}_b"] if bias else [])]
    return node("Conv", inputs, name, kernel_shape=[side] * 2, pads=[side // 2] * 4, **attributes)


def inception(opset: int = 17, ir: int = 8) -> onnx.ModelProto:
    """LRN, an Inception block behind it, the mean over the whole map, a classifier with Softmax: N×3×16×16 → N×5."""
    nodes = [
        conv("conv1", "x", 3),
        node("Relu", ["conv1"], "relu1"),
        node("LRN", ["relu1"], "norm", size=3),
        node("MaxPool", ["norm"], "pool1", kernel_shape=[2, 2], strides=[2, 2]),
        conv("one", "pool1"),
        node("Relu", ["one"], "one_relu"),
        conv("reduce", "pool1"),
        node("Relu", ["reduce"], "reduce_relu"),
        conv("three", "reduce_relu", 3),
        node("Relu", ["three"], "three_relu"),
        node("MaxPool", ["pool1"], "pool2", kernel_shape=[3, 3], pads=[1] * 4),
        conv("projection", "pool2"),
        node("Relu", ["projection"], "projection_relu"),
        node("Concat", ["one_relu", "three_relu", "projection_relu"], "joined", axis=1),
        conv("last", "joined"),
        node("Relu", ["last"], "last_relu"),
        node("AveragePool", ["last_relu"], "mean", kernel_shape=[8, 8]),
        node("Flatten", ["mean"], "flat"),
        node("Gemm", ["flat", "fc_w", "fc_b"], "fc", transB=1),
        node("Softmax", ["fc"], "y", axis=1),
    ]
    weights = [
        *conv_weights("conv1", 16, 3, 3),
        *conv_weights("one", 16, 16),
        *conv_weights("reduce", 16, 16),
        *conv_weights("three", 32, 16, 3),
        *conv_weights("projection", 16, 16),
        *conv_weights("last", 32, 64),
        tensor("fc_w", normal(7, 5, 32)),
        tensor("fc_b", normal(8, 5)),
    ]
    return model(nodes, [value("x", ("N", 3, 16, 16))], [value("y", ("N", 5))], weights, opset=opset, ir=ir)


def residual(projection: bool = False, swapped: bool = False) -> onnx.ModelProto:
    """Conv, then a block of two convolutions with BatchNormalization and a shortcut: N×16×8×8 → the same."""
    shortcut = "side_bn" if projection else "stem_relu"
    nodes = [
        conv("stem", "x", 3),
        node("Relu", ["stem"], "stem_relu"),
        conv("a", "stem_relu", 3),
        node("Relu", ["a"], "a_relu"),
        conv("b", "a_relu", 3, bias=False),
        node("BatchNormalization", ["b", "g", "h", "m", "v"], "b_bn"),
        *(
            [conv("side", "stem_relu"), node("BatchNormalization", ["side", "g", "h", "m", "v"], "side_bn")]
            if projection
            else []
        ),
        node("Add", [shortcut, "b_bn"] if swapped else ["b_bn", shortcut], "sum"),
        node("Relu", ["sum"], "y"),
    ]
    weights = [
        *conv_weights("stem", 16, 16, 3),
        *conv_weights("a", 16, 16, 3),
        *conv_weights("b", 16, 16, 3, bias=False),
        *(conv_weights("side", 16, 16) if projection else []),
        tensor("g", np.linspace(0.5, 1.5, 16, dtype=np.float32)),
        tensor("h", normal(5, 16, scale=0.1)),
        tensor("m", normal(6, 16, scale=0.1)),
        tensor("v", np.linspace(0.5, 2, 16, dtype=np.float32)),
    ]
    return model(nodes, [value("x", ("N", 16, 8, 8))], [value("y", ("N", 16, 8, 8))], weights)


def one_product(product: onnx.NodeProto, weight: np.ndarray, x_shape: tuple, **options) -> onnx.ModelProto:
    """A single weighted node from ``x`` with the weight ``w``."""
    source = model([product], [value("x", x_shape)], [value(product.output[0], None)], [tensor("w", weight)], **options)
    source.graph.output[0].CopyFrom(onnx.shape_inference.infer_shapes(source).graph.output[0])
    return source
