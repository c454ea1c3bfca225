"""Initializers and Constant nodes of the float16 graph, written last, once it is known who reads them in which type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx
from onnx import helper

from trtkit.graph.float16_types import FLOAT16, Scope
from trtkit.graph.float16_weights import put_float16

__all__ = ["WeightNote", "write_constants"]


@dataclass(frozen=True)
class WeightNote:
    """A constant that float16 does not hold as well as ordinary rounding does (relative error 2⁻¹¹).

    Attributes:
        name: of the initializer, or of the Constant node's output.
        elements: number of elements.
        flushed: nonzero elements that become zero in float16 (|w| ≤ 2⁻²⁵).
        subnormal: elements below 2⁻¹⁴ that keep fewer than 11 significant bits.
        overflowing: finite elements outside ±65504; such a constant is never cast.
        cast: whether any node now reads a float16 copy.
    """

    name: str
    elements: int
    flushed: int
    subnormal: int
    overflowing: int
    cast: bool


def write_constants(
    scope: Scope, stored: Iterable[onnx.TensorProto], renames: dict[str, str], *, list_all: bool
) -> list[WeightNote]:
    """Write the constants of one graph in the types that its nodes asked for.

    Args:
        scope: the graph, its nodes already written.
        stored: its initializers, with their data.
        renames: gets, for every constant that only float16 nodes read, the name that those nodes used for its float16
            copy and the constant's own name, which the copy takes over.
        list_all: whether an initializer must be a graph input as well (before ONNX's IR version 4).
    """
    target = scope.target
    declared = {value.name: value for value in target.input}

    def second_copy(tensor: onnx.TensorProto, wanted: dict[int, str]) -> None:
        if FLOAT16 in wanted:
            put_float16(tensor, target.initializer.add(), wanted[FLOAT16])
            if list_all and scope.parent is None:
                target.input.append(helper.make_tensor_value_info(wanted[FLOAT16], FLOAT16, tensor.dims))

    for tensor in stored:
        wanted = scope.wanted.get(tensor.name, {})
        if wanted.keys() == {FLOAT16}:
            renames[wanted[FLOAT16]] = tensor.name
            put_float16(tensor, target.initializer.add(), tensor.name)
            if tensor.name in declared:
                declared[tensor.name].type.tensor_type.elem_type = FLOAT16
        else:
            target.initializer.append(tensor)
            second_copy(tensor, wanted)
    for node in target.node:
        if node.op_type != "Constant" or node.output[0] not in scope.constants:
            continue
        name = node.output[0]
        wanted = scope.wanted.get(name, {})
        if wanted.keys() == {FLOAT16}:
            renames[wanted[FLOAT16]] = name
            del node.attribute[:]
            value = node.attribute.add()
            value.name, value.type = "value", onnx.AttributeProto.TENSOR
            put_float16(scope.constants[name], value.t, "")
        else:
            second_copy(scope.constants[name], wanted)
    return [
        WeightNote(
            name,
            fit.elements,
            fit.flushed,
            fit.subnormal,
            fit.overflowing,
            cast=fit.unfit is None and (name not in scope.constants or FLOAT16 in scope.wanted.get(name, {})),
        )
        for name, fit in scope.fits.items()
        if fit.flushed or fit.subnormal or fit.unfit
    ]
