"""The first fully connected layer as a convolution whose window is the whole map.

Flatten puts pixel (c, h, w) of a C×H×W map at c·H·W + h·W + w, so y[m] = Σ W[m, chw]·x[chw] + b[m] is a convolution
with the weights W[m] reshaped to C×H×W, at its only position. Flatten comes behind it, of an M×1×1 map.

Conditions: Flatten at axis 1, or a Reshape to one row an image, of a fixed C×H×W with H·W > 1; a Gemm with stored
weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView, attributes_of

__all__ = ["FcAsConv"]


class FcAsConv(Rewrite):
    """See the module."""

    name = "fc_as_conv"
    summary = "Flatten and Gemm as a convolution over the whole map and a Flatten of single pixels"
    gains = "to be measured: it spares the change of layout before the first fully connected layer (AlexNet, VGG)"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.of_type("Gemm"):
            flat = graph.maker(node.input[0], "Flatten", "Reshape")
            edit = self._edit(graph, node, flat) if flat is not None else None
            if edit is not None:
                yield edit

    def _edit(self, graph: GraphView, node: onnx.NodeProto, flat: onnx.NodeProto) -> Edit | None:
        shape, given, weights = graph.shape(flat.input[0]), attributes_of(node), graph.floats(node.input[1])
        sizes = graph.sizes(flat.input[0], 1)
        biased = len(node.input) > 2 and bool(node.input[2])
        bias = graph.floats(node.input[2]) if biased else None
        if shape is None or len(shape) != 4 or sizes is None or sizes[1] * sizes[2] < 2 or weights is None:
            return None
        if given.get("transA", 0) or not _one_row_each(graph, flat, sizes) or (biased and bias is None):
            return None
        matrix = weights if given.get("transB", 0) else weights.T
        kernel = (matrix * np.asarray(given.get("alpha", 1.0), weights.dtype)).reshape(-1, *sizes)
        edit = Edit(graph, self.name, node, [flat, node], f"window {sizes[1]}×{sizes[2]} over {sizes[0]} channels")
        inputs = [flat.input[0], edit.tensor(f"{node.input[1]}/{self.name}", kernel)]
        if bias is not None:
            if bias.size not in (1, len(kernel)) or (bias.ndim > 1 and bias.shape[-1] != bias.size):
                return None
            offsets = np.broadcast_to(bias.reshape(-1) * np.asarray(given.get("beta", 1.0), bias.dtype), len(kernel))
            inputs.append(edit.tensor(f"{node.input[2]}/{self.name}", offsets))
        made = edit.carry_on(node, inputs, op_type="Conv", output=graph.fresh(f"{node.output[0]}/{self.name}"))
        del made.attribute[:]
        made.attribute.append(onnx.helper.make_attribute("kernel_shape", list(sizes[1:])))
        edit.add("Flatten", [made.output[0]], "flatten", output=str(node.output[0]), axis=1)
        return edit


def _one_row_each(graph: GraphView, flat: onnx.NodeProto, sizes: tuple[int, ...]) -> bool:
    """Whether a node makes N×(C·H·W) of N×C×H×W."""
    if flat.op_type == "Flatten":
        return attributes_of(flat).get("axis", 1) in (1, -3)
    target, batch = graph.integers(flat.input[1]), graph.shape(flat.input[0])
    if target is None or len(target) != 2 or batch is None:
        return False
    whole = int(np.prod(sizes))
    return (target[0] in (0, batch[0]) and target[1] in (-1, whole)) or (target[0] == -1 and target[1] == whole)
