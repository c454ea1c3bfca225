"""Transposes moved behind what does not care for the layout, until they meet their inverse and both are gone.

Graphs that came from channels-last frameworks turn the tensor before and behind every convolution. For a permutation P
and an elementwise f, f(P·x, P·y) = P·f(x, y), and so for a stored second operand c: f(P·x, c) = P·f(x, P⁻¹·c), with c
first given as many dimensions as x. Concat and reductions move along with their axes translated, Pad with its pads.
Two transposes in a row are one, and none if P·Q = 1.

A transpose only ever moves towards the outputs, so this ends. It moves only where nothing else reads its result, or
where what it meets is a transpose. Names of tensors behind a moved transpose stay; the inner ones, in the other
layout, get new ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from trtkit.graph.rewrites.base import Edit, Rewrite, RewriteResult, Site
from trtkit.graph.rewrites.remove_identity import bypass
from trtkit.graph.rewrites.view import GraphView, attributes_of
from trtkit.graph.rewrites.windows import set_attribute

__all__ = ["SinkTransposes"]

_UNARY = frozenset(
    ("Abs", "Cast", "Ceil", "Clip", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu")
) | frozenset(("Log", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Softplus", "Sqrt", "Tanh"))
_BINARY = frozenset(("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub", "PRelu"))


class SinkTransposes(Rewrite):
    """See the module."""

    name = "sink_transposes"
    summary = "Transposes moved behind elementwise steps, Concat, Pad and reductions, until they cancel"
    gains = (
        "models from channels-last frameworks: nearly every transpose, and the folding that they stood in the way of"
    )

    def find(self, model: onnx.ModelProto) -> tuple[Site, ...]:
        """See :meth:`Rewrite.find`; no sites where no transpose would go."""
        return super().find(model) if self.apply(model).modified else ()

    def apply(self, model: onnx.ModelProto, *, only: Collection[str] | None = None) -> RewriteResult:
        """See :meth:`Rewrite.apply`."""
        result = super().apply(model, only=only)
        before, after = (sum(node.op_type == "Transpose" for node in m.graph.node) for m in (model, result.model))
        return result if after < before else RewriteResult(model, ())

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.nodes:
            if node.domain not in ("", "ai.onnx"):
                continue
            edit = None
            if node.op_type == "Transpose":
                edit = _merged(graph, self.name, node)
            elif len(node.output) == 1 and not graph.is_visible(node.output[0]):
                edit = _sunk(graph, self.name, node)
            if edit is not None:
                yield edit


def _turn(graph: GraphView, name: str, *, alone: bool = True) -> tuple[onnx.NodeProto, list[int]] | None:
    """The Transpose that makes a tensor, and its permutation."""
    node = graph.makers.get(name)
    shape = graph.shape(node.input[0]) if node is not None and node.op_type == "Transpose" else None
    if node is None or shape is None or (alone and graph.only_user(name) is None):
        return None
    return node, list(attributes_of(node).get("perm", range(len(shape))[::-1]))


def _merged(graph: GraphView, rewrite: str, node: onnx.NodeProto) -> Edit | None:
    """Two transposes in a row as one, or as none."""
    first, second = _turn(graph, node.input[0], alone=False), _turn(graph, node.output[0], alone=False)
    if first is None or second is None:
        return None
    permutation = [first[1][axis] for axis in second[1]]
    source = str(first[0].input[0])
    edit = Edit(graph, rewrite, node, [node], f"two transposes as {permutation}")
    if graph.only_user(node.input[0]) is not None:
        edit.removed = [first[0], node]
    if permutation == sorted(permutation) and (gone := bypass(edit, source)) is not None:
        return gone
    set_attribute(edit.carry_on(node, [source]), "perm", permutation)
    return edit


def _sunk(graph: GraphView, rewrite: str, node: onnx.NodeProto) -> Edit | None:
    """A node with transposes before it as the same node with one transpose behind it."""
    names = [name for name in node.input if name]
    data = {"Pad": names[:1], "ReduceMean": names[:1], "Clip": names[:1]}.get(node.op_type, names)
    turns = {name: found for name in data if (found := _turn(graph, name)) is not None}
    if not turns:
        return None
    permutation = next(iter(turns.values()))[1]
    stored = [name for name in data if graph.is_constant(name)]
    if any(found[1] != permutation for found in turns.values()) or len(turns) + len(stored) < len(set(data)):
        return None
    edit = Edit(graph, rewrite, node, [*(turn for turn, _ in turns.values()), node], f"behind {node.op_type}")
    sources = {name: str(turn.input[0]) for name, (turn, _) in turns.items()}
    made = _moved(graph, edit, node, sources, permutation)
    if made is None:
        return None
    inner = graph.fresh(f"{node.output[0]}/{rewrite}")
    made.output[:] = [inner]
    edit.add("Transpose", [inner], "transpose", output=str(node.output[0]), perm=permutation)
    return edit


def _moved(
    graph: GraphView, edit: Edit, node: onnx.NodeProto, sources: dict[str, str], permutation: list[int]
) -> onnx.NodeProto | None:
    """The node in the layout before the transpose, added to the edit."""
    given, rank, op = attributes_of(node), len(permutation), node.op_type
    inputs = [sources.get(name, name) for name in node.input]
    if op in _UNARY:
        return edit.carry_on(node, inputs)
    if op in _BINARY:
        for position, name in enumerate(node.input):
            if name not in sources:
                values = graph.floats(name)
                turned = _turned_back(values, permutation) if values is not None else None
                if turned is None:
                    return None
                inputs[position] = edit.tensor(f"{name}/{edit.rewrite}", turned) if turned.size > 1 else name
        return edit.carry_on(node, inputs)
    if op == "Concat" and len(sources) == len(set(node.input)):
        made = edit.carry_on(node, inputs)
        set_attribute(made, "axis", permutation[int(given["axis"]) % rank])
        return made
    if op == "Pad":
        pads = list(given["pads"]) if "pads" in given else graph.integers(node.input[1])
        if pads is None or any(node.input[3:]):
            return None
        back = [permutation.index(axis) for axis in range(rank)]
        moved = [pads[axis + end] for end in (0, rank) for axis in back]
        if "pads" not in given:
            inputs[1] = edit.tensor(f"{node.name}/{edit.rewrite}/pads", np.array(moved, np.int64))
        made = edit.carry_on(node, inputs)
        if "pads" in given:
            set_attribute(made, "pads", moved)
        return made
    if op == "ReduceMean" and given.get("keepdims", 1):
        axes = given.get("axes") or (graph.integers(node.input[1]) if len(node.input) > 1 else None)
        if not axes:
            return None
        translated = sorted(permutation[axis % rank] for axis in axes)
        if "axes" not in given:
            inputs[1] = edit.tensor(f"{node.name}/{edit.rewrite}/axes", np.array(translated, np.int64))
        made = edit.carry_on(node, inputs)
        if "axes" in given:
            set_attribute(made, "axes", translated)
        return made
    return None


def _turned_back(values: npt.NDArray[Any], permutation: list[int]) -> npt.NDArray[Any] | None:
    """A stored operand as it meets the tensor before the transpose."""
    rank = len(permutation)
    if values.size == 1 and values.ndim <= rank:
        return values
    if values.ndim > rank:
        return None
    return values.reshape(*[1] * (rank - values.ndim), *values.shape).transpose(np.argsort(permutation))
