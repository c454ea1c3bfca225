"""LayerNormalization in its spellings and opsets, and what only resembles it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graph.rewrites.oracle import agree, applied, net, node, normal, ops
from trtkit.graph.float16 import to_float16
from trtkit.graph.rewrites import ALL

FUSE = ALL["fuse_layernorm"]


def spelt(*, opset=17, square="Pow", swap=False, axis=-1, power=2.0, further=False, gamma=8):
    def pair(first, second):
        return [second, first] if swap else [first, second]

    weights = {
        "two": np.float32(power),
        "eps": np.float32(1e-3),
        "g": normal(*(gamma if isinstance(gamma, tuple) else (gamma,))),
        "b": normal(8),
    }
    reduce = {"axes": [axis]}
    if opset >= 18:
        weights["axes"], reduce = np.int64([axis]), {}
    axes = ["axes"] if opset >= 18 else []
    nodes = [
        node("ReduceMean", ["x", *axes], "mean", "mean", **reduce),
        node("Sub", ["x", "mean"], "d", "sub"),
        node("Pow", ["d", "two"], "sq", "square") if square == "Pow" else node("Mul", ["d", "d"], "sq", "square"),
        node("ReduceMean", ["sq", *axes], "var", "var", **reduce),
        node("Add", pair("var", "eps"), "e", "eps"),
        node("Sqrt", ["e"], "s", "sqrt"),
        node("Div", ["d", "s"], "n", "div"),
        node("Mul", pair("n", "g"), "m", "gamma"),
        node("Add", pair("m", "b"), "y", "beta"),
    ]
    outputs = ("y",)
    if further:
        nodes.append(node("Relu", ["d"], "z"))
        outputs = ("y", "z")
    used = {name for item in nodes for name in item.input}
    shape = ("N", 5, 8) if gamma == 8 else ("N", 8, 8)
    return net(nodes, {"x": shape}, {k: v for k, v in weights.items() if k in used}, outputs, opset=opset)


@pytest.mark.parametrize("opset", [12, 14, 17, 18])
@pytest.mark.parametrize("square", ["Pow", "Mul"])
@pytest.mark.parametrize("swap", [False, True])
def test_every_spelling(opset, square, swap):
    source = spelt(opset=opset, square=square, swap=swap, axis=2 if swap else -1)
    result = applied(FUSE, source)
    assert ops(result.model) == ["LayerNormalization"]
    assert result.model.opset_import[0].version == max(opset, 17)


def test_it_leaves_no_float32_island():
    source = spelt()
    assert to_float16(source).kept_float32
    cast = to_float16(FUSE.apply(source).model)
    assert cast.kept_float32 == ()
    agree(source, cast.model, limit=2e-3)


@pytest.mark.parametrize(
    "source",
    [spelt(axis=1), spelt(power=3.0), spelt(further=True), spelt(gamma=(8, 1))],
    ids=["another axis", "a cube", "another reader", "gamma a row"],
)
def test_what_is_no_layernorm(source):
    assert not FUSE.apply(source).modified


def test_an_older_model_without_one_keeps_its_opset():
    source = net([node("Relu", ["x"], "y")], {"x": ("N", 4)}, opset=12)
    assert FUSE.apply(source).model is source


@pytest.mark.parametrize("name", ["eps", "two"])
def test_numbers_that_give_the_result_further_dimensions_stay(name):
    source = spelt()
    source.graph.output[0].type.tensor_type.ClearField("shape")
    for item in source.graph.initializer:
        if item.name == name:
            item.dims[:] = [1, 1, 1, 1]
    assert not FUSE.apply(source).modified
