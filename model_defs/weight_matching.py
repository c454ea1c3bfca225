"""Which initializer of a foreign ONNX graph is which weight of ours, by position in the graph instead of by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from model_defs.initialization import Parameter
from model_defs.weight_files import FLOAT_TYPES, WeightFile

__all__ = ["match_by_graph", "weight_names"]

_WEIGHTED = ("Conv", "Gemm", "BatchNormalization")


class _Layer(NamedTuple):
    """A layer with weights: their names, and what identifies it.

    ``ancestors`` are the nearest layers with weights above it, as positions in the graph's order, by input.
    """

    weights: tuple[str, ...]
    op_type: str
    ancestors: tuple[int, ...]


def weight_names(nodes: Sequence[Any], initializers: Collection[str]) -> list[str]:
    """Initializers that convolutions, Gemm and BatchNorm read, in order of first use."""
    return list(dict.fromkeys(name for layer in _layers(nodes, initializers) for name in layer.weights))


def match_by_graph(parameters: Sequence[Parameter], nodes: Sequence[Any], file: WeightFile) -> dict[str, str] | None:
    """The file's name of each parameter, or None if the two graphs do not match unambiguously.

    They match if their layers with weights, in the graphs' order, agree in type, in the shapes of all weights, and in
    which layers with weights feed them: equal shapes alone could swap the branches of an Inception module unnoticed.
    A name that both graphs know must stand for the same tensor.
    """
    ours = _layers(nodes, {parameter.name for parameter in parameters})
    theirs = _layers(file.nodes, file.tensors)
    shapes = {parameter.name: parameter.shape for parameter in parameters}
    if [layer[1:] for layer in ours] != [layer[1:] for layer in theirs]:
        return None
    matched: dict[str, str] = {}
    for mine, other in zip(ours, theirs, strict=True):
        if len(mine.weights) != len(other.weights):
            return None
        matched.update(zip(mine.weights, other.weights, strict=True))
    values = list(matched.values())
    if len(set(values)) != len(values):
        return None
    for name, key in matched.items():
        stored = file.tensors[key]
        if stored.shape != shapes[name] or stored.dtype not in FLOAT_TYPES or (name in file.tensors and key != name):
            return None
    return matched


def _layers(nodes: Sequence[Any], initializers: Collection[str]) -> list[_Layer]:
    layers: list[_Layer] = []
    above: dict[str, tuple[int, ...]] = {}
    for node in nodes:
        ancestors = tuple(dict.fromkeys(i for name in node.input for i in above.get(name, ())))
        if node.op_type in _WEIGHTED:
            weights = tuple(name for name in node.input if name in initializers)
            layers.append(_Layer(weights, node.op_type, ancestors))
            ancestors = (len(layers) - 1,)
        above.update((name, ancestors) for name in node.output)
    return layers
