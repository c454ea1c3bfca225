"""What a rewrite is: a function from a graph to a faster one that computes the same, found and applied site by site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx

from trtkit.artifacts.rewrites import Site
from trtkit.graph.rewrites.edit import METADATA_KEY, Edit, perform
from trtkit.graph.rewrites.view import GraphView

__all__ = ["METADATA_KEY", "Edit", "Rewrite", "RewriteResult", "Site", "made_by"]

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
        """Every place of the main graph where the rewrite applies. Edits may overlap: the first one wins.

        The others are looked for again in what it leaves.
        """

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
            perform(result, edits)
        return RewriteResult(result, tuple(sites))

    def _separate(self, graph: GraphView, only: Collection[str] | None) -> list[Edit]:
        """Edits that share no node, in order; one that needs a tensor which another takes away waits for its turn."""
        touched: set[int] = set()
        relied_on: set[str] = set()
        gone: set[str] = set()
        chosen = []
        for edit in self.edits(graph):
            places = {graph.position(node) for node in (edit.anchor, *edit.removed)}
            if (only is not None and edit.anchor.name not in only) or places & touched:
                continue
            if edit.relied_on & gone or edit.gone & relied_on:
                continue
            touched |= places
            relied_on |= edit.relied_on
            gone |= edit.gone
            chosen.append(edit)
        return chosen
