"""One branch of an If in the place of the If."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
from onnx import helper

from trtkit.graph.tree import every_graph

__all__ = ["inline_branch"]


def inline_branch(model: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto, condition: bool) -> None:
    """Put the nodes of one branch of ``node`` in its place; the other branch is gone.

    A graph inside a node may not define a name that the graphs around it define. Two branches may both define a name,
    so the names of this one that are found anywhere else in the model are changed.

    Args:
        model: the model, changed in place.
        graph: the graph of it that holds ``node``.
        node: an If.
        condition: its condition.
    """
    wanted = "then_branch" if condition else "else_branch"
    branch = onnx.GraphProto()
    branch.CopyFrom(next(attribute.g for attribute in node.attribute if attribute.name == wanted))
    name, outputs, place = node.name, list(node.output), list(graph.node).index(node)
    del graph.node[place]
    taken = {*_defined(model.graph), *outputs}
    own = {tensor.name for tensor in branch.initializer} | {made for inner in branch.node for made in inner.output}
    renamed = {old: _fresh(old, taken) for old in sorted(own & taken) if old}
    for inner_graph in every_graph(branch):
        _rename(inner_graph, renamed)
    ends = [
        helper.make_node("Identity", [value.name], [output], name=f"{name}_{index}")
        for index, (value, output) in enumerate(zip(branch.output, outputs, strict=True))
        if output
    ]
    graph.initializer.extend(branch.initializer)
    for offset, inner in enumerate((*branch.node, *ends)):
        graph.node.insert(place + offset, inner)


def _defined(graph: onnx.GraphProto) -> Iterator[str]:
    for inner in every_graph(graph):
        yield from (value.name for value in inner.input)
        yield from (tensor.name for tensor in inner.initializer)
        for node in inner.node:
            yield from node.output


def _fresh(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    taken.add(f"{name}_{number}")
    return f"{name}_{number}"


def _rename(graph: onnx.GraphProto, renamed: Mapping[str, str]) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    for named in (*graph.initializer, *graph.output, *graph.value_info):
        named.name = renamed.get(named.name, named.name)
