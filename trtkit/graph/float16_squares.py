"""Sums of squares in float16: scaled by powers of two, so that they stay inside its range.

An LRN written as ``t = B·x² + b``, ``y = x / t^β`` (see ``trtkit.graph.rewrites.lrn_band``) overflows float16 in x²
once |x| passes 255.9, and in t once that passes 65504. With s = 2⁻⁸, q = (s·x)² is at most 65472 for every finite
float16 x. With t' = 2⁻ᵐ·t = (2¹⁶⁻ᵐ·B)·q + 2⁻ᵐ·b, t^β = t'^β · 2^(βm). All factors are powers of two where βm is a whole
number: the results are the same but for numbers that fall below float16's smallest. Those are squares under 2⁻²⁵, of
|x| < 2⁻⁴·⁵: they add less than 2⁻²⁵ each to q and less than 2⁻⁹·(row sum of B) to t, which is required to be below
2⁻¹²·b, half a rounding step of float16.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from trtkit.graph.tree import every_graph

__all__ = ["Scales", "scale_squares", "scales"]

_LARGEST = 65504.0
_BEFORE = 2.0**-8
_STEP = {0.75: 4, 0.5: 2, 1.0: 1}
"""Power β → the whole numbers m must be multiples of this, so that 2^(βm) is a power of two."""


@dataclass(frozen=True)
class Scales:
    """The factors.

    Attributes:
        before: of x, before it is squared.
        weights, bias: of B and of b.
        after: of the denominator.
    """

    before: float
    weights: float
    bias: float
    after: float


def scales(matrix: npt.NDArray[np.floating], bias: npt.NDArray[np.floating], beta: float) -> Scales | None:
    """Factors that keep the sum of squares of any finite float16 input in range; ``None`` where there are none.

    Args:
        matrix: B, rows × columns, not negative.
        bias: b, one positive number a row.
        beta: 0.5, 0.75 or 1; other powers have no exact factors.
    """
    if beta not in _STEP or (matrix < 0).any() or (bias <= 0).any():
        return None
    rows = matrix.reshape(len(matrix), -1).astype(np.float64).sum(axis=1)
    if (rows * 2.0**-9 > bias * 2.0**-12).any():
        return None
    largest = float((rows * _LARGEST**2 + bias).max())
    step = _STEP[beta]
    power = max(0, math.ceil(math.log2(largest / _LARGEST) / step)) * step
    factor, after = 2.0**-power, 2.0 ** (beta * power)
    # The denominator's largest value, and the bias as a normal float16 number.
    if (largest * factor) ** beta * after > _LARGEST or (bias * factor < 2.0**-14).any():
        return None
    return Scales(_BEFORE, factor / _BEFORE**2, factor, after)


@dataclass(frozen=True)
class _Band:
    """The nodes of one band: x² → sum → … → power, and the division by it."""

    square: onnx.NodeProto
    total: onnx.NodeProto
    power: str
    beta: float
    division: onnx.NodeProto


def scale_squares(graph: onnx.GraphProto, weights: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Scale every float32 band of a graph, in place; only nodes change.

    Args:
        graph: in topological order; its large weights may have lost their data.
        weights: the graph that stores the initializers.

    Returns:
        Initializers by name: those that take another value, and new ones (which are in ``graph`` already).
    """
    stored = {tensor.name: tensor for tensor in weights.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    taken = {name for inner in every_graph(graph) for node in inner.node for name in (node.name, *node.output)}
    for inner in every_graph(graph):
        taken.update(value.name for value in (*inner.input, *inner.initializer))
    replaced: dict[str, onnx.TensorProto] = {}
    for band in _bands(graph, stored):
        matrix, bias = (numpy_helper.to_array(stored[name]) for name in band.total.input[1:3])
        found = scales(matrix, bias, band.beta)
        if found is None:
            continue
        for name, factor in zip(band.total.input[1:3], (found.weights, found.bias), strict=True):
            values = (numpy_helper.to_array(stored[name]) * np.float32(factor)).astype(np.float32)
            replaced[name] = numpy_helper.from_array(values, name)
        new = [_scaled(graph, band.square.input[0], found.before, f"{band.square.name}_scaled", taken, replaced)]
        scaled = new[0].output[0]
        band.square.input[:] = [scaled, scaled]
        if found.after != 1:
            new.append(_scaled(graph, band.power, found.after, f"{band.division.name}_unscaled", taken, replaced))
            band.division.input[1] = new[1].output[0]
        for node, before in zip(new, (band.square, band.division), strict=False):
            node.metadata_props.extend(band.square.metadata_props)
            graph.node.insert(next(i for i, other in enumerate(graph.node) if other is before), node)
    return replaced


def _scaled(
    graph: onnx.GraphProto,
    source: str,
    factor: float,
    name: str,
    taken: set[str],
    replaced: dict[str, onnx.TensorProto],
) -> onnx.NodeProto:
    """A node that multiplies ``source`` with a new stored number."""
    node = helper.make_node("Mul", [source, _fresh(f"{name}_factor", taken)], [_fresh(name, taken)], name=name)
    number = numpy_helper.from_array(np.array(factor, np.float32), node.input[1])
    graph.initializer.append(number)
    replaced[number.name] = number
    return node


def _fresh(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found


def _bands(graph: onnx.GraphProto, stored: dict[str, onnx.TensorProto]) -> list[_Band]:
    """Every band whose numbers are stored for it alone, and none of whose inner tensors is read elsewhere."""
    makers = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for inner in every_graph(graph):
        for node in inner.node:
            for name in node.input:
                users.setdefault(name, []).append(node)
    outputs = {value.name for inner in every_graph(graph) for value in inner.output}

    def made(name: str, op_type: str, readers: int = 1) -> onnx.NodeProto | None:
        node = makers.get(name)
        private = len(users.get(name, ())) == readers and name not in outputs
        return node if node is not None and node.op_type == op_type and private else None

    found = []
    for division in graph.node:
        if division.op_type != "Div":
            continue
        power = division.input[1]
        total, beta = _sum(made, power)
        if total is None or len(total.input) < 3:
            continue
        square = made(total.input[0], "Mul")
        if square is None or square.input[0] != square.input[1]:
            continue
        scaling = makers.get(square.input[0])
        if scaling is not None and scaling.op_type == "Mul" and any(name in stored for name in scaling.input):
            continue
        if all(name in stored and len(users[name]) == 1 and name not in outputs for name in total.input[1:3]):
            found.append(_Band(square, total, power, beta, division))
    return found


def _sum(made: Callable[..., onnx.NodeProto | None], power: str) -> tuple[onnx.NodeProto | None, float]:
    """The Conv behind ``power``, and the power."""
    product, root = made(power, "Mul"), made(power, "Sqrt")
    if root is not None:
        return made(root.input[0], "Conv"), 0.5
    if product is None:
        return made(power, "Conv"), 1.0
    for first, second in (product.input, reversed(product.input)):
        once, twice = made(first, "Sqrt", readers=2), made(second, "Sqrt")
        if once is not None and twice is not None and twice.input[0] == first:
            return made(once.input[0], "Conv"), 0.75
    return None, 0.0
