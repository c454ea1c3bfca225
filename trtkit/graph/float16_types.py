"""Element types for the float16 cast: what ONNX's schemas allow, and what each tensor of each graph has."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from trtkit.errors import ModelError
from trtkit.graph.float16_weights import FLOAT, FLOAT16, WeightFit, float_values, weight_fit
from trtkit.graph.tree import node_text

__all__ = ["FLOAT", "FLOAT16", "Scope", "Slots", "slots"]


@dataclass(frozen=True)
class Slots:
    """What one node's schema says, position by position: may this input (output) be float16 instead of float32?"""

    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]


def slots(node: onnx.NodeProto, opset: int) -> Slots | None:
    """The :class:`Slots` of a node at ``opset``; None if it is not an operator of ONNX's default domain."""
    if node.domain not in ("", "ai.onnx"):
        return None
    try:
        schema = onnx.defs.get_schema(node.op_type, max_inclusive_version=opset)
    except onnx.defs.SchemaError:
        return None
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}

    def half(formal: onnx.defs.OpSchema.FormalParameter) -> bool:
        return "tensor(float16)" in allowed.get(formal.type_str, [formal.type_str])

    def spread(formals: list[onnx.defs.OpSchema.FormalParameter], count: int) -> tuple[bool, ...]:
        # The last formal parameter stands for all further arguments of a variadic operator.
        return tuple(half(formals[min(i, len(formals) - 1)]) for i in range(count)) if formals else (False,) * count

    return Slots(spread(list(schema.inputs), len(node.input)), spread(list(schema.outputs), len(node.output)))


class Scope:
    """One graph while it is cast: element types before, and the names under which a tensor exists afterwards.

    Attributes:
        target: the graph being written.
        types: element type before the cast by tensor name; 0 for what is not a tensor.
        constants: float32 initializers and Constant outputs by name.
        wanted: of constants, the element types that some node asked for, and the name of each.
        names: of computed tensors, the name of each element type in which the tensor exists.
        fits: constants measured so far.
        wide, whole, small: tensors beyond float16's range, of exact whole numbers, and whose squares are in range (see
            ``float16_rules``).
    """

    def __init__(self, graph: onnx.GraphProto, target: onnx.GraphProto, parent: Scope | None) -> None:
        self.target = target
        self.parent = parent
        self.types: dict[str, int] = {}
        self.constants: dict[str, onnx.TensorProto] = {}
        self.wanted: dict[str, dict[int, str]] = {}
        self.names: dict[str, dict[int, str]] = {}
        self.wide: set[str] = set()
        self.whole: set[str] = set()
        self.small: set[str] = set()
        self.fits: dict[str, WeightFit] = {}
        for value in [*graph.value_info, *graph.input, *graph.output]:
            element_type = value.type.tensor_type.elem_type
            if element_type or value.type.WhichOneof("value") not in (None, "tensor_type"):
                self.types[value.name] = element_type
        for tensor in graph.initializer:
            self.types[tensor.name] = tensor.data_type

    def owner(self, name: str) -> Scope | None:
        """The innermost scope around here that knows ``name``."""
        scope: Scope | None = self
        while scope is not None and name not in scope.types:
            scope = scope.parent
        return scope

    def type_of(self, name: str, node: onnx.NodeProto) -> int:
        """Element type before the cast.

        Raises:
            ModelError: type inference did not reach the tensor.
        """
        owner = self.owner(name)
        if owner is None:
            raise ModelError(
                f"the element type of tensor {name!r} at node {node_text(node)} is unknown",
                hint="declare it in value_info, or replace the custom operator that computes it",
            )
        return owner.types[name]

    def fit(self, name: str) -> WeightFit | None:
        """How a constant fits into float16; None for computed tensors."""
        owner = self.owner(name)
        if owner is None or name not in owner.constants:
            return None
        return owner.measure(name, owner.constants[name])

    def measure(self, name: str, tensor: onnx.TensorProto) -> WeightFit:
        """How ``tensor`` fits into float16, measured once and remembered under ``name``."""
        if name not in self.fits:
            self.fits[name] = weight_fit(float_values(tensor))
        return self.fits[name]

    def is_wide(self, name: str) -> bool:
        """Whether the tensor may lie outside float16's range."""
        owner = self.owner(name)
        return owner is not None and name in owner.wide

    def is_whole(self, name: str) -> bool:
        """Whether the tensor holds whole numbers that must stay exact."""
        owner = self.owner(name)
        return owner is not None and name in owner.whole

    def is_small(self, name: str) -> bool:
        """Whether the tensor's square cannot leave float16's range."""
        owner = self.owner(name)
        return owner is not None and name in owner.small

    def existing(self, name: str) -> dict[int, str]:
        """Names under which a computed tensor exists and can be read from here, by element type."""
        found: dict[int, str] = {}
        scope: Scope | None = self
        while scope is not None:
            found = {**scope.names.get(name, {}), **found}
            scope = scope.parent
        return found
