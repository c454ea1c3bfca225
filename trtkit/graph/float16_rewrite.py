"""Writing the float16 graph: one pass in topological order, Casts only where no tensor of the wanted type exists yet.

Each node is judged (``float16_rules``) and asks for its inputs in the type it needs. So neighbouring float32 islands
share one float32 tensor, without a Cast down and up again between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import helper

from trtkit.errors import ModelError
from trtkit.graph.float16_constants import WeightNote, write_constants
from trtkit.graph.float16_rules import Verdict, judge
from trtkit.graph.float16_types import FLOAT, FLOAT16, Scope, Slots, slots
from trtkit.graph.float16_weights import constant_of, fill_float16
from trtkit.graph.tree import every_graph, node_text, subgraphs

__all__ = ["KeptNode", "Rewriter"]

_T = onnx.TensorProto
_WHOLE = frozenset((_T.INT16, _T.UINT16, _T.INT32, _T.UINT32, _T.INT64, _T.UINT64))
_WORD = {FLOAT: "float32", FLOAT16: "float16"}


@dataclass(frozen=True)
class KeptNode:
    """A node that still computes in float32 (or float64), and why. ``name`` is its first output's where it has none."""

    name: str
    op_type: str
    reason: str


def _attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto | None:
    return next((attribute for attribute in node.attribute if attribute.name == name), None)


def _takes_any_type(node: onnx.NodeProto) -> bool:
    """Whether the node reads float16 and float32 alike, so that its input needs no Cast."""
    if node.op_type == "Cast":
        to = _attribute(node, "to")
        return to is not None and to.i != FLOAT
    return node.op_type in ("Shape", "Size")


class Rewriter:
    """Writes the float16 twin of a graph into ``result``.

    Args:
        result: gets the graph; it has its opsets already.
        bare: nodes and inferred types.
        keep_io: inputs and outputs stay float32.
        replaced: initializers of the main graph that take another value than in the source, and further ones.

    Attributes:
        changed: whether anything differs from the source.
        kept: nodes that stay in float32, in the order of the graph.
        notes: constants that deserve a word.
    """

    def __init__(
        self,
        result: onnx.ModelProto,
        bare: onnx.GraphProto,
        *,
        keep_io: bool,
        replaced: Mapping[str, onnx.TensorProto] | None = None,
    ) -> None:
        self.changed = False
        self.kept: list[KeptNode] = []
        self.notes: list[WeightNote] = []
        self._result = result
        self._bare = bare
        self._replaced = replaced or {}
        self._border = FLOAT if keep_io else FLOAT16
        self._opset = max((e.version for e in result.opset_import if e.domain in ("", "ai.onnx")), default=1)
        self._renames: dict[str, str] = {}
        self._used = {value.name for value in bare.input}
        for graph in every_graph(bare):
            self._used.update(value.name for value in [*graph.input, *graph.initializer])
            for node in graph.node:
                self._used.update([node.name, *node.output])

    def run(self, source: onnx.GraphProto) -> None:
        """Write the graph; ``source`` holds the weights that the bare graph lacks."""
        self._graph(self._bare, source, self._result.graph, None, self._border)
        for graph in every_graph(self._result.graph):
            for node in graph.node:
                for i, name in enumerate(node.input):
                    if name in self._renames:
                        node.input[i] = self._renames[name]

    def _fresh(self, base: str) -> str:
        name, count = base, 1
        while name in self._used:
            count += 1
            name = f"{base}_{count}"
        self._used.add(name)
        return name

    def _graph(
        self, bare: onnx.GraphProto, full: onnx.GraphProto, target: onnx.GraphProto, parent: Scope | None, border: int
    ) -> None:
        """Write ``bare`` (nodes, inferred types) with the weights, inputs and outputs of ``full`` into ``target``."""
        target.name, target.doc_string = full.name, full.doc_string
        for field in ("input", "output", "metadata_props", "quantization_annotation"):
            getattr(target, field).extend(getattr(full, field))
        scope = Scope(bare, target, parent)
        stored = self._stored(full, target) if parent is None else list(full.initializer)
        for tensor in stored:
            scope.types[tensor.name] = tensor.data_type
            if tensor.data_type == FLOAT:
                scope.constants[tensor.name] = tensor
        promised = {value.name: border for value in full.output if scope.types.get(value.name) == FLOAT}
        for value in target.input:
            if value.name not in scope.constants and scope.types.get(value.name) == FLOAT:
                scope.names[value.name] = {border: value.name}
                value.type.tensor_type.elem_type = border
                self.changed |= border != FLOAT
        for node in bare.node:
            self._node(scope, node, promised)
        custom = {name for node in bare.node if slots(node, self._opset) is None for name in node.output}
        target.value_info.extend(value for value in full.value_info if value.name in custom)
        for value in target.output:
            if value.name in scope.names and value.name in promised:
                value.type.tensor_type.elem_type = border
            elif value.name in scope.constants:
                scope.wanted.setdefault(value.name, {})[FLOAT] = value.name
            elif value.name in promised:
                raise ModelError(
                    f"output {value.name!r} of graph {full.name!r} is computed by none of its nodes",
                    hint="pass the value through an Identity node of that graph",
                )
        self.notes.extend(write_constants(scope, stored, self._renames, list_all=self._result.ir_version < 4))
        self.changed |= any(FLOAT16 in wanted for wanted in scope.wanted.values())

    def _stored(self, full: onnx.GraphProto, target: onnx.GraphProto) -> list[onnx.TensorProto]:
        """The initializers of the main graph as they are to be read."""
        names = {tensor.name for tensor in full.initializer}
        new = [tensor for name, tensor in self._replaced.items() if name not in names]
        if self._result.ir_version < 4:
            target.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in new)
        return [*(self._replaced.get(tensor.name, tensor) for tensor in full.initializer), *new]

    def _node(self, scope: Scope, node: onnx.NodeProto, promised: dict[str, int]) -> None:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            scope.target.node.append(node)
            value = constant_of(node)
            if value is not None:
                scope.constants[node.output[0]] = value
            return
        types = [scope.type_of(name, node) if name else 0 for name in node.input]
        allowed = slots(node, self._opset)
        verdict = self._verdict(scope, node, types, allowed)
        if verdict.reason is not None:
            name = node.name or next(iter(node.output), "")
            self.kept.append(KeptNode(name, node.op_type, verdict.reason))
        half = allowed is not None and verdict.reason is None
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for i, kind in enumerate(types):
            if kind == FLOAT and _takes_any_type(node):
                copy.input[i] = self._any(scope, node.input[i])
            elif kind == FLOAT:
                want = FLOAT16 if half and allowed is not None and allowed.inputs[i] else FLOAT
                copy.input[i] = self._typed(scope, node.input[i], want)
        for new, old in zip(subgraphs(copy), subgraphs(node), strict=True):
            new.Clear()
            self._graph(old, old, new, scope, FLOAT)
        self._outputs(scope, node, copy, types, allowed if half else None, verdict, promised)

    def _verdict(self, scope: Scope, node: onnx.NodeProto, types: list[int], allowed: Slots | None) -> Verdict:
        floats = [i for i, kind in enumerate(types) if kind == FLOAT]
        made = [scope.type_of(name, node) for name in node.output if name]
        quantizes = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if _T.DOUBLE in made:
            return Verdict("computes in float64, which the cast leaves alone")
        if _takes_any_type(node) or not (floats or FLOAT in made or any(True for _ in subgraphs(node))):
            return Verdict(None)
        if allowed is None:
            return Verdict(f"no operator of ONNX's default domain, so its types stay ({node.domain}::{node.op_type})")
        if quantizes and self._opset < 19:
            raise ModelError(
                f"node {node_text(node)} quantizes at opset {self._opset}, where scales cannot be float16",
                hint="convert the model to opset 19 or newer before the cast to float16",
            )
        if node.op_type == "Cast" and types[0] == FLOAT16:
            return Verdict("an explicit Cast up to float32")
        if node.op_type == "Cast" and types[0] in _WHOLE:
            return Verdict("makes whole numbers, which float16 holds exactly only up to 2048", whole=True)
        if floats and not any(allowed.inputs[i] for i in floats) and not any(allowed.outputs):
            return Verdict(f"{node.op_type} takes no float16 at opset {self._opset}", whole=node.op_type == "Range")
        names = [node.input[i] for i in floats if allowed.inputs[i] or not any(allowed.outputs)]
        found = judge(
            node.op_type,
            names,
            is_wide=scope.is_wide,
            is_whole=scope.is_whole,
            is_small=scope.is_small,
            fit=scope.fit,
        )
        if found.reason is None and node.op_type == "ConstantOfShape":
            fill = _attribute(node, "value")
            unfit = scope.measure(f"{node.output[0]} fill", fill.t).unfit if fill is not None else None
            return Verdict(f"its fill value: {unfit}" if unfit else None)
        return found

    def _outputs(
        self,
        scope: Scope,
        node: onnx.NodeProto,
        copy: onnx.NodeProto,
        types: list[int],
        allowed: Slots | None,
        verdict: Verdict,
        promised: dict[str, int],
    ) -> None:
        """Give every float32 output its new type, and append the node with the Casts that graph outputs need."""
        fixed = _attribute(node, "output_dtype")
        casts: list[tuple[str, str, int]] = []
        for i, name in enumerate(node.output):
            if not name or scope.types[name] != FLOAT:
                continue
            half = allowed is not None and allowed.outputs[i] and not (fixed is not None and fixed.i)
            kind = FLOAT16 if half else FLOAT
            self.changed |= half
            if verdict.wide:
                scope.wide.add(name)
            if verdict.whole:
                scope.whole.add(name)
            if verdict.small:
                scope.small.add(name)
            scope.names[name] = {kind: name}
            if promised.get(name, kind) != kind:
                copy.output[i] = self._fresh(f"{name}_{_WORD[kind]}")
                scope.names[name] = {kind: copy.output[i], promised[name]: name}
                casts.append((copy.output[i], name, promised[name]))
            if node.op_type == "Cast" and types[0] == FLOAT16:
                # The float16 value exists already: whoever asks for it needs no Cast back down.
                scope.names[name].setdefault(FLOAT16, copy.input[0])
            if half and node.op_type == "Cast":
                copy.attribute[0].CopyFrom(helper.make_attribute("to", FLOAT16))
            elif half and node.op_type == "ConstantOfShape":
                fill_float16(copy)
        scope.target.node.append(copy)
        for source, name, kind in casts:
            self._cast(scope, source, name, kind)

    def _typed(self, scope: Scope, name: str, want: int) -> str:
        """The name under which ``name`` can be read as ``want``; writes the Cast, or orders the copy of a constant."""
        owner = scope.owner(name)
        if owner is not None and name in owner.constants:
            wanted = owner.wanted.setdefault(name, {})
            if want not in wanted:
                wanted[want] = name if want == FLOAT else self._fresh(f"{name}_float16")
            return wanted[want]
        names = scope.existing(name)
        if not names:
            raise ModelError(
                f"tensor {name!r} is read before any node computes it",
                hint="run onnx.checker.check_model on the source model",
            )
        if want not in names:
            present = next(iter(names.values()))
            names[want] = self._fresh(f"{name}_{_WORD[want]}")
            scope.names.setdefault(name, {})[want] = names[want]
            self._cast(scope, present, names[want], want)
        return names[want]

    def _any(self, scope: Scope, name: str) -> str:
        names = scope.existing(name)
        return names.get(FLOAT) or names.get(FLOAT16) or self._typed(scope, name, FLOAT)

    def _cast(self, scope: Scope, source: str, target: str, kind: int) -> None:
        self.changed = True
        name = self._fresh(f"{source}_to_{_WORD[kind]}")
        scope.target.node.append(helper.make_node("Cast", [source], [target], name=name, to=kind))
