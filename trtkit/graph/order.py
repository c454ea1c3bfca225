"""Nodes into an order in which every tensor is made before it is used, as ONNX demands and some converters forget."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import onnx

from trtkit.graph.tree import every_graph, subgraphs

__all__ = ["find_cycle", "needs", "sort_nodes"]


def needs(node: onnx.NodeProto) -> Iterator[str]:
    """Names of all tensors that a node reads: its inputs, and what the graphs inside it take from outside."""
    yield from (name for name in node.input if name)
    for graph in subgraphs(node):
        yield from _captured(graph)


def _captured(graph: onnx.GraphProto) -> Iterator[str]:
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own.update(sparse.values.name for sparse in graph.sparse_initializer)
    for node in graph.node:
        own.update(node.output)
    for node in graph.node:
        yield from (name for name in needs(node) if name not in own)
    yield from (value.name for value in graph.output if value.name not in own)


def sort_nodes(model: onnx.ModelProto) -> bool:
    """Sort the nodes of every graph topologically, keeping their order where it is free. Returns whether any moved.

    A graph that cannot be sorted (a cycle, a tensor made twice) is left as it is: ``trtkit.graph.check`` names the
    reason.
    """
    changed = False
    for graph in every_graph(model.graph):
        order = _order(graph)
        if order is not None and order != sorted(order):
            nodes = [graph.node[index] for index in order]
            copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
            del graph.node[:]
            graph.node.extend(copies)
            changed = True
    return changed


def _edges(graph: onnx.GraphProto) -> list[set[int]] | None:
    """For each node the nodes it needs; ``None`` where two nodes make one tensor."""
    maker: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if name and maker.setdefault(name, index) != index:
                return None
    return [{maker[name] for name in needs(node) if name in maker} for node in graph.node]


def _order(graph: onnx.GraphProto) -> list[int] | None:
    """Kahn's algorithm, always taking the first ready node in file order."""
    before = _edges(graph)
    if before is None:
        return None
    users: list[list[int]] = [[] for _ in before]
    for index, needed in enumerate(before):
        for other in needed:
            users[other].append(index)
    left = [len(needed) for needed in before]
    ready = [index for index, count in enumerate(left) if count == 0]
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for user in users[index]:
            left[user] -= 1
            if left[user] == 0:
                heapq.heappush(ready, user)
    return order if len(order) == len(before) else None


def find_cycle(graph: onnx.GraphProto) -> list[onnx.NodeProto] | None:
    """The nodes of one cycle, each feeding the next and the last the first; ``None`` where there is no cycle."""
    before = _edges(graph)
    if before is None or _order(graph) is not None:
        return None
    # Strip what can be computed; whatever is left needs something that is left: walking back must come round.
    alive = set(range(len(before)))
    while removable := {index for index in alive if not before[index] & alive}:
        alive -= removable
    path: list[int] = [min(alive)]
    while (needed := min(before[path[-1]] & alive)) not in path:
        path.append(needed)
    cycle = path[path.index(needed) :]
    return [graph.node[index] for index in reversed(cycle)]
