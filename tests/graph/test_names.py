from __future__ import annotations

from onnx import helper

from tests.graph.models import model, relu, with_branches
from trtkit.graph.names import make_node_names_unique
from trtkit.graph.tree import every_node


def names_after(*nodes: tuple[str, str]) -> list[str]:
    """Names of a chain of (operator, name) nodes after the transformation."""
    chain = [
        helper.make_node(op, [f"t{i}" if i else "x"], [f"t{i + 1}" if i < len(nodes) - 1 else "y"], name=name)
        for i, (op, name) in enumerate(nodes)
    ]
    onnx_model = model(chain)
    changed = make_node_names_unique(onnx_model)
    names = [node.name for node in onnx_model.graph.node]
    assert changed == (names != [name for _, name in nodes])
    assert not make_node_names_unique(onnx_model)
    return names


def test_unique_names_stay() -> None:
    assert names_after(("Relu", "a"), ("Tanh", "b")) == ["a", "b"]


def test_unnamed_nodes_are_named_by_operator_and_index() -> None:
    assert names_after(("Relu", ""), ("Tanh", ""), ("Relu", "")) == ["Relu_0", "Tanh_0", "Relu_1"]


def test_the_first_of_a_repeated_name_keeps_it() -> None:
    assert names_after(("Relu", "n"), ("Relu", "n"), ("Tanh", "n")) == ["n", "n_2", "n_3"]


def test_no_new_name_takes_one_that_comes_later() -> None:
    assert names_after(("Relu", "n"), ("Relu", "n"), ("Relu", "n_2"), ("Relu", ""), ("Relu", "Relu_0")) == [
        "n",
        "n_3",
        "n_2",
        "Relu_1",
        "Relu_0",
    ]


def test_inner_graphs_share_one_space_of_names() -> None:
    onnx_model = with_branches()
    assert make_node_names_unique(onnx_model)
    names = [node.name for node in every_node(onnx_model)]
    assert len(set(names)) == len(names) == 5
    assert names[:3] == ["same", "Greater_0", "If_0"]
    assert not make_node_names_unique(onnx_model)


def test_many_nodes_of_one_name_take_linear_time() -> None:
    assert len(set(names_after(*[("Relu", "n")] * 3000))) == 3000


def test_a_model_with_good_names_is_untouched() -> None:
    assert not make_node_names_unique(relu())
