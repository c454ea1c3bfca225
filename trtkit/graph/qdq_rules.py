"""Q/DQ models that others made, held against what TensorRT takes: each breach by a stable id, with the way out.

Fatal ones (X) are refused by TensorRT's parser, or misread in silence; advisory ones (A) build, and cost
speed or accuracy. Source: TensorRT developer guide, "Explicit quantization"; the parser's answers to small models
(TensorRT-RTX 1.7.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from trtkit.graph.qdq_advice import advice
from trtkit.graph.qdq_view import QUANTIZE, QdqView
from trtkit.graph.tree import every_node, type_text

__all__ = ["RULES", "Breach", "check"]

RULES: dict[str, tuple[str, str]] = {
    "X1-zero-point": (
        "quantizes around a zero point other than 0, which TensorRT refuses",
        "Quantize again symmetrically (ONNX Runtime: ActivationSymmetric and WeightSymmetric).",
    ),
    "X2-uint8": (
        "quantizes to uint8, which TensorRT takes for int8 in silence: values above 127 would be clipped",
        "Quantize again to int8 (ONNX Runtime: activation_type and weight_type QInt8).",
    ),
    "X3-int32-bias": (
        "dequantizes an int32 bias, which TensorRT's parser refuses",
        "Keep biases float (ONNX Runtime: QuantizeBias False).",
    ),
    "X4-qoperator": (
        "is an integer operator, and TensorRT takes Q/DQ pairs only",
        "Write the QDQ format instead of QOperator (ONNX Runtime: quant_format QuantFormat.QDQ).",
    ),
    "X5-scale": (
        "has a scale that is not a stored number above 0",
        "Store its scale as an initializer; TensorRT quantizes statically.",
    ),
    "X6-opset": (
        "needs a newer opset than the model's",
        "Export again with opset 13 for scales per channel, 19 for FP8 or FP16 scales, 21 for INT4 and blocks.",
    ),
    "X7-type": (
        "quantizes to a type that TensorRT does not have",
        "Use int8, or FP8 E4M3FN.",
    ),
    "X8-domain": (
        "is Microsoft's own variant of the operator, which TensorRT's parser does not know",
        "Quantize with opset 21 and ONNX's own operators (ONNX Runtime: UseQDQContribOps False).",
    ),
    "A1-activation-per-channel": (
        "quantizes an activation per channel; the engine then computes in float",
        "Use one scale for a whole activation.",
    ),
    "A2-weight-axis": (
        "has weights whose scales do not run along the output channels; the engine then computes in float",
        "Quantize weights along axis 0 (Conv), 1 (ConvTranspose), the output's dimension (Gemm, MatMul).",
    ),
    "A3-before-relu": (
        "stands between a product and its activation, which costs a second rounding and a kernel",
        "Quantize behind the activation only.",
    ),
    "A4-both-add-inputs": (
        "reads both inputs quantized; the convolution's branch would better be added in float",
        "Quantize the residual input only.",
    ),
    "A5-concat-scales": (
        "joins tensors of unequal scales, so each is quantized again",
        "Give all inputs of a Concat one scale, or quantize behind it.",
    ),
    "A6-half": (
        "has only its activation or only its weights quantized, so it runs in float",
        "Quantize both inputs, or neither.",
    ),
    "A7-unfolded-weights": (
        "quantizes stored float weights when the model is loaded: the file is four times as large as it need be",
        "Store the weights as int8 behind a DequantizeLinear (ONNX Runtime: AddQDQPairToWeight False).",
    ),
    "A8-several-pairs": (
        "is quantized more than once from the same tensor; parallel products cannot share their input",
        "Use one Q/DQ pair a tensor (ONNX Runtime: DedicatedQDQPair False).",
    ),
    "A9-fp8-one-scale": (
        "has FP8 weights with one scale, which TensorRT-RTX 1.6.1 leaves out of a convolution on Hopper: wrong results",
        "Give FP8 weights a scale for each output channel, and validate the plan where it runs.",
    ),
}
"""Every rule: what is wrong, and the way out."""

_PAIR_OPS = frozenset((QUANTIZE, "DequantizeLinear"))
_MINIMUM_OPSET = {TensorProto.INT8: 10, TensorProto.FLOAT8E4M3FN: 19, TensorProto.INT4: 21}
_FLOAT4 = getattr(TensorProto, "FLOAT4E2M1", None)
if _FLOAT4 is not None:
    _MINIMUM_OPSET[_FLOAT4] = 23


@dataclass(frozen=True)
class Breach:
    """One breach of a rule.

    Attributes:
        rule: its id, a key of :data:`RULES`; X rules are fatal, A rules are advice.
        node: name of the node at fault, or of its first output where it has none.
        text: what is wrong there.
        way_out: what to do about it.
    """

    rule: str
    node: str
    text: str
    way_out: str

    @property
    def fatal(self) -> bool:
        """Whether TensorRT would refuse the model or read it as another one."""
        return self.rule.startswith("X")


def check(model: onnx.ModelProto) -> tuple[Breach, ...]:
    """Every breach in a model, fatal ones first, each kind in the order of the graph; empty for a float model.

    Args:
        model: any model with its weights. Graphs inside are looked at for operators alone.
    """
    view = QdqView(model)
    found = [*_foreign_operators(model), *_pairs(view), *advice(view)]
    breaches = [_breach(rule, node, particular) for rule, node, particular in found]
    return tuple(sorted(dict.fromkeys(breaches), key=lambda breach: not breach.fatal))


def _breach(rule: str, node: onnx.NodeProto, particular: str) -> Breach:
    text, way_out = RULES[rule]
    name = node.name or next(iter(node.output), "")
    return Breach(rule, name, f"{node.op_type} {text}{f' ({particular})' if particular else ''}", way_out)


def _foreign_operators(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.NodeProto, str]]:
    for node in every_node(model):
        integer = node.op_type.startswith(("QLinear", "QGemm", "QAttention", "DynamicQuantize"))
        if integer or node.op_type in ("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat"):
            yield "X4-qoperator", node, ""
        elif node.op_type in _PAIR_OPS and node.domain not in ("", "ai.onnx"):
            yield "X8-domain", node, node.domain


def _pairs(view: QdqView) -> Iterator[tuple[str, onnx.NodeProto, str]]:
    for node in view.nodes:
        if node.op_type not in _PAIR_OPS or node.domain not in ("", "ai.onnx"):
            continue
        kind = view.zero_point_type(node)
        zero_point = view.value(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.int8)
        if zero_point is None or np.any(np.asarray(zero_point, np.float32)):
            yield "X1-zero-point", node, "not stored" if zero_point is None else f"{zero_point.reshape(-1)[0]}"
        if kind == TensorProto.UINT8:
            yield "X2-uint8", node, "" if len(node.input) > 2 else "the default without a zero point"
        elif kind == TensorProto.INT32:
            yield "X3-int32-bias", node, node.input[0]
        elif kind and kind not in _MINIMUM_OPSET:
            yield "X7-type", node, type_text(kind)
        scale = view.scale(node)
        if scale is None or not np.all(np.isfinite(scale)) or not np.all(scale > 0):
            yield "X5-scale", node, f"{node.input[1]!r}" if scale is None else f"{float(np.min(scale)):g}"
        minimum = _minimum_opset(node, kind, scale)
        if minimum > view.opset:
            yield "X6-opset", node, f"{minimum}, and the model has {view.opset}"


def _minimum_opset(node: onnx.NodeProto, kind: int, scale: np.ndarray | None) -> int:
    needed = [_MINIMUM_OPSET.get(kind, 10)]
    if scale is not None and scale.size > 1:
        needed.append(13)
    if scale is not None and scale.dtype == np.float16:
        needed.append(19)
    if any(item.name == "block_size" and item.i for item in node.attribute):
        needed.append(21)
    return max(needed)
