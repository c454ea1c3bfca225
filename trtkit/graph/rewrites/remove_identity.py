"""Nodes that pass their input on unchanged, removed.

Identity; Dropout outside of training; a Cast to the type that is there; a Transpose, Reshape, Flatten, Expand or Pad
that changes nothing; a Concat, Sum, Max, Min or Mean of one tensor; a pool of window 1; arithmetic with the neutral
element. The result is the input, bit for bit (but for −0 + 0 = 0).

Readers read the input instead. Where the result is an output of the graph, the node before it makes that output itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView, attributes_of
from trtkit.graph.rewrites.windows import window_of

__all__ = ["RemoveIdentity", "bypass"]

_SAME_SHAPE = ("Reshape", "Flatten", "Expand", "Squeeze", "Unsqueeze")
_OF_MANY = ("Concat", "Sum", "Max", "Min", "Mean")
_POOLS = ("MaxPool", "AveragePool")
_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0, "Pow": 1.0}


class RemoveIdentity(Rewrite):
    """See the module."""

    name = "remove_identity"
    summary = "Identity, Dropout, empty Casts, Pads, Reshapes and the like removed"
    gains = "a copy less, where the engine does not see it itself"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.nodes:
            source = _passed(graph, node)
            edit = (
                bypass(Edit(graph, self.name, node, [node], f"{node.op_type} passes {source} on"), source)
                if source is not None
                else None
            )
            if edit is not None:
                yield edit


def _passed(graph: GraphView, node: onnx.NodeProto) -> str | None:
    """The input that a node passes on unchanged."""
    if node.domain not in ("", "ai.onnx") or not node.input or not node.input[0]:
        return None
    if any(name and (name in graph.users or graph.is_visible(name)) for name in node.output[1:]):
        return None
    data, given, op = str(node.input[0]), attributes_of(node), node.op_type
    same_shape = _same_shape(graph, data, node.output[0])
    if op == "Identity":
        return data
    if op == "Dropout":
        return data if _inference(graph, node) else None
    if op == "Cast":
        return data if graph.types.get(data) == given["to"] else None
    if op == "Transpose":
        return data if given.get("perm") and list(given["perm"]) == sorted(given["perm"]) else None
    if op in _SAME_SHAPE:
        return data if same_shape else None
    if op == "Pad":
        return data if _no_pads(graph, node) else None
    if op in _OF_MANY:
        return data if len(node.input) == 1 else None
    if op in _POOLS:
        window = window_of(node, graph.sizes(data, 2))
        plain = window is not None and {*window.kernel, *window.strides} == {1} and not window.padded
        return data if plain and "storage_order" not in given else None
    return _neutral(graph, node)


def _same_shape(graph: GraphView, source: str, target: str) -> bool:
    """Whether two shapes are known to be the same; equal names of dimensions are equal sizes."""
    shape = graph.shape(source)
    return shape is not None and None not in shape and shape == graph.shape(target)


def _inference(graph: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a Dropout does nothing: before opset 7 ``is_test`` says so, from opset 12 on an input that is false."""
    if graph.opset < 7:
        return bool(attributes_of(node).get("is_test", 0))
    if len(node.input) < 3 or not node.input[2]:
        return True
    training = graph.constant(node.input[2])
    return training is not None and not training.any()


def _no_pads(graph: GraphView, node: onnx.NodeProto) -> bool:
    pads = attributes_of(node).get("pads") if graph.opset < 11 else graph.integers(node.input[1])
    return pads is not None and not any(pads)


def _neutral(graph: GraphView, node: onnx.NodeProto) -> str | None:
    """The other operand of an operator whose one operand is a single stored neutral element."""
    if node.op_type not in _NEUTRAL or len(node.input) != 2:
        return None
    for position in (1, 0) if node.op_type in ("Add", "Mul") else (1,):
        values, data = graph.floats(node.input[position]), node.input[1 - position]
        if values is not None and values.size == 1 and graph.keeps_rank(values, data):
            return data if float(values.reshape(-1)[0]) == _NEUTRAL[node.op_type] else None
    return None


def bypass(edit: Edit, source: str) -> Edit | None:
    """Complete an edit that removes its anchor, whose first output is ``source``.

    ``None`` where that cannot be: the graph shows both tensors, or no node makes ``source``.
    """
    graph, target = edit.graph, str(edit.anchor.output[0])
    if not graph.is_visible(target):
        edit.renamed[target] = source
        return edit
    maker = graph.makers.get(source)
    if maker is None or graph.is_visible(source):
        return None
    edit.removed = [maker, *edit.removed]
    made = edit.carry_on(maker, maker.input)
    made.output[:] = [target if name == source else name for name in maker.output]
    edit.renamed[source] = target
    return edit
