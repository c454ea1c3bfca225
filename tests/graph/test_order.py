from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx.reference import ReferenceEvaluator

from tests.graph.models import model, relu, value, with_branches
from trtkit.graph.order import find_cycle, needs, sort_nodes
from trtkit.graph.wiring import check_wiring


def test_a_sorted_model_is_untouched() -> None:
    assert not sort_nodes(relu())
    assert not sort_nodes(with_branches())


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(6)))
def test_any_order_becomes_a_valid_one_of_the_same_function(order: list[int]) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Exp", ["a"], ["c"]),
        helper.make_node("Mul", ["b", "c"], ["d"]),
        helper.make_node("Sub", ["d", "a"], ["e"]),
        helper.make_node("Tanh", ["e"], ["y"]),
    ]
    x = np.linspace(-2, 2, 8, dtype=np.float32).reshape(2, 4)
    expected = ReferenceEvaluator(model(nodes)).run(None, {"x": x})[0]
    shuffled = model([nodes[index] for index in order])
    sort_nodes(shuffled)
    check_wiring(shuffled.graph, "shuffled")
    np.testing.assert_array_equal(ReferenceEvaluator(shuffled).run(None, {"x": x})[0], expected)
    assert not sort_nodes(shuffled)


def test_a_branch_counts_what_it_takes_from_outside() -> None:
    onnx_model = with_branches()
    assert set(needs(onnx_model.graph.node[2])) == {"positive", "x"}
    onnx_model.graph.node[2].attribute[0].g.node[0].input[0] = "late"
    late = onnx_model.graph.node.add(op_type="Neg", name="late", input=["x"], output=["late"])
    assert sort_nodes(onnx_model)
    names = [node.op_type for node in onnx_model.graph.node]
    assert names.index(late.op_type) < names.index("If")


def test_a_cycle_is_found_in_order_and_left_alone() -> None:
    nodes = [
        helper.make_node("Add", ["x", "c"], ["a"], name="A"),
        helper.make_node("Relu", ["a"], ["b"], name="B"),
        helper.make_node("Relu", ["b"], ["c"], name="C"),
        helper.make_node("Relu", ["b"], ["y"], name="Y"),
    ]
    onnx_model = model(nodes)
    assert not sort_nodes(onnx_model)
    cycle = find_cycle(onnx_model.graph)
    assert cycle is not None
    names = [node.name for node in cycle]
    assert sorted(names) == ["A", "B", "C"]
    assert all(after == {"A": "B", "B": "C", "C": "A"}[before] for before, after in pairwise(names))
    assert find_cycle(relu(inputs=[value("x")]).graph) is None
