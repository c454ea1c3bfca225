"""One replacement in a graph: as a rewrite writes it down, and as it is carried out, beside others at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from trtkit.artifacts.rewrites import Site
from trtkit.graph.order import needs, sort_nodes
from trtkit.graph.rewrites.inferred import lists_all, overridable
from trtkit.graph.rewrites.view import GraphView

__all__ = ["METADATA_KEY", "Edit", "perform"]

METADATA_KEY = "trtkit.rewrite"
"""Key of ``NodeProto.metadata_props`` under which an auxiliary node names the rewrite that made it."""


@dataclass
class Edit:
    """One replacement in a graph, as a rewrite writes it down.

    Attributes:
        graph: the view in which it was found.
        rewrite: the rewrite's name.
        anchor: the node that the site is called after.
        removed: nodes that go, the anchor among them or not.
        detail: what was found, for people.
        made: new nodes; together they make every tensor that others still read.
        tensors: new initializers.
        renamed: tensor → the one that its readers read instead.
        inputs: graph input → what it becomes; only for rewrites that change the interface.
    """

    graph: GraphView
    rewrite: str
    anchor: onnx.NodeProto
    removed: Sequence[onnx.NodeProto]
    detail: str
    made: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, onnx.ValueInfoProto] = field(default_factory=dict)

    def tensor(self, name: str, values: npt.NDArray[Any]) -> str:
        """Add an initializer, and return its name: ``name``, with a number if that is taken."""
        name = self.graph.fresh(name)
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(
        self, op_type: str, inputs: Sequence[str], what: str, *, output: str | None = None, **attributes: Any
    ) -> str:
        """Add an auxiliary node called ``ANCHOR/REWRITE/WHAT``, and return the name of its one output.

        Args:
            op_type, inputs, attributes: of the node.
            what: its part in the whole, such as ``square``.
            output: name of its output where that is given; else it is called as the node.
        """
        name = self.graph.fresh(f"{self.anchor.name or self.anchor.output[0]}/{self.rewrite}/{what}")
        node = helper.make_node(op_type, inputs, [output or name], name=name, **attributes)
        entry = node.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, self.rewrite
        self.made.append(node)
        return str(node.output[0])

    def carry_on(
        self, source: onnx.NodeProto, inputs: Sequence[str], *, op_type: str | None = None, output: str | None = None
    ) -> onnx.NodeProto:
        """Add a node that stands for ``source``, with its name, attributes and marks, and return it to be adjusted."""
        node = onnx.NodeProto()
        node.CopyFrom(source)
        node.op_type = op_type or source.op_type
        node.input[:] = list(inputs)
        node.output[:] = [output] if output is not None else list(source.output)
        self.made.append(node)
        return node

    @property
    def relied_on(self) -> set[str]:
        """Tensors that have to be there for what the edit makes."""
        read = {name for node in self.made for name in needs(node)} | set(self.renamed.values())
        return read - {name for node in self.made for name in node.output}

    @property
    def gone(self) -> set[str]:
        """Tensors that nobody makes afterwards, and that nothing stands for."""
        left = {name for node in self.made for name in node.output} | {tensor.name for tensor in self.tensors}
        return {name for node in self.removed for name in node.output if name} - left - set(self.renamed)

    @property
    def site(self) -> Site:
        """The edit for the record."""
        ordered = sorted(self.removed, key=self.graph.position)
        return Site(
            self.rewrite,
            tuple(node.name for node in ordered),
            self.anchor.name,
            self.graph.region_hash(ordered),
            tuple(node.name for node in self.made),
            self.detail,
        )


def perform(model: onnx.ModelProto, edits: Sequence[Edit]) -> None:
    """Write edits that share no node, and take no tensor from each other, into the graph they were found in."""
    graph, view = model.graph, edits[0].graph
    removed = {view.position(node) for edit in edits for node in edit.removed}
    released = {name for position in removed for name in needs(view.nodes[position])} - overridable(model)
    listing = bool(graph.initializer) and lists_all(model)
    renamed = {old: new for edit in edits for old, new in edit.renamed.items()}
    inserted: dict[int, list[onnx.NodeProto]] = {}
    for edit in edits:
        last = max(view.position(node) for node in edit.removed)
        inserted.setdefault(last, []).extend(edit.made)
    nodes: list[onnx.NodeProto] = []
    for position, node in enumerate(view.nodes):
        if position not in removed:
            nodes.append(node)
        nodes += inserted.get(position, [])
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    for node in graph.node:
        for i, name in enumerate(node.input):
            while name in renamed:
                name = renamed[name]
            node.input[i] = name
    for edit in edits:
        for value in graph.input:
            if value.name in edit.inputs:
                value.CopyFrom(edit.inputs[value.name])
        graph.initializer.extend(edit.tensors)
        if listing or model.ir_version < 4:
            graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in edit.tensors)
    _sweep(graph, released)
    sort_nodes(model)


def _sweep(graph: onnx.GraphProto, released: set[str]) -> None:
    """Drop what only removed nodes read: stored tensors, and notes on tensors that are no longer there."""
    read = {name for node in graph.node for name in needs(node)} | {value.name for value in graph.output}
    unread = released - read
    stored = {tensor.name for tensor in graph.initializer if tensor.name in unread}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name in unread:
            del graph.initializer[index]
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in stored:
            del graph.input[index]
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if node.op_type == "Constant" and node.output[0] in unread:
            del graph.node[index]
    made = {name for node in graph.node for name in node.output}
    for index in reversed(range(len(graph.value_info))):
        if graph.value_info[index].name not in made:
            del graph.value_info[index]
