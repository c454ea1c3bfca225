"""BatchNormalization folded into the convolution or matrix product beside it.

In inference it computes γ·(x − mean)/√(variance + ε) + β for each channel: a scale a = γ/√(variance + ε) and a shift
d = β − a·mean. How a product takes those in, and under which conditions: :mod:`trtkit.graph.rewrites.affine`.
"""

from __future__ import annotations

from collections.abc import Iterator

from trtkit.graph.rewrites.affine import affine_of, into_maker, into_reader
from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView

__all__ = ["FoldBatchnorm"]


class FoldBatchnorm(Rewrite):
    """See the module."""

    name = "fold_batchnorm"
    summary = "BatchNormalization folded into the weights of the Conv, ConvTranspose or Gemm before or behind it"
    gains = "nothing where the engine folds it itself, as all do behind a Conv; a kernel less elsewhere"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.of_type("BatchNormalization"):
            step = affine_of(graph, node)
            edit = None
            if step is not None:
                edit = into_maker(graph, self.name, node, step) or into_reader(graph, self.name, node, step)
            if edit is not None:
                yield edit
