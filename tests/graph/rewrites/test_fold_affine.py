"""BatchNorm and per-channel arithmetic folded into products: on both sides, with groups, padding, Gemm, sharing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.graph.rewrites.oracle import applied, net, node, normal, ops
from trtkit.graph.rewrites import ALL, SAFE, apply_all

FOLD = ALL["fold_batchnorm"]
LIMIT = 1e-5


def statistics(channels, prefix="n"):
    rng = np.random.default_rng(channels)
    return {
        f"{prefix}g": normal(channels, seed=1),
        f"{prefix}b": normal(channels, seed=2),
        f"{prefix}m": normal(channels, seed=3),
        f"{prefix}v": rng.uniform(0.5, 2, channels).astype(np.float32),
    }


def product(kind, source, target, *, group=1, bias=True, padded=True, channels=4, outputs=6):
    """A node of one kind with its weights, for an input of ``channels`` channels."""
    shapes = {
        "Conv": (outputs, channels // group, 3, 3),
        "ConvTranspose": (channels, outputs // group, 3, 3),
        "Gemm": (channels, outputs),
    }
    weights = {"w": normal(*shapes[kind])} | ({"b": normal(outputs)} if bias else {})
    attributes = {"alpha": 0.5, "beta": 2.0} if kind == "Gemm" else {"group": group, "pads": [int(padded)] * 4}
    return node(kind, [source, *weights], target, "product", **attributes), weights


def shape_for(kind, channels=4):
    return ("N", channels) if kind == "Gemm" else ("N", channels, 6, 7)


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(["Conv", "ConvTranspose", "Gemm"]),
    group=st.sampled_from([1, 2]),
    bias=st.booleans(),
    epsilon=st.sampled_from([1e-5, 1e-3]),
)
def test_batchnorm_behind(kind, group, bias, epsilon):
    made, weights = product(kind, "x", "c", group=group, bias=bias)
    norm = node("BatchNormalization", ["c", "ng", "nb", "nm", "nv"], "y", "norm", epsilon=epsilon)
    result = applied(FOLD, net([made, norm], {"x": shape_for(kind)}, weights | statistics(6)), limit=LIMIT)
    assert ops(result.model) == [kind]
    (left,) = result.model.graph.node
    assert (left.name, list(left.output)) == ("product", ["y"])


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(["Conv", "ConvTranspose", "Gemm"]),
    group=st.sampled_from([1, 2]),
    op=st.sampled_from(["Mul", "Add", "Sub", "Div"]),
    first=st.booleans(),
    scalar=st.booleans(),
    behind=st.booleans(),
    padded=st.booleans(),
)
def test_arithmetic_beside(kind, group, op, first, scalar, behind, padded):
    channels = 6 if behind else 4
    shape = () if scalar else (channels,) if kind == "Gemm" else (channels, 1, 1)
    numbers = np.abs(normal(*shape, seed=5)).astype(np.float32) + np.float32(0.5)
    made, weights = product(kind, "x" if behind else "h", "c" if behind else "y", group=group, padded=padded)
    data = "c" if behind else "x"
    step = node(op, ["k", data] if first else [data, "k"], "y" if behind else "h", "step")
    nodes = [made, step] if behind else [step, made]
    result = applied(FOLD, net(nodes, {"x": shape_for(kind)}, weights | {"k": numbers}), limit=LIMIT)
    if op == "Div" and first:
        folds = False
    elif behind:
        folds = True
    else:
        folds = kind == "Gemm" or (kind == "Conv" and (op in ("Mul", "Div") or not padded))
    assert ops(result.model) == ([kind] if folds else [item.op_type for item in nodes])


def test_batchnorm_before_an_unpadded_convolution_only():
    for padded in (False, True):
        made, weights = product("Conv", "h", "y", group=2, padded=padded)
        norm = node("BatchNormalization", ["x", "ng", "nb", "nm", "nv"], "h", "norm")
        source = net([norm, made], {"x": shape_for("Conv")}, weights | statistics(4))
        assert applied(FOLD, source, limit=LIMIT).modified is not padded


def test_a_chain_folds_to_one_convolution():
    made, weights = product("Conv", "x", "a")
    norm = node("BatchNormalization", ["m", "ng", "nb", "nm", "nv"], "n", "norm")
    nodes = [made, node("Mul", ["a", "k"], "m"), norm, node("Add", ["n", "d"], "s"), node("Relu", ["s"], "y")]
    numbers = {"k": normal(1, 6, 1, 1), "d": normal(6, 1, 1)} | statistics(6)
    result = applied(FOLD, net(nodes, {"x": shape_for("Conv")}, weights | numbers), limit=LIMIT)
    assert ops(result.model) == ["Conv", "Relu"] and len(result.sites) == 3
    assert len(result.model.graph.initializer) == 2


@pytest.mark.parametrize("case", ["two readers", "an output", "per pixel", "computed", "broadcasts", "training"])
def test_what_stays(case):
    made, weights = product("Conv", "x", "c")
    numbers = {"k": normal(6, 1, 1)}
    nodes, outputs, inputs = [made, node("Mul", ["c", "k"], "y", "step")], ("y",), {"x": shape_for("Conv")}
    if case == "two readers":
        nodes.append(node("Relu", ["c"], "z"))
        outputs = ("y", "z")
    elif case == "an output":
        outputs = ("y", "c")
    elif case == "per pixel":
        numbers = {"k": normal(1, 6, 6, 7)}
    elif case == "computed":
        numbers, inputs = {}, inputs | {"k": (6, 1, 1)}
    elif case == "broadcasts":
        numbers = {"k": normal(2, 1, 6, 1, 1)}
    else:
        numbers = statistics(6)
        nodes[1] = node("BatchNormalization", ["c", "ng", "nb", "nm", "nv"], ["y", "m", "v"], "norm", training_mode=1)
        outputs = ("y", "m", "v")
    assert not FOLD.apply(net(nodes, inputs, weights | numbers, outputs)).modified


def test_shared_weights_stay_for_the_other_reader():
    weights = {"w": normal(4, 4, 3, 3)}
    nodes = [
        node("Conv", ["x", "w"], "a", "one", pads=[1] * 4),
        node("Mul", ["a", "k"], "m", "step"),
        node("Conv", ["m", "w"], "y", "two", pads=[1] * 4),
    ]
    result = applied(FOLD, net(nodes, {"x": ("N", 4, 5, 5)}, weights | {"k": normal(4, 1, 1)}), limit=LIMIT)
    assert ops(result.model) == ["Conv", "Conv"]
    assert "w" in {item.name for item in result.model.graph.initializer}


def test_weights_that_are_listed_as_inputs_are_weights():
    """As PyTorch wrote them for years, with IR version 4: all initializers could be replaced, and never are."""
    made, weights = product("Conv", "x", "c")
    norm = node("BatchNormalization", ["c", "ng", "nb", "nm", "nv"], "y", "norm")
    source = net([made, norm], {"x": shape_for("Conv")}, weights | statistics(6))
    source.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in source.graph.initializer
    )
    result = applied(FOLD, source, limit=LIMIT)
    assert ops(result.model) == ["Conv"]
    stored = {item.name for item in result.model.graph.initializer}  # they are all listed still
    assert {item.name for item in result.model.graph.input} == {"x", *stored}


@pytest.mark.parametrize("name", ["ng", "nm", "w"])
def test_an_initializer_that_a_caller_may_replace_stays_an_input(name):
    made, weights = product("Conv", "x", "c")
    norm = node("BatchNormalization", ["c", "ng", "nb", "nm", "nv"], "y", "norm")
    unread = node("Relu", [name], "z", "dead")
    source = net([made, norm, unread], {"x": shape_for("Conv")}, weights | statistics(6))
    listed = next(t for t in source.graph.initializer if t.name == name)
    source.graph.input.append(helper.make_tensor_value_info(name, listed.data_type, listed.dims))
    result, sites = apply_all(source, SAFE)
    assert [site.rewrite for site in sites] == ["remove_dead"]
    assert list(result.graph.input) == list(source.graph.input)
    assert name in {item.name for item in result.graph.initializer}
    source.ir_version = 3
    source.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in source.graph.initializer if t.name != name
    )
    assert ops(apply_all(source, SAFE)[0]) == ["Conv"]
