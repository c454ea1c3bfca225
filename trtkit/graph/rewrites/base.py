"""What a rewrite is: a function from a graph to a faster one that computes the same, found and applied site by site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from trtkit.artifacts.rewrites import Site
from trtkit.graph.order import needs, sort_nodes
from trtkit.graph.rewrites.view import GraphView

__all__ = ["METADATA_KEY", "Edit", "Rewrite", "RewriteResult", "Site", "made_by"]

METADATA_KEY = "trtkit.rewrite"
"""Key of ``NodeProto.metadata_props`` under which an auxiliary node names the rewrite that made it."""

_AUXILIARY = ("lrn_band", "stem_space_to_depth", "stem_space_to_depth_16")
"""Rewrites whose auxiliary nodes are also known by their names, where a tool has dropped the metadata."""


def made_by(node: onnx.NodeProto) -> str | None:
    """The rewrite that made an auxiliary node: one that stands for no layer of the source.

    A convolution that carries on for one of the source's (with a BatchNorm folded in, or behind a space-to-depth)
    keeps the source's name and is not auxiliary: it is quantized and proved like any other.
    """
    found = next((str(entry.value) for entry in node.metadata_props if entry.key == METADATA_KEY), None)
    if found is not None:
        return found
    parts = node.name.split("/")
    return next((name for name in _AUXILIARY if name in parts[1:]), None)


@dataclass(frozen=True)
class RewriteResult:
    """What a rewrite made.

    Attributes:
        model: a new model, or the source itself where nothing was changed.
        sites: where it was applied.
    """

    model: onnx.ModelProto
    sites: tuple[Site, ...]

    @property
    def modified(self) -> bool:
        """Whether anything changed."""
        return bool(self.sites)


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


class Rewrite(ABC):
    """A rewrite; each is one object of a class of its own, listed in :mod:`trtkit.graph.rewrites`.

    Attributes:
        name: what users call it.
        summary: what it does, one sentence.
        gains: what it is expected to gain, and where.
        changes_interface: whether inputs or outputs of the model change; such a rewrite is applied only when asked for.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    gains: ClassVar[str]
    changes_interface: ClassVar[bool] = False

    @abstractmethod
    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """Every place of the main graph where the rewrite applies. Edits may overlap: the first one wins."""

    def find(self, model: onnx.ModelProto) -> tuple[Site, ...]:
        """The sites in a model, which is not changed. Applying the rewrite may open up more."""
        return tuple(edit.site for edit in self._separate(GraphView(model), None))

    def apply(self, model: onnx.ModelProto, *, only: Collection[str] | None = None) -> RewriteResult:
        """Apply the rewrite until it finds nothing more.

        Args:
            model: prepared, weights inside; it is not changed.
            only: names of anchors; ``None`` takes every site.

        Raises:
            ModelError: shape inference finds a contradiction in the model.
        """
        if not self._separate(GraphView(model), only):
            return RewriteResult(model, ())
        result = onnx.ModelProto()
        result.CopyFrom(model)
        sites: list[Site] = []
        while edits := self._separate(GraphView(result), only):
            sites += [edit.site for edit in edits]
            _perform(result, edits)
        return RewriteResult(result, tuple(sites))

    def _separate(self, graph: GraphView, only: Collection[str] | None) -> list[Edit]:
        """Edits that share no node, in order."""
        touched: set[int] = set()
        chosen = []
        for edit in self.edits(graph):
            places = {graph.position(node) for node in (edit.anchor, *edit.removed)}
            if (only is None or edit.anchor.name in only) and not places & touched:
                touched |= places
                chosen.append(edit)
        return chosen


def _perform(model: onnx.ModelProto, edits: Sequence[Edit]) -> None:
    """Write edits that share no node into the graph they were found in."""
    graph, view = model.graph, edits[0].graph
    removed = {view.position(node) for edit in edits for node in edit.removed}
    released = {name for position in removed for name in needs(view.nodes[position])}
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
        if model.ir_version < 4:  # every initializer had to be a graph input, too
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
