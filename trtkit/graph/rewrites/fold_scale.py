"""Mul, Div, Add and Sub by stored numbers, one for each channel or one for all, folded into the product beside them.

The steps, formulas and conditions: :mod:`trtkit.graph.rewrites.affine`. Normalisations that exporters put in front
of the first convolution disappear this way, as far as its padding allows: x·a always, x + d only without padding.
"""

from __future__ import annotations

from collections.abc import Iterator

from trtkit.graph.rewrites.affine import ARITHMETIC, affine_of, into_maker, into_reader
from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView

__all__ = ["FoldScale"]


class FoldScale(Rewrite):
    """See the module."""

    name = "fold_scale"
    summary = "Mul, Div, Add, Sub by a stored number a channel folded into the Conv, ConvTranspose or Gemm beside them"
    gains = "an elementwise pass over the tensor less, where the engine does not fuse it into the product"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.of_type(*ARITHMETIC):
            step = affine_of(graph, node)
            edit = None
            if step is not None:
                edit = into_maker(graph, self.name, node, step) or into_reader(graph, self.name, node, step)
            if edit is not None:
                yield edit
