"""Where Q/DQ pairs go, and for every node the rule that decided it.

One pair stands behind a tensor and is shared by all readers that want it, at the readers' side of a Concat and of a
MaxPool: so everything that meets in a Concat has one scale, and the engine moves the Q in front of it by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from trtkit.errors import ModelError
from trtkit.graph.placement_rules import RULES, Decision, Placer
from trtkit.graph.quantizable import MOVING, GraphIndex
from trtkit.graph.recipe import Recipe
from trtkit.graph.rewrites.base import made_by
from trtkit.graph.tree import every_node, node_text
from trtkit.quant import QuantType, largest

__all__ = ["RULES", "Decision", "Placement", "Recipe", "place", "refuse_quantized"]


@dataclass(frozen=True)
class Placement:
    """Where the pairs go.

    Attributes:
        dtype: ``int8`` or ``fp8``.
        decisions: one for every node of the main graph, in order.
        tensors: activations that get one pair each, in topological order: what calibration must observe.
        consumers: tensor → (node name, input index) of the readers of its pair; others read it in float.
        weights: constant → its output channels' dimension.
        weight_users: constant → (node name, input index) of the nodes that read it quantized.
        shared: groups of tensors that must have one scale.
        raw: those of ``tensors`` that hold the numbers of a graph input, which a rewrite may have moved and padded.
    """

    dtype: QuantType
    decisions: tuple[Decision, ...]
    tensors: tuple[str, ...]
    consumers: dict[str, tuple[tuple[str, int], ...]]
    weights: dict[str, int]
    weight_users: dict[str, tuple[tuple[str, int], ...]]
    shared: tuple[tuple[str, ...], ...] = ()
    raw: tuple[str, ...] = ()

    def explain(self) -> str:
        """For people: node, operator, decision, rule and particulars; what has one scale; then the rules in words."""
        rows = [("node", "operator", "", "rule", "")]
        rows += [
            (
                d.node,
                d.op_type,
                self.dtype if d.quantized else "moved" if d.rule[0] == "M" else "float",
                d.rule,
                d.why.removeprefix(RULES[d.rule]).removeprefix(": "),
            )
            for d in self.decisions
        ]
        widths = [min(limit, max(len(row[i]) for row in rows)) for i, limit in enumerate((40, 20, 5, 20))]
        lines = ["  ".join([*(_fit(c, w) for c, w in zip(row, widths, strict=False)), row[4]]).rstrip() for row in rows]
        lines += [f"one scale: {', '.join(group)}" for group in self.shared]
        used = {d.rule for d in self.decisions}
        wide = max(map(len, used), default=0)
        return "\n".join([*lines, "", *(f"{rule:{wide}}  {text}" for rule, text in RULES.items() if rule in used)])


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width // 2 - 1]}…{text[-(width - width // 2) :]}"


def place(model: onnx.ModelProto, recipe: Recipe | None = None, dtype: QuantType = "int8") -> Placement:
    """Decide where Q/DQ pairs go. The model is not changed.

    Args:
        model: a float32 model whose nodes have unique names.
        recipe: overrides of the rules.
        dtype: the quantized type; FP8 leaves large windows and pooling in float.

    Raises:
        ModelError: the model is quantized already, or nothing in it can be quantized.
        UsageError: an entry of the recipe matches no node.
    """
    largest(dtype)
    refuse_quantized(model)
    recipe = recipe or Recipe()
    recipe.check([(node.name, node.op_type) for node in model.graph.node])
    placer = Placer(GraphIndex(model), recipe, dtype)
    placer.run()
    nodes = placer.graph.nodes
    order = [*placer.graph.inputs, *(name for node in nodes for name in node.output)]
    tensors = tuple(name for name in order if name in placer.readers)
    index = {node.name: number for number, node in enumerate(nodes)}
    return Placement(
        dtype,
        tuple(placer.decided[node.name] for node in nodes),
        tensors,
        {
            name: tuple(sorted(placer.readers[name], key=lambda reader: (index[reader[0]], reader[1])))
            for name in tensors
        },
        dict(placer.weights),
        {name: tuple(users) for name, users in placer.weight_users.items()},
        placer.groups(tensors),
        tuple(name for name in tensors if _source(placer.graph, name) in placer.graph.inputs),
    )


def _source(graph: GraphIndex, name: str) -> str:
    """The tensor whose numbers ``name`` holds, behind what a rewrite put there to move and pad them."""
    while (maker := graph.makers.get(name)) is not None and maker.op_type in MOVING and made_by(maker) is not None:
        name = maker.input[0]
    return name


def refuse_quantized(model: onnx.ModelProto) -> None:
    """Raise for a model that quantizes already, whoever did it.

    Raises:
        ModelError: it has QuantizeLinear, DequantizeLinear, or operators on quantized tensors (QOperator format).
    """
    for node in every_node(model):
        if "QuantizeLinear" in node.op_type or "DequantizeLinear" in node.op_type:
            raise ModelError(
                f"The model is quantized already: it has {node_text(node)}.",
                hint="Give the float model to quantize; or build this one as it is, with convert and no --calibration.",
            )
        if node.op_type.startswith(("QLinear", "QGemm", "QAttention")) or node.op_type.endswith("Integer"):
            raise ModelError(
                f"The model is quantized already, with integer operators: it has {node_text(node)}.",
                hint="TensorRT has none of these: start from the float model.",
            )
