"""Nodes whose results nobody reads, removed, and the weights that only they read.

The outputs of a graph do not depend on them. Operators of other domains stay: they may do more than compute.
"""

from __future__ import annotations

from collections.abc import Iterator

from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView

__all__ = ["RemoveDead"]


class RemoveDead(Rewrite):
    """See the module."""

    name = "remove_dead"
    summary = "nodes without readers removed, with their weights"
    gains = "a smaller file; engines skip them anyway"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.nodes:
            read = any(name in graph.users or graph.is_visible(name) for name in node.output if name)
            if not read and node.domain in ("", "ai.onnx"):
                yield Edit(graph, self.name, node, [node], f"nobody reads {', '.join(filter(None, node.output))}")
