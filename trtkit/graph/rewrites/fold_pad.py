"""A Pad as the padding of the convolution or pool that reads it.

Zeros around the map are what a convolution pads with: Conv(Pad(x, p), q) = Conv(x, p + q). An AveragePool without
padding of its own divides by the whole window, zeros included: AveragePool(Pad(x, p)) = AveragePool(x, p,
count_include_pad). A MaxPool pads with −∞; of numbers that are not negative (behind a Relu or Sigmoid) zero is never
larger than the largest, as long as every window holds one number of the map, which pads smaller than the window
ensure.

Conditions: constant mode, zeros, stored pads that are not negative and lie behind the channels, no other reader, and,
for pools, no rounding up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx

from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView, attributes_of
from trtkit.graph.rewrites.windows import Window, set_attribute, set_window, window_of

__all__ = ["FoldPad"]

_NOT_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softmax")


class FoldPad(Rewrite):
    """See the module."""

    name = "fold_pad"
    summary = "Pad folded into the padding of the Conv, AveragePool or MaxPool behind it"
    gains = "a copy of the tensor less"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.of_type("Pad"):
            pads, reader = _zeros(graph, node), graph.only_user(node.output[0])
            if pads is None or reader is None or reader.domain not in ("", "ai.onnx"):
                continue
            window = _window(graph, node, pads, reader)
            if window is None:
                continue
            edit = Edit(graph, self.name, node, [node, reader], f"into {reader.op_type} {reader.name}")
            made = edit.carry_on(reader, [node.input[0], *reader.input[1:]])
            set_window(made, window)
            if reader.op_type == "AveragePool":
                set_attribute(made, "count_include_pad", 1)
            yield edit


def _zeros(graph: GraphView, node: onnx.NodeProto) -> list[int] | None:
    """Begins and ends for every axis, where the Pad only adds zeros."""
    given, shape = attributes_of(node), graph.shape(node.input[0])
    if given.get("mode", "constant") != "constant" or shape is None or not graph.is_float(node.input[0]):
        return None
    if graph.opset < 11:
        return list(given["pads"]) if "pads" in given and given.get("value", 0.0) == 0.0 else None
    pads = graph.integers(node.input[1])
    if len(node.input) > 2 and node.input[2]:
        value = graph.constant(node.input[2])
        if value is None or value.any():
            return None
    if pads is None or len(node.input) < 4 or not node.input[3]:
        return pads
    axes = graph.integers(node.input[3])
    if axes is None:
        return None
    whole = [0] * (2 * len(shape))
    for place, axis in enumerate(axes):
        whole[axis % len(shape)] = pads[place]
        whole[axis % len(shape) + len(shape)] = pads[place + len(axes)]
    return whole


def _window(graph: GraphView, node: onnx.NodeProto, pads: list[int], reader: onnx.NodeProto) -> Window | None:
    """The reader's window with the pads added."""
    rank = len(pads) // 2
    begin, end = pads[2:rank], pads[rank + 2 :]
    if min(pads) < 0 or any((*pads[:2], *pads[rank : rank + 2])) or node.output[0] != reader.input[0]:
        return None
    weights = graph.shape(reader.input[1]) if reader.op_type == "Conv" else ()
    kernel = tuple(size for size in (weights or ())[2:] if isinstance(size, int))
    if reader.op_type not in ("Conv", "AveragePool", "MaxPool") or (
        reader.op_type == "Conv" and len(kernel) != rank - 2
    ):
        return None
    window = window_of(reader, graph.sizes(reader.input[0], 2), kernel)
    if window is None:
        return None
    wider = replace(
        window,
        begin=tuple(a + b for a, b in zip(window.begin, begin, strict=True)),
        end=tuple(a + b for a, b in zip(window.end, end, strict=True)),
    )
    if reader.op_type == "Conv":
        return wider
    given = attributes_of(reader)
    inside = all(max(ends) < size for *ends, size in zip(wider.begin, wider.end, window.kernel, strict=True))
    if window.ceil or any(step != 1 for step in window.dilations) or not inside:
        return None
    if reader.op_type == "AveragePool":
        return wider if graph.opset >= 7 and (not window.padded or given.get("count_include_pad", 0)) else None
    maker = graph.makers.get(node.input[0])
    positions = len(reader.output) > 1 and reader.output[1]  # of the maxima, which count the padding
    return wider if maker is not None and maker.op_type in _NOT_NEGATIVE and not positions else None
