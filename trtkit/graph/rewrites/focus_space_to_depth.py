"""A "focus" stem (every s-th pixel from each of s² starting points, concatenated) as SpaceToDepth.

Slices x[:, :, a::s, b::s] for all 0 ≤ a, b < s, concatenated along the channels, hold pixel (s·i + a, s·j + b) of
channel c at position (i, j) of channel k(a, b)·C + c, where k is the order of concatenation. SpaceToDepth with block s
puts the same pixel at the same position of channel (a·s + b)·C + c. The convolution behind it gets its input channels
reordered alike.

Conditions: height and width fixed multiples of s; Slices with stored numbers; a convolution of one group with stored
weights as the only reader.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView, attributes_of

__all__ = ["FocusSpaceToDepth"]

Start = dict[int, tuple[int, int]]  # axis → start and step


class FocusSpaceToDepth(Rewrite):
    """See the module."""

    name = "focus_space_to_depth"
    summary = "strided Slices and their Concat in front of a convolution as SpaceToDepth (YOLOv5, YOLOX)"
    gains = "CPU: nine passes over the image become one; GPU: nothing where the engine fuses the slices"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.of_type("Conv"):
            concat, weights = graph.maker(node.input[0], "Concat"), graph.floats(node.input[1])
            if concat is None or weights is None or attributes_of(node).get("group", 1) != 1:
                continue
            edit = self._edit(graph, node, concat, weights)
            if edit is not None:
                yield edit

    def _edit(self, graph: GraphView, node: onnx.NodeProto, concat: onnx.NodeProto, weights: np.ndarray) -> Edit | None:
        chains = [found for name in concat.input if (found := _strided(graph, name)) is not None]
        block = round(len(chains) ** 0.5)
        shape = graph.shape(chains[0][0]) if chains else None
        if shape is None or len(shape) != 4 or attributes_of(concat)["axis"] not in (1, -3):
            return None
        channels, *size = shape[1:]
        if block < 2 or block**2 != len(concat.input) or len(chains) != len(concat.input):
            return None
        if not all(isinstance(side, int) and side % block == 0 for side in size) or not isinstance(channels, int):
            return None
        starts = [(start.get(2, (0, 1)), start.get(3, (0, 1))) for _, start, _ in chains]
        places = [row[0] * block + column[0] for row, column in starts]
        if any(row[1] != block or column[1] != block for row, column in starts) or sorted(places) != list(
            range(block**2)
        ):
            return None
        if len({source for source, _, _ in chains}) != 1 or any(set(start) != {2, 3} for _, start, _ in chains):
            return None
        moved = np.empty_like(weights)
        for order, place in enumerate(places):
            moved[:, place * channels : (place + 1) * channels] = weights[:, order * channels : (order + 1) * channels]
        gone = [concat, node]
        for slices in [item for _, _, nodes in chains for item in nodes]:
            if slices not in gone:
                gone.append(slices)
        edit = Edit(graph, self.name, node, gone, f"block {block} of {channels} channels")
        inner = {id(item) for item in gone}
        visible = [name for item in gone[2:] for name in item.output if graph.is_visible(name)]
        readers = [user for item in gone[2:] for name in item.output for user in graph.users.get(name, [])]
        if visible or any(id(user) not in inner for user in readers):
            return None
        deep = edit.add("SpaceToDepth", [chains[0][0]], "space_to_depth", blocksize=block)
        stored = edit.tensor(f"{node.input[1]}/{self.name}", moved)
        edit.carry_on(node, [deep, stored, *node.input[2:]])
        return edit


def _strided(graph: GraphView, name: str) -> tuple[str, Start, list[onnx.NodeProto]] | None:
    """The tensor that one or two Slices in a row begin with, where they start along each axis, and the Slices."""
    starts: Start = {}
    nodes: list[onnx.NodeProto] = []
    while (node := graph.makers.get(name)) is not None and node.op_type == "Slice" and graph.opset >= 10:
        found = _starts(graph, node)
        if found is None or set(found) & set(starts):
            return None
        starts |= found
        nodes.append(node)
        name = str(node.input[0])
    return (name, starts, nodes) if nodes else None


def _starts(graph: GraphView, node: onnx.NodeProto) -> Start | None:
    """Start and step of a Slice that goes to the end of each of its axes."""
    shape = graph.shape(node.input[0])
    numbers = [graph.integers(name) for name in node.input[1:] if name]
    if shape is None or len(numbers) != 4:
        return None
    starts, ends, axes, steps = ([] if item is None else item for item in numbers)
    found: Start = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=False):
        size = shape[axis % len(shape)]
        if not isinstance(size, int) or end < size or not 0 <= start < step:
            return None
        found[axis % len(shape)] = (start, step)
    return found or None
