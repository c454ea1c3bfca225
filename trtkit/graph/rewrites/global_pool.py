"""A mean over the whole map as GlobalAveragePool.

AveragePool with a window that is the whole map and no padding, and ReduceMean over all axes behind the channels that
keeps them, are the same mean. Engines fuse the global form into the kernel before it: see
:mod:`trtkit.graph.global_average`.

Conditions: for AveragePool a fixed map; for ReduceMean images or volumes (a mean along one axis is part of a
LayerNorm), ``keepdims``, stored axes.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView, attributes_of
from trtkit.graph.rewrites.windows import window_of

__all__ = ["GlobalPool"]


class GlobalPool(Rewrite):
    """See the module."""

    name = "global_pool"
    summary = "AveragePool over the whole map, and ReduceMean over it, as GlobalAveragePool"
    gains = "TensorRT-RTX: a kernel less, and another one in INT8"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.of_type("AveragePool", "ReduceMean"):
            whole = _whole_map(graph, node) if node.op_type == "AveragePool" else _all_behind(graph, node)
            if whole and graph.is_float(node.input[0]):
                edit = Edit(graph, self.name, node, [node], f"{node.op_type} over the whole map")
                del edit.carry_on(node, node.input[:1], op_type="GlobalAveragePool").attribute[:]
                yield edit


def _whole_map(graph: GraphView, node: onnx.NodeProto) -> bool:
    sizes = graph.sizes(node.input[0], 2)
    window = window_of(node, sizes)
    if not sizes or window is None or window.kernel != sizes:
        return False
    # Rounding up may add windows that begin behind the first.
    return not window.padded and not window.ceil and all(step == 1 for step in window.dilations)


def _all_behind(graph: GraphView, node: onnx.NodeProto) -> bool:
    given, shape = attributes_of(node), graph.shape(node.input[0])
    axes = given.get("axes")
    if len(node.input) > 1 and node.input[1]:
        axes = graph.integers(node.input[1])
    if shape is None or len(shape) < 4 or not axes or not given.get("keepdims", 1):
        return False
    return sorted(axis % len(shape) for axis in axes) == list(range(2, len(shape)))
