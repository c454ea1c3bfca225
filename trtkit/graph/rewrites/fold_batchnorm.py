"""BatchNormalization, and Mul, Div, Add and Sub by stored numbers, folded into the product beside them.

In inference a BatchNormalization computes γ·(x − mean)/√(variance + ε) + β for each channel: a scale a = γ/√(variance
+ ε) and a shift d = β − a·mean. Arithmetic with one stored number a channel, or one for all, is the same kind of step.
How a product takes it in, and under which conditions: :mod:`trtkit.graph.rewrites.affine`.

Normalisations that exporters put in front of the first convolution disappear this way, as far as its padding allows:
x·a always, x + d only without padding.
"""

from __future__ import annotations

from collections.abc import Iterator

from trtkit.graph.rewrites.affine import ARITHMETIC, affine_of, into_maker, into_reader
from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView

__all__ = ["FoldBatchnorm"]


class FoldBatchnorm(Rewrite):
    """See the module."""

    name = "fold_batchnorm"
    summary = (
        "BatchNormalization, and Mul, Div, Add, Sub by a number a channel, folded into the weights of the Conv, "
        "ConvTranspose or Gemm beside it"
    )
    gains = (
        "TensorRT-RTX 1.7 keeps a BatchNorm as generated code in each convolution: folded, ResNet-50 has 57 layers "
        "instead of 63, torchvision's GoogLeNet 73 instead of 81; ONNX Runtime folds most itself"
    )

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.of_type("BatchNormalization", *ARITHMETIC):
            step = affine_of(graph, node)
            edit = None
            if step is not None:
                edit = into_maker(graph, self.name, node, step) or into_reader(graph, self.name, node, step)
            if edit is not None:
                yield edit
