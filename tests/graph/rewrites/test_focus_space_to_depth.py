"""Focus stems: in any order of their slices, in one Slice or in two; what is no full set stays."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.rewrites.oracle import applied, net, node, normal, ops
from trtkit.graph.rewrites import ALL

FOCUS = ALL["focus_space_to_depth"]
FAR = 2**63 - 1


def focus(order, *, block=2, channels=3, twice=True, size=12, further=False):
    nodes, weights = (
        [],
        {"w": normal(5, channels * len(order), 3, 3), "end": np.int64([FAR]), "step": np.int64([block])},
    )
    weights |= {"rows": np.int64([2]), "columns": np.int64([3])} | {f"s{i}": np.int64([i]) for i in range(block)}
    parts = []
    for i, (a, b) in enumerate(order):
        if twice:
            nodes.append(node("Slice", ["x", f"s{a}", "end", "rows", "step"], f"r{i}", f"rows{i}"))
            nodes.append(node("Slice", [f"r{i}", f"s{b}", "end", "columns", "step"], f"p{i}", f"columns{i}"))
        else:
            weights |= {f"start{i}": np.int64([b, a]), "ends": np.int64([size, FAR]), "axes": np.int64([-1, 2])}
            weights["steps"] = np.int64([block, block])
            nodes.append(node("Slice", ["x", f"start{i}", "ends", "axes", "steps"], f"p{i}", f"slice{i}"))
        parts.append(f"p{i}")
    nodes.append(node("Concat", parts, "c", axis=1))
    nodes.append(node("Conv", ["c", "w"], "y", "stem", pads=[1, 1, 1, 1]))
    outputs = ("y",)
    if further:
        nodes.append(node("Relu", ["p0"], "z"))
        outputs = ("y", "z")
    used = {name for item in nodes for name in item.input}
    stored = {name: values for name, values in weights.items() if name in used}
    return net(nodes, {"x": ("N", channels, size, size)}, stored, outputs)


@settings(max_examples=15, deadline=None)
@given(
    order=st.permutations(list(itertools.product(range(2), range(2)))), twice=st.booleans(), channels=st.integers(1, 4)
)
def test_any_order_of_slices(order, twice, channels):
    result = applied(FOCUS, focus(order, twice=twice, channels=channels))
    assert ops(result.model) == ["SpaceToDepth", "Conv"] and result.model.graph.node[1].name == "stem"


def test_blocks_of_three():
    order = list(itertools.product(range(3), range(3)))[::-1]
    assert ops(applied(FOCUS, focus(order, block=3)).model) == ["SpaceToDepth", "Conv"]


@pytest.mark.parametrize(
    "source",
    [
        focus([(0, 0), (0, 1), (1, 0), (1, 0)]),
        focus([(0, 0), (0, 1)]),
        focus(list(itertools.product(range(2), range(2))), further=True),
    ],
    ids=["one is there twice", "half of them", "another reader"],
)
def test_what_is_no_focus(source):
    assert not FOCUS.apply(source).modified
