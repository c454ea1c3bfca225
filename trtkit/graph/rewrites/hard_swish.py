"""Hard-swish and hard-sigmoid that an exporter spelt out, as one HardSigmoid and at most one Mul.

ONNX's HardSigmoid is max(0, min(1, α·x + β)). With α = 1/6 and β = 1/2

    clip(x + 3, 0, 6) / 6 = max(0, min(6, x + 3)) / 6 = max(0, min(1, x/6 + 1/2)),

and hard-swish is x times that, whether the division comes before or behind the multiplication. It stays two nodes
(ONNX has a HardSwish from opset 14 on, which runtimes take apart into these two again).

Conditions: stored numbers 3, 0, 6 and 6 (or a factor of 1/6) that give the result no further dimensions, float32 or
float16, inner tensors without other readers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView, attributes_of

__all__ = ["HardSwish"]


class HardSwish(Rewrite):
    """See the module."""

    name = "hard_swish"
    summary = "x·clip(x + 3, 0, 6)/6 and clip(x + 3, 0, 6)/6 as HardSigmoid, with a Mul for the former"
    gains = "CPU: two passes over the tensor less; TensorRT-RTX fuses the spelt-out form better"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.of_type("Div", "Mul"):
            inner = _sixth(graph, node)
            if inner is None:
                continue
            found = _clipped(graph, inner)
            product = graph.maker(inner, "Mul")
            if found is not None:
                source, removed = found
                edit = Edit(graph, self.name, node, [*removed, node], "hard-sigmoid")
                self._sigmoid(edit, source, str(node.output[0]))
                yield edit
            elif product is not None:
                for source, other in (product.input, reversed(product.input)):
                    found = _clipped(graph, other)
                    if found is not None and found[0] == source:
                        edit = Edit(graph, self.name, node, [*found[1], product, node], "hard-swish")
                        gate = self._sigmoid(edit, source, None)
                        edit.carry_on(product, [source, gate], output=str(node.output[0]))
                        yield edit
                        break

    def _sigmoid(self, edit: Edit, source: str, output: str | None) -> str:
        return edit.add("HardSigmoid", [source], "gate", output=output, alpha=1 / 6, beta=0.5)


def _number(graph: GraphView, name: str, beside: str = "") -> float | None:
    """A stored single number; of no more dimensions than the tensor ``beside`` it, which would be given them."""
    values = graph.floats(name) if name else None
    if values is None or values.size != 1 or (beside and not graph.keeps_rank(values, beside)):
        return None
    return float(values.reshape(-1)[0])


def _operand(graph: GraphView, node: onnx.NodeProto, number: float) -> str | None:
    """The other operand of an Add or Mul with a stored ``number``."""
    for position in (0, 1):
        found = _number(graph, node.input[1 - position], node.input[position])
        if found is not None and np.isclose(found, number, rtol=1e-3 if _is_half(graph, node) else 1e-6):
            return str(node.input[position])
    return None


def _is_half(graph: GraphView, node: onnx.NodeProto) -> bool:
    return graph.types.get(node.output[0]) == int(onnx.TensorProto.FLOAT16)


def _sixth(graph: GraphView, node: onnx.NodeProto) -> str | None:
    """x of x/6 or x·(1/6)."""
    if not graph.is_float(node.output[0]):
        return None
    if node.op_type == "Div":
        return str(node.input[0]) if _number(graph, node.input[1], node.input[0]) == 6.0 else None
    return _operand(graph, node, 1 / 6)


def _clipped(graph: GraphView, name: str) -> tuple[str, list[onnx.NodeProto]] | None:
    """x and the nodes of clip(x + 3, 0, 6)."""
    clip = graph.maker(name, "Clip")
    if clip is None:
        return None
    given = attributes_of(clip)
    if graph.opset < 11:
        bounds = (given.get("min"), given.get("max"))
    else:
        ends = [*clip.input[1:], "", ""]
        bounds = (_number(graph, ends[0]), _number(graph, ends[1]))
    add = graph.maker(clip.input[0], "Add")
    if bounds != (0.0, 6.0) or add is None:
        return None
    source = _operand(graph, add, 3.0)
    return (source, [add, clip]) if source is not None else None
