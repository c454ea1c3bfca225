"""The rules by which nodes and tensors are quantized, each with a stable id, and their application to a graph.

Source of the rules: TensorRT developer guide, "Q/DQ layer-placement recommendations"; what TensorRT-RTX 1.7.1 makes of
them is measured by ``tests/perf/qdq_layers.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import onnx

from trtkit.errors import ModelError
from trtkit.graph.quantizable import (
    AVERAGING,
    EPILOGUE,
    MOVING,
    NORMALIZING,
    PASSING,
    WEIGHTED,
    GraphIndex,
    weight_axis,
)
from trtkit.graph.recipe import Recipe
from trtkit.graph.residual import residual_input
from trtkit.graph.rewrites.base import made_by
from trtkit.graph.tree import node_text
from trtkit.quant import QuantType

__all__ = ["RULES", "Decision", "Placer"]

_FP8_WINDOW = 32  # 5×5 runs in FP8 and 7×7 does not, whatever channels and stride; TensorRT 10's release notes say 32

RULES: dict[str, str] = {
    "Q1-weighted": "activation and weights are quantized; the bias stays float",
    "Q2-passes": "every number of its output is one of its input: it passes quantized numbers on, with one scale",
    "Q3-residual": "its residual input is quantized; the convolution's branch is added before it is rounded",
    "Q4-concat": "its inputs and its output have one scale, so that it only moves numbers",
    "M1-moves": "moves numbers; the Q behind it commutes with it, so the engine quantizes before moving",
    "M2-concat-unequal": "an input is quantized for other readers with a scale of its own, and is read in float here",
    "F1-normalizes": "squares, exponentials or quotients need float",
    "F2-averages": "averaging does not commute with rounding; cheap in float",
    "F3-epilogue": "computed in float inside the kernel of its neighbour; no Q/DQ between a product and its activation",
    "F4-no-weights": "its weights are not stored in the model",
    "F5-excluded": "left out by the recipe",
    "F6-small": "too few channels to gain",
    "F7-tied": "its weights are stored once and used in two layouts",
    "F8-float-readers": "only moves numbers, and what reads them wants float",
    "F9-other": "no rule quantizes this operator",
    "F10-fp8-window": "TensorRT has FP8 convolutions for windows of up to 32 elements",
    "F11-fp8-pool": "TensorRT has no FP8 pooling, so it reads and writes float",
    "F12-transposed": "TensorRT-RTX has no quantized deconvolution and would dequantize its weights in every run",
    "F13-rewrite": "a rewrite made it for arithmetic that needs float; it stands for no layer of the source",
}
"""Every rule by its stable id. Q rules quantize, M rules move, F rules leave float."""


@dataclass(frozen=True)
class Decision:
    """What was decided about one node.

    Attributes:
        node, op_type: its name and operator.
        quantized: whether it reads quantized inputs.
        rule: the id of the rule, a key of :data:`RULES`.
        why: the rule in words, with what is particular about this node.
    """

    node: str
    op_type: str
    quantized: bool
    rule: str
    why: str


@dataclass
class Placer:
    """One run of the rules over a graph.

    Attributes:
        graph, recipe, dtype: what is decided about, the user's say in it, and the quantized type.
        decided: node name → decision; every node of the main graph has one after :meth:`run`.
        readers: tensor that gets a pair → (node name, input index) of the readers of that pair.
        weights: constant → its output channels' dimension.
        weight_users: constant → (node name, input index) of the nodes that read it quantized.
    """

    graph: GraphIndex
    recipe: Recipe
    dtype: QuantType
    decided: dict[str, Decision] = field(default_factory=dict)
    readers: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    weight_users: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    _groups: list[set[str]] = field(default_factory=list)

    def run(self) -> None:
        """Apply the rules: products first, then what depends on them, readers before makers.

        Raises:
            ModelError: nothing can be quantized.
        """
        for node in self.graph.nodes:
            if node.op_type in WEIGHTED:
                self._weighted(node)
        if not self.readers:
            reasons = sorted({f"{d.op_type}: {d.why}" for d in self.decided.values()})
            reasons = reasons or [f"it has no {', '.join(WEIGHTED)}"]
            raise ModelError(
                f"Nothing in the model can be quantized: {'; '.join(reasons[:3])}.",
                hint="Use --precision fp16, or look at the reasons with trtkit calibrate --explain.",
            )
        if self.recipe.residual:
            for node in self.graph.nodes:
                if node.op_type == "Add" and self.recipe.excluded(node.name, node.op_type) is None:
                    self._residual(node)
        for node in reversed(self.graph.nodes):
            if self._passes(node):
                self._passing(node)
            elif node.op_type == "Concat":
                self._concat(node)
        for node in self.graph.nodes:
            if node.name not in self.decided:
                self._leave(node)

    def _decide(self, node: onnx.NodeProto, rule: str, particular: str = "") -> None:
        why = f"{RULES[rule]}: {particular}" if particular else RULES[rule]
        self.decided[node.name] = Decision(node.name, node.op_type, rule[0] == "Q", rule, why)

    def _read(self, node: onnx.NodeProto, position: int) -> None:
        self.readers.setdefault(node.input[position], set()).add((node.name, position))

    def _weighted(self, node: onnx.NodeProto) -> None:
        entry = self.recipe.excluded(node.name, node.op_type)
        activation, weight = node.input[0], node.input[1]
        stored = self.graph.constants.get(weight)
        window = math.prod(stored.dims[2:]) if stored is not None and node.op_type.startswith("Conv") else 1
        if entry is not None:
            self._decide(node, "F5-excluded", f"it matches {entry!r}")
        elif (rewrite := made_by(node)) is not None:
            self._decide(node, "F13-rewrite", rewrite)
        elif stored is None:
            maker = self.graph.makers.get(weight)
            by = f"{weight!r} is " + (f"made by {node_text(maker)}" if maker is not None else "an input of the model")
            self._decide(node, "F4-no-weights", by)
        elif self.graph.is_constant(activation) or len(stored.dims) < 2:
            self._decide(node, "F4-no-weights", f"{weight!r} is no matrix of weights for a computed activation")
        elif stored.data_type != onnx.TensorProto.FLOAT or not self.graph.is_float32(activation):
            self._decide(node, "F9-other", "only float32 is quantized (the rest is made float16 afterwards)")
        elif node.op_type == "ConvTranspose" and not self.recipe.included(node.name, node.op_type):
            self._decide(node, "F12-transposed", "include it for TensorRT, which has one")
        elif self._is_small(node, stored) and not self.recipe.included(node.name, node.op_type):
            self._decide(node, "F6-small", f"fewer than {self.recipe.smallest_channels}")
        elif self.dtype == "fp8" and window > _FP8_WINDOW and not self.recipe.included(node.name, node.op_type):
            self._decide(node, "F10-fp8-window", f"{window} here")
        else:
            axis = weight_axis(node, len(stored.dims))
            if self.weights.setdefault(weight, axis) != axis:
                self._decide(node, "F7-tied", f"{weight!r}")
                return
            self._read(node, 0)
            self.weight_users.setdefault(weight, []).append((node.name, 1))
            self._decide(node, "Q1-weighted", f"weights per channel along axis {axis}")

    def _is_small(self, node: onnx.NodeProto, weight: onnx.TensorProto) -> bool:
        group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        outputs, inputs = weight.dims[0], weight.dims[1]
        return node.op_type == "Conv" and bool(min(outputs // group, inputs) < self.recipe.smallest_channels)

    def _residual(self, node: onnx.NodeProto) -> None:
        products = {name for name, decision in self.decided.items() if decision.rule == "Q1-weighted"}
        position = residual_input(self.graph, node, products)
        if position is not None:
            self._read(node, position)
            self._decide(node, "Q3-residual", f"input {position}, {node.input[position]!r}")

    def _passing(self, node: onnx.NodeProto) -> None:
        source, target = node.input[0], node.output[0]
        if self.recipe.excluded(node.name, node.op_type) is not None or source not in self.readers:
            return
        if any(name in self.graph.users or name in self.graph.outputs for name in node.output[1:]):
            return  # positions of maxima: rounding makes ties
        if self._wanted(target) and self.graph.is_float32(source):
            self._read(node, 0)
            self._decide(node, "Q2-passes")
            self._groups.append({source, *self._pairs_behind(target)})

    def _passes(self, node: onnx.NodeProto) -> bool:
        return node.op_type in PASSING and not (self.dtype == "fp8" and node.op_type == "MaxPool")

    def _wanted(self, name: str) -> bool:
        """Whether every reader of a tensor reads it quantized, or passes it on to such readers."""
        users = self.graph.users.get(name, [])
        if name in self.readers:
            return True
        if not users or name in self.graph.outputs or name in self.graph.captured:
            return False
        return all(self._passes(user) and at == 0 and self._wanted(user.output[0]) for user, at in users)

    def _pairs_behind(self, name: str) -> set[str]:
        if name in self.readers:
            return {name}
        return {pair for user, _ in self.graph.users.get(name, []) for pair in self._pairs_behind(user.output[0])}

    def _concat(self, node: onnx.NodeProto) -> None:
        if not self._wanted(node.output[0]) or self.recipe.excluded(node.name, node.op_type) is not None:
            return
        double = [position for position, name in enumerate(node.input) if name in self.readers]
        if double and self.recipe.share_concat:
            for position in double:
                self._read(node, position)
            self._groups.append({*self._pairs_behind(node.output[0]), *(node.input[i] for i in double)})
            self._decide(node, "Q4-concat")
        elif double:
            self._decide(node, "M2-concat-unequal", ", ".join(repr(node.input[position]) for position in double))

    def _leave(self, node: onnx.NodeProto) -> None:
        entry = self.recipe.excluded(node.name, node.op_type)
        if entry is not None:
            self._decide(node, "F5-excluded", f"it matches {entry!r}")
        elif node.op_type == "MaxPool" and self.dtype == "fp8":
            self._decide(node, "F11-fp8-pool")
        elif node.op_type in MOVING and any(self._wanted(name) for name in node.output if name):
            self._decide(node, "M1-moves")
        elif node.op_type in MOVING:
            self._decide(node, "F8-float-readers")
        elif node.op_type in NORMALIZING:
            self._decide(node, "F1-normalizes")
        elif node.op_type in AVERAGING:
            self._decide(node, "F2-averages")
        elif node.op_type in EPILOGUE and (rewrite := made_by(node)) is not None:
            self._decide(node, "F13-rewrite", rewrite)
        elif node.op_type in EPILOGUE:
            self._decide(node, "F3-epilogue")
        else:
            self._decide(node, "F9-other")

    def groups(self, tensors: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Tensors that must have one scale, in the order of ``tensors``. Groups that overlap are one."""
        merged: list[set[str]] = []
        for group in self._groups:
            touching = [other for other in merged if other & group]
            merged = [other for other in merged if not other & group]
            merged.append(group.union(*touching))
        ordered = (tuple(name for name in tensors if name in group) for group in merged if len(group) > 1)
        return tuple(sorted(ordered, key=lambda group: tensors.index(group[0])))
