"""A convolution of few groups as one convolution a group: Split, convolutions, Concat.

In a convolution of g groups output channels [i·M/g, (i+1)·M/g) depend on input channels [i·C/g, (i+1)·C/g) only, with
the same rows of the weights: that is what the parts compute.

Conditions: 2 to 4 groups, stored weights, a fixed number of channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView, attributes_of
from trtkit.graph.rewrites.windows import set_attribute

__all__ = ["SplitGroups"]

_MOST = 4


class SplitGroups(Rewrite):
    """See the module."""

    name = "split_groups"
    summary = "a convolution of 2 to 4 groups as as many convolutions between Split and Concat"
    gains = "GPU: AlexNet 17 % slower on Hopper; only where it was measured"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.of_type("Conv"):
            groups = int(attributes_of(node).get("group", 1))
            weights = graph.floats(node.input[1])
            biased = len(node.input) > 2 and bool(node.input[2])
            bias = graph.floats(node.input[2]) if biased else None
            if not 2 <= groups <= _MOST or weights is None or (biased and bias is None):
                continue
            edit = Edit(graph, self.name, node, [node], f"{groups} groups")
            name = edit.add("Split", [node.input[0]], "split", axis=1)
            split, sizes = edit.made[-1], [weights.shape[1]] * groups
            if graph.opset < 13:
                split.attribute.append(onnx.helper.make_attribute("split", sizes))
            else:
                split.input.append(edit.tensor(f"{name}/sizes", np.array(sizes, np.int64)))
            split.output[:] = [graph.fresh(f"{name}/{index}") for index in range(groups)]
            parts = []
            for index, (rows, source) in enumerate(zip(np.split(weights, groups), split.output, strict=True)):
                inputs = [source, edit.tensor(f"{node.input[1]}/group_{index}", rows)]
                if bias is not None:
                    inputs.append(edit.tensor(f"{node.input[2]}/group_{index}", np.split(bias, groups)[index]))
                part = graph.fresh(f"{node.name}/group_{index}")
                made = edit.carry_on(node, inputs, output=part)
                made.name = part
                set_attribute(made, "group", None)
                parts.append(part)
            edit.add("Concat", parts, "concat", output=str(node.output[0]), axis=1)
            yield edit
