"""Whether a graph's tensors hang together: each made once, before it is used, and every output made at all."""

from __future__ import annotations

import difflib

import onnx

from trtkit.errors import ModelError
from trtkit.graph.order import find_cycle
from trtkit.graph.tree import listed, node_text, subgraphs

__all__ = ["check_wiring"]

_AGAIN = "Export the model again, or repair the graph with the tool that wrote it."


def check_wiring(graph: onnx.GraphProto, where: str, outside: frozenset[str] = frozenset()) -> None:
    """Check one graph and the graphs inside it.

    Args:
        graph: the graph.
        where: the file, for the messages.
        outside: tensors of the enclosing graphs, which an inner graph may read.

    Raises:
        ModelError: a tensor is made twice, is used but made by nobody, is used before it is made, or a cycle.
    """
    known = _given(graph, where)
    makers: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        for name in filter(None, node.output):
            if name in makers:
                raise ModelError(
                    f"{where}: tensor {listed([name])!r} is made twice, by {node_text(makers[name])} and "
                    f"{node_text(node)}; in ONNX every tensor has one maker.",
                    hint=_AGAIN,
                )
            if name in known:
                raise ModelError(
                    f"{where}: {node_text(node)} makes tensor {listed([name])!r}, a graph input or initializer.",
                    hint=_AGAIN,
                )
            makers[name] = node
    cycle = find_cycle(graph)
    if cycle:
        raise ModelError(
            f"{where}: the graph has a cycle of {len(cycle)} node{'s' if len(cycle) > 1 else ''}: "
            f"{listed([node_text(node) for node in cycle])}, and back to the first.",
            hint="A loop in time is written with Loop, Scan, LSTM, GRU or RNN in ONNX: export the model again.",
        )
    available = outside | known
    for node in graph.node:
        for name in filter(None, node.input):
            if name not in available:
                _unavailable(name, node, makers, available, where)
        for inner in subgraphs(node):
            check_wiring(inner, where, frozenset(available))
        available |= set(node.output)
    names = [value.name for value in graph.output]
    for name in names:
        if name not in available:
            raise ModelError(
                f"{where}: the graph output {listed([name])!r} is made by no node.",
                hint=f"Tensors that nodes make are, for example: {listed(list(makers)[-3:])}." if makers else _AGAIN,
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelError(f"{where}: the graph lists an output twice: {listed(twice)}.", hint=_AGAIN)


def _given(graph: onnx.GraphProto, where: str) -> frozenset[str]:
    """Names of graph inputs and initializers, each of them listed once."""
    inputs = [value.name for value in graph.input]
    initializers = [tensor.name for tensor in graph.initializer]
    initializers += [sparse.values.name for sparse in graph.sparse_initializer]
    for kind, names in (("input", inputs), ("initializer", initializers)):
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise ModelError(f"{where}: the graph has the same {kind} twice: {listed(twice)}.", hint=_AGAIN)
    return frozenset(inputs) | frozenset(initializers)


def _unavailable(
    name: str,
    node: onnx.NodeProto,
    makers: dict[str, onnx.NodeProto],
    available: frozenset[str] | set[str],
    where: str,
) -> None:
    if name in makers:
        raise ModelError(
            f"{where}: the nodes are not in topological order: {node_text(node)} uses {listed([name])!r}, "
            f"which {node_text(makers[name])} makes only later.",
            hint="Sort them: trtkit.graph.order.sort_nodes(model) does it.",
        )
    close = difflib.get_close_matches(name, list(available), n=1)
    raise ModelError(
        f"{where}: {node_text(node)} reads tensor {listed([name])!r}, which is no graph input, no initializer and "
        f"made by no node.{f' The closest name is {close[0]!r}.' if close else ''}",
        hint=_AGAIN,
    )
