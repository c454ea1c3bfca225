"""Hard-swish and hard-sigmoid in every spelling, and what looks like them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graph.models import tensor, value
from tests.graph.rewrites.oracle import applied, net, node, ops
from trtkit.graph.rewrites import ALL

SWISH = ALL["hard_swish"]
NUMBERS = {"three": np.float32(3), "zero": np.float32(0), "six": np.float32([6]), "sixth": np.float32(1 / 6)}


def spelt(*, swish=True, swap=False, by="Div", early=False, opset=17, three="three", high="six"):
    """x·clip(x + 3, 0, 6)/6, with the division before or behind the product."""
    clip = node("Clip", ["a", "zero", high], "c")
    if opset < 11:
        clip = node("Clip", ["a"], "c", min=0.0, max=6.0)
    last = ["d", "six"] if by == "Div" else (["sixth", "d"] if swap else ["d", "sixth"])
    nodes = [node("Add", [three, "x"] if swap else ["x", three], "a"), clip]
    if not swish or early:
        nodes.append(node(by, [name.replace("d", "c") if name == "d" else name for name in last], "g", "divide"))
        nodes.append(node("Mul", ["x", "g"], "y", "product") if swish else node("Identity", ["g"], "y"))
    else:
        nodes.append(node("Mul", ["c", "x"] if swap else ["x", "c"], "d", "product"))
        nodes.append(node(by, last, "y", "divide"))
    used = {name for item in nodes for name in item.input}
    return net(nodes, {"x": ("N", 3, 4, 4)}, {k: v for k, v in NUMBERS.items() if k in used}, opset=opset)


@pytest.mark.parametrize("opset", [9, 13, 17])
@pytest.mark.parametrize("by", ["Div", "Mul"])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("early", [False, True])
def test_hard_swish(opset, by, swap, early):
    result = applied(SWISH, spelt(opset=opset, by=by, swap=swap, early=early), scale=4)
    assert ops(result.model) == ["HardSigmoid", "Mul"]
    assert "product" in {item.name for item in result.model.graph.node}


def test_hard_sigmoid():
    result = applied(SWISH, spelt(swish=False), scale=4)
    assert ops(result.model) == ["HardSigmoid", "Identity"] and not result.model.graph.initializer


@pytest.mark.parametrize("change", [{"three": "six"}, {"high": "three"}], ids=["shifted by six", "clipped at three"])
def test_other_numbers_stay(change):
    assert not SWISH.apply(spelt(**change)).modified


def test_a_gate_of_another_tensor_is_only_a_gate():
    source = spelt()
    source.graph.node[2].input[0] = "z"
    source.graph.node.insert(0, node("Abs", ["x"], "z"))
    assert not SWISH.apply(source).modified


@pytest.mark.parametrize("swish", [True, False])
@pytest.mark.parametrize("name", ["three", "six", "sixth"])
def test_numbers_that_give_the_result_further_dimensions_stay(name, swish):
    source = spelt(swish=swish, by="Mul" if name == "sixth" else "Div")
    source.graph.input[0].CopyFrom(value("x", ("N", 3)))
    source.graph.output[0].type.tensor_type.ClearField("shape")
    for item in source.graph.initializer:
        if item.name == name:
            item.dims[:] = [1, 1, 1, 1]
    if name == "six":  # a bound of Clip has no dimensions
        source.graph.node[1].input[2] = "top"
        source.graph.initializer.append(tensor("top", np.float32(6)))
    assert not SWISH.apply(source).modified
