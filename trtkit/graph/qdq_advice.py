"""Q/DQ placements that build and do not pay: the advisory half of ``trtkit.graph.qdq_rules``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from trtkit.graph.qdq_view import QUANTIZE, QdqView
from trtkit.graph.quantizable import WEIGHTED, weight_axis

__all__ = ["advice"]

_Finding = tuple[str, onnx.NodeProto, str]
_ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish")


def advice(view: QdqView) -> Iterator[_Finding]:
    """Advisory breaches as (rule id, node, particulars), in the order of the graph."""
    for node in view.nodes:
        if node.op_type in WEIGHTED:
            yield from _product(view, node)
        elif node.op_type == "Add":
            yield from _add(view, node)
        elif node.op_type == "Concat":
            yield from _concat(view, node)
        elif node.op_type == QUANTIZE:
            yield from _quantizer(view, node)


def _product(view: QdqView, node: onnx.NodeProto) -> Iterator[_Finding]:
    activation, weights = (view.dequantizer(name) for name in node.input[:2])
    if (activation is None) != (weights is None):
        yield "A6-half", node, "the weights are float" if weights is None else "the activation is float"
    if activation is not None and not activation.stored and activation.axis is not None:
        yield "A1-activation-per-channel", node, activation.node.name
    if weights is None or not weights.stored:
        return
    if weights.quantizer is not None:
        yield "A7-unfolded-weights", weights.quantizer, weights.quantizer.input[0]
    if weights.axis is None and weights.element_type == onnx.TensorProto.FLOAT8E4M3FN and node.op_type == "Conv":
        yield "A9-fp8-one-scale", node, weights.node.name
    if weights.axis is None or not view.is_direct(node.input[1]):
        return  # behind a Transpose or Reshape, which dimension is which cannot be said here
    source = weights.quantizer.input[0] if weights.quantizer is not None else weights.node.input[0]
    rank = len(view.constants[source].dims)
    wanted = weight_axis(node, rank)
    if weights.axis % rank != wanted % rank:
        yield "A2-weight-axis", node, f"axis {weights.axis}, and {wanted} is meant"


def _add(view: QdqView, node: onnx.NodeProto) -> Iterator[_Finding]:
    found = [view.dequantizer(name) for name in node.input]
    if any(item is None or item.stored for item in found):
        return
    for item in found:
        if item is not None and item.quantizer is not None and _from_product(view, item.quantizer.input[0]):
            yield "A4-both-add-inputs", node, ", ".join(node.input)
            return


def _from_product(view: QdqView, name: str) -> bool:
    """Whether a product makes the tensor, with at most a BatchNormalization behind it."""
    maker = view.makers.get(name)
    if maker is not None and maker.op_type == "BatchNormalization":
        maker = view.makers.get(maker.input[0])
    return maker is not None and maker.op_type in WEIGHTED


def _concat(view: QdqView, node: onnx.NodeProto) -> Iterator[_Finding]:
    found = [view.dequantizer(name) for name in node.input]
    scales = [item.scale for item in found if item is not None and item.scale is not None and not item.stored]
    if len(scales) > 1 and any(not np.array_equal(scale, scales[0]) for scale in scales):
        numbers = sorted({float(scale.reshape(-1)[0]) for scale in scales})
        yield "A5-concat-scales", node, ", ".join(f"{number:.4g}" for number in numbers[:4])


def _quantizer(view: QdqView, node: onnx.NodeProto) -> Iterator[_Finding]:
    source = node.input[0]
    others = [user for user in view.users.get(source, []) if user.op_type == QUANTIZE]
    if others[0] is not node and source not in view.constants:
        yield "A8-several-pairs", node, source
    if _from_product(view, source):
        readers = [user for name in node.output for user in view.users.get(name, [])]
        behind = [user for reader in readers for name in reader.output for user in view.users.get(name, [])]
        activations = [user for user in behind if user.op_type in _ACTIVATIONS]
        if activations:
            yield "A3-before-relu", node, activations[0].name or activations[0].op_type
