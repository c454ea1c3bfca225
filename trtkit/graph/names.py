"""Node names: every node gets one, and no two the same, so that a plan's layers can be traced back to ONNX nodes."""

from __future__ import annotations

from collections import Counter

import onnx

from trtkit.graph.tree import every_node

__all__ = ["make_node_names_unique"]


def make_node_names_unique(model: onnx.ModelProto) -> bool:
    """Name unnamed nodes ``OpType_index`` and add a number to repeated names, in place, inner graphs included.

    The first node of a name keeps it. Index and number count up from the first that no other node has.

    Returns:
        Whether anything changed.
    """
    nodes = list(every_node(model))
    taken = {node.name for node in nodes}
    used: set[str] = set()
    last: Counter[str] = Counter()
    changed = False
    for node in nodes:
        if node.name and node.name not in used:
            used.add(node.name)
            continue
        stem = node.name or node.op_type
        number = last[stem] if node.name == "" else max(last[stem], 2)
        while (name := f"{stem}_{number}") in taken:
            number += 1
        last[stem] = number + 1
        node.name = name
        taken.add(name)
        used.add(name)
        changed = True
    return changed
