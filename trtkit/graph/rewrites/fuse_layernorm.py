"""A LayerNormalization that an exporter spelt out, as the one operator that ONNX has had since opset 17.

    d = x − mean(x),   y = d / √(mean(d²) + ε) · γ + β,   means over the last axis

is ONNX's definition of LayerNormalization with axis −1. Spelt out it squares, so that in float16 five of its nine nodes
would have to stay float32 with Casts around them; the operator computes its inner steps in float32 by definition
(``stash_type``) while its input and output are float16.

Conditions: float32, stored ε, γ and β of the last axis' fixed size, inner tensors without other readers. A model of an
older opset is brought to 17; where onnx cannot do that, it is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx

from trtkit.errors import ModelError
from trtkit.graph.opset import at_least
from trtkit.graph.rewrites.base import Edit, Rewrite, RewriteResult, Site
from trtkit.graph.rewrites.view import GraphView, attributes_of

__all__ = ["FuseLayernorm"]

_OPSET = 17


class FuseLayernorm(Rewrite):
    """See the module."""

    name = "fuse_layernorm"
    summary = "mean, difference, square, mean, root, quotient, γ and β as LayerNormalization"
    gains = "FP16: no float32 islands and Casts in transformers; to be measured"

    def find(self, model: onnx.ModelProto) -> tuple[Site, ...]:
        """See :meth:`Rewrite.find`."""
        return super().find(model) if self._raised(model) is not None else ()

    def apply(self, model: onnx.ModelProto, *, only: Collection[str] | None = None) -> RewriteResult:
        """See :meth:`Rewrite.apply`."""
        if not super().find(model):
            return RewriteResult(model, ())
        raised = self._raised(model)
        result = super().apply(raised, only=only) if raised is not None else None
        return result if result is not None and result.modified else RewriteResult(model, ())

    def _raised(self, model: onnx.ModelProto) -> onnx.ModelProto | None:
        """The model at an opset that has the operator; ``None`` where onnx cannot bring it there."""
        if GraphView(model).opset >= _OPSET:
            return model
        raised = onnx.ModelProto()
        raised.CopyFrom(model)
        try:
            return at_least(raised, _OPSET)
        except ModelError:
            return None

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.of_type("Add"):
            for product, beta in (node.input, reversed(node.input)):
                edit = self._edit(graph, node, product, beta)
                if edit is not None:
                    yield edit
                    break

    def _edit(self, graph: GraphView, node: onnx.NodeProto, product: str, beta: str) -> Edit | None:
        scaled = graph.maker(product, "Mul")
        if scaled is None or graph.types.get(product) != int(onnx.TensorProto.FLOAT):
            return None
        for quotient, gamma in (scaled.input, reversed(scaled.input)):
            division = graph.maker(quotient, "Div")
            found = _normalized(graph, division) if division is not None else None
            if division is None or found is None:
                continue
            source, epsilon, inner = found
            shape = graph.shape(source)
            if shape is None or not all(_is_vector(graph, name, shape[-1]) for name in (gamma, beta)):
                continue
            edit = Edit(graph, self.name, node, [*inner, division, scaled, node], f"over {shape[-1]} numbers")
            output = str(node.output[0])
            edit.add("LayerNormalization", [source, gamma, beta], "norm", output=output, axis=-1, epsilon=epsilon)
            return edit
        return None


def _is_vector(graph: GraphView, name: str, size: object) -> bool:
    values = graph.floats(name)
    return values is not None and values.shape == (size,)


def _normalized(graph: GraphView, division: onnx.NodeProto) -> tuple[str, float, list[onnx.NodeProto]] | None:
    """x, ε and the nodes before the division of (x − mean) / √(mean((x − mean)²) + ε)."""
    root = graph.maker(division.input[1], "Sqrt")
    inside = graph.maker(root.input[0], "Add") if root is not None else None
    difference = graph.makers.get(division.input[0])
    if root is None or inside is None or difference is None or difference.op_type != "Sub":
        return None
    centre = graph.maker(difference.input[1], "ReduceMean")
    if centre is None or centre.input[0] != difference.input[0] or not _over_last(graph, centre):
        return None
    for mean, number in (inside.input, reversed(inside.input)):
        variance, epsilon = graph.maker(mean, "ReduceMean"), graph.floats(number)
        if variance is None or epsilon is None or epsilon.size != 1 or not graph.keeps_rank(epsilon, mean):
            continue
        if not _over_last(graph, variance):
            continue
        square = graph.maker(variance.input[0], "Pow", "Mul")
        if square is None or not _is_square(graph, square, division.input[0]):
            continue
        readers = {id(user) for user in graph.users[division.input[0]]}
        if readers == {id(square), id(division)} and not graph.is_visible(division.input[0]):
            inner = [centre, difference, square, variance, inside, root]
            return str(centre.input[0]), float(epsilon.reshape(-1)[0]), inner
    return None


def _is_square(graph: GraphView, node: onnx.NodeProto, name: str) -> bool:
    if node.op_type == "Mul":
        return list(node.input) == [name, name]
    power = graph.floats(node.input[1])
    if power is None or power.size != 1 or not graph.keeps_rank(power, name):
        return False
    return node.input[0] == name and float(power.reshape(-1)[0]) == 2.0


def _over_last(graph: GraphView, node: onnx.NodeProto) -> bool:
    given, shape = attributes_of(node), graph.shape(node.input[0])
    axes = given.get("axes")
    if len(node.input) > 1 and node.input[1]:
        axes = graph.integers(node.input[1])
    if not shape or not axes or not given.get("keepdims", 1):
        return False
    return list(axes) in ([-1], [len(shape) - 1])
