"""Steps that scale and shift each channel, y[c] = a[c]·x[c] + d[c], and the products that can take them in.

With stored weights W, bias b and group g, for a product behind which (`into_maker`) or before which (`into_reader`) the
step stands:

    a·(W∗x + b) + d  =  (a·W)∗x + (a·b + d)            a along W's output channels
    W∗(a·x + d) + b  =  (a·W)∗x + (b + Σ W·d)          a along W's input channels

The second holds at the border of a padded convolution only for d = 0, since the padding is zero, not d. New weights are
computed in float64 and rounded once.

A small a makes small weights, which float16 cannot hold, while a·x beside the old weights loses nothing. Which
precision the graph will run in is not known here, so in any such a step stays: where the share of their norm that the
new weights would lose below float16's normal numbers is above a limit, and above the share that the old ones lose; and
where they or the bias would overflow, and the old ones do not. Of a step before the product that is asked of every
input channel by itself, since x may be as large there as a is small; behind it, of the weights as a whole, in which a
channel that training has switched off counts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from trtkit.graph.float16_weights import weight_fit
from trtkit.graph.rewrites.base import Edit
from trtkit.graph.rewrites.view import GraphView, attributes_of
from trtkit.graph.rewrites.windows import set_attribute, window_of

__all__ = ["ARITHMETIC", "Affine", "affine_of", "into_maker", "into_reader"]

ARITHMETIC = ("Add", "Div", "Mul", "Sub")

_BEYOND_FLOAT16 = 65520.0
_LOST = 2e-4
"""Share of a norm: what ordinary rounding to float16 loses, too."""

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """One step: the tensor that it works on, and a and d for each channel."""

    data: str
    scale: Vector
    shift: Vector


@dataclass(frozen=True)
class _Product:
    """Weights with the output channels first, and one bias for each of them."""

    weights: Vector
    bias: Vector


def affine_of(graph: GraphView, node: onnx.NodeProto) -> Affine | None:
    """What a BatchNormalization (inference), Add, Sub, Mul or Div does to each channel.

    ``None`` where its numbers are not stored, are not one for each channel (axis 1) or one for all, or where shapes are
    not known.
    """
    if node.op_type == "BatchNormalization":
        return _batchnorm(graph, node)
    stored = [position for position, name in enumerate(node.input) if graph.is_constant(name)]
    if len(stored) != 1:
        return None
    first = stored[0] == 0
    data = node.input[1 if first else 0]
    values, shape = graph.floats(node.input[stored[0]]), graph.shape(data)
    if values is None or shape is None or len(shape) < 2 or not isinstance(shape[1], int) or not graph.is_float(data):
        return None
    vector = _per_channel(values, len(shape), shape[1])
    if vector is None:
        return None
    one, zero = np.ones(shape[1]), np.zeros(shape[1])
    if node.op_type == "Mul":
        return Affine(data, vector, zero)
    if node.op_type == "Add":
        return Affine(data, one, vector)
    if node.op_type == "Sub":
        return Affine(data, -one, vector) if first else Affine(data, one, -vector)
    if first or not vector.all():
        return None
    return Affine(data, one / vector, zero)


def _batchnorm(graph: GraphView, node: onnx.NodeProto) -> Affine | None:
    given = attributes_of(node)
    numbers = [graph.floats(name) for name in node.input[1:5]]
    extra = [name for name in node.output[1:] if name]
    if given.get("training_mode", 0) or graph.opset < 7 or not given.get("spatial", 1) or len(numbers) != 4:
        return None
    if any(name in graph.users or graph.is_visible(name) for name in extra):
        return None
    stored = [values.astype(np.float64) for values in numbers if values is not None]
    if len(stored) != 4 or not graph.is_float(node.input[0]):
        return None
    gamma, beta, mean, variance = stored
    inside = variance + float(given.get("epsilon", 1e-5))
    if (inside <= 0).any():
        return None
    scale = gamma / np.sqrt(inside)
    return Affine(node.input[0], scale, beta - mean * scale)


def _per_channel(values: npt.NDArray[Any], rank: int, channels: int) -> Vector | None:
    if values.ndim > rank:
        return None
    shape = (*[1] * (rank - values.ndim), *values.shape)
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1) or shape[1] not in (1, channels):
        return None
    return np.broadcast_to(values.reshape(-1).astype(np.float64), channels)


def into_maker(graph: GraphView, rewrite: str, node: onnx.NodeProto, step: Affine) -> Edit | None:
    """Fold a step into the Conv, ConvTranspose or Gemm that makes its data, if nothing else reads that."""
    maker = graph.maker(step.data, "Conv", "ConvTranspose", "Gemm")
    product = _product(graph, maker) if maker is not None else None
    if maker is None or product is None or len(product.bias) != len(step.scale):
        return None
    scale = step.scale.reshape(-1, *[1] * (product.weights.ndim - 1))
    folded = _Product(product.weights * scale, product.bias * step.scale + step.shift)
    if _overflows(product, folded) or _loses(product.weights, folded.weights):
        return None
    return _edit(graph, rewrite, node, maker, folded, maker.input[0], f"behind {maker.op_type} {maker.name}")


def into_reader(graph: GraphView, rewrite: str, node: onnx.NodeProto, step: Affine) -> Edit | None:
    """Fold a step into the one Conv or Gemm that reads its result."""
    reader = graph.only_user(node.output[0])
    if reader is None or reader.op_type not in ("Conv", "Gemm") or reader.input[0] != node.output[0]:
        return None
    product, given = _product(graph, reader), attributes_of(reader)
    if product is None or given.get("transA", 0):
        return None
    weights, group = product.weights, int(given.get("group", 1))
    if weights.shape[1] * group != len(step.scale):
        return None
    if step.shift.any() and reader.op_type == "Conv":
        window = window_of(reader, graph.sizes(step.data, 2), weights.shape[2:])
        if window is None or window.padded:
            return None
    rest = [1] * (weights.ndim - 2)
    # Output channel m reads the input channels of its group only.
    columns = np.repeat(np.arange(len(step.scale)).reshape(group, -1), len(weights) // group, axis=0)
    moved = (weights * step.shift[columns].reshape(*columns.shape, *rest)).reshape(len(weights), -1).sum(axis=1)
    folded = _Product(weights * step.scale[columns].reshape(*columns.shape, *rest), product.bias + moved)
    if _overflows(product, folded) or _loses_a_channel(weights, folded.weights, group):
        return None
    return _edit(graph, rewrite, node, reader, folded, step.data, f"before {reader.op_type} {reader.name}")


def _loses(before: Vector, after: Vector) -> bool:
    """Whether new weights lose too much in float16, and more than the old ones."""
    lost = weight_fit(after.astype(np.float32)).lost
    return lost > _LOST and lost > weight_fit(before.astype(np.float32)).lost


def _loses_a_channel(before: Vector, after: Vector, group: int) -> bool:
    """The same for the weights of each input channel by themselves, a million numbers at a time."""
    split = [
        values.reshape(group, len(values) // group, values.shape[1], -1).swapaxes(1, 2) for values in (before, after)
    ]
    for old, new in zip(*split, strict=True):
        count = max((1 << 20) // max(old[0].size, 1), 1)
        for start in range(0, len(old), count):
            lost = [_lost(values[start : start + count].reshape(-1, old[0].size)) for values in (old, new)]
            if ((lost[1] > _LOST) & (lost[1] > lost[0])).any():
                return True
    return False


def _lost(rows: Vector) -> Vector:
    """The share of each row's norm that float16 loses below its normal numbers."""
    small = np.where(np.abs(rows) < 2.0**-14, rows, 0.0)
    error, norm = np.linalg.norm(small.astype(np.float16) - small, axis=1), np.linalg.norm(rows, axis=1)
    lost: Vector = np.divide(error, norm, out=np.zeros_like(norm), where=norm > 0)
    return lost


def _overflows(before: _Product, after: _Product) -> bool:
    """Whether float16 has no number for the new weights or biases, and has them for the old ones."""

    def beyond(product: _Product) -> bool:
        return any(bool((np.abs(values) >= _BEYOND_FLOAT16).any()) for values in (product.weights, product.bias))

    return beyond(after) and not beyond(before)


def _product(graph: GraphView, node: onnx.NodeProto) -> _Product | None:
    """Weights and bias of a product, if both are stored."""
    weights, given = graph.floats(node.input[1]), attributes_of(node)
    bias: npt.NDArray[Any] | None = np.zeros(1)
    if len(node.input) > 2 and node.input[2]:
        bias = graph.floats(node.input[2])
    if weights is None or bias is None or not graph.is_float(node.output[0]):
        return None
    wide = weights.astype(np.float64)
    if node.op_type == "Gemm":
        wide = (wide if given.get("transB", 0) else wide.T) * given.get("alpha", 1.0)
        bias = bias * given.get("beta", 1.0)
    elif node.op_type == "ConvTranspose":
        wide = _swapped(wide, int(given.get("group", 1)))
    if bias.size not in (1, len(wide)) or (bias.ndim > 1 and bias.shape[-1] != bias.size):
        return None
    return _Product(wide, np.broadcast_to(bias.reshape(-1).astype(np.float64), len(wide)))


def _swapped(weights: Vector, group: int) -> Vector:
    """ConvTranspose's C×(M/group)×… → M×(C/group)×…, and back: input and output channels change places."""
    split = weights.reshape(group, weights.shape[0] // group, *weights.shape[1:])
    return split.swapaxes(1, 2).reshape(group * weights.shape[1], -1, *weights.shape[2:])


def _edit(
    graph: GraphView,
    rewrite: str,
    node: onnx.NodeProto,
    product: onnx.NodeProto,
    folded: _Product,
    data: str,
    detail: str,
) -> Edit | None:
    """The edit that leaves ``product`` with new numbers in place of itself and ``node``."""
    dtype = np.float16 if graph.types[product.output[0]] == onnx.TensorProto.FLOAT16 else np.float32
    weights = folded.weights
    if product.op_type == "ConvTranspose":
        weights = _swapped(weights, int(attributes_of(product).get("group", 1)))
    elif product.op_type == "Gemm" and not attributes_of(product).get("transB", 0):
        weights = weights.T
    with np.errstate(over="ignore"):
        stored, bias = weights.astype(dtype), folded.bias.astype(dtype)
    if not (np.isfinite(stored).all() and np.isfinite(bias).all()):
        return None
    edit = Edit(graph, rewrite, node, [product, node], detail)
    behind = node.output[0] if product.output[0] in node.input else product.output[0]
    names = [edit.tensor(f"{product.input[1]}/{rewrite}", stored)]
    names.append(edit.tensor(f"{product.name or product.output[0]}/{rewrite}/bias", bias))
    made = edit.carry_on(product, [data, *names], output=behind)
    if product.op_type == "Gemm":
        set_attribute(made, "alpha", None)
        set_attribute(made, "beta", None)
    return edit
