"""BatchNorm and per-channel arithmetic folded into products: on both sides, with groups, padding, Gemm, sharing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.graph.rewrites.oracle import applied, net, node, normal, ops, relative_l2, run
from trtkit.graph.float16 import to_float16
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


def scaled(factor, *, before, std=0.05):
    """A convolution with a factor for each of its 4 input channels before it, or output channels behind it."""
    weights = {"w": normal(4, 4, 3, 3, scale=std), "k": np.broadcast_to(np.float32(factor), (4,)).reshape(4, 1, 1)}
    if before:
        nodes = [node("Mul", ["x", "k"], "a", "step"), node("Conv", ["a", "w"], "y", "conv")]
    else:
        nodes = [node("Conv", ["x", "w"], "a", "conv"), node("Mul", ["a", "k"], "y", "step")]
    return net(nodes, {"x": ("N", 4, 5, 5)}, weights)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("factor", "folds"), [(1 / 255, True), (1 / 4095, False), (1 / 16383, False), (1e6, False), (100, True)]
)
def test_a_factor_that_float16_could_not_hold_inside_the_weights_stays(before, factor, folds):
    source = scaled(factor, before=before)
    assert FOLD.apply(source).modified is folds
    if folds:
        applied(FOLD, source, limit=LIMIT)


def test_a_channel_that_is_switched_off_does_not_matter_behind_and_does_before():
    assert FOLD.apply(scaled([1, 1, 1e-8, 0], before=False)).modified
    assert not FOLD.apply(scaled([1, 1, 1e-4, 1], before=True)).modified
    assert FOLD.apply(scaled([1, 1, 0, 1], before=True)).modified


def test_weights_that_float16_cannot_hold_anyway_are_folded():
    assert FOLD.apply(scaled(1.5, before=True, std=1e-6)).modified


@pytest.mark.parametrize("before", [True, False])
def test_what_is_folded_is_as_exact_in_float16(before):
    """Against float64's result: the share that is lost grows by less than half of itself."""
    for factor in (1 / 32, 1 / 255, 1 / 1000, 1 / 4095, 1 / 16383):
        source = scaled(factor, before=before)
        source.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
        folded = FOLD.apply(source).model
        x = (np.random.default_rng(0).uniform(0.5, 1, (2, 4, 5, 5)) / factor).astype(np.float16).astype(np.float32)
        want = run(source, {"x": x})[0]
        errors = [relative_l2(want, run(to_float16(m).model, {"x": x})[0]) for m in (source, folded)]
        assert errors[1] <= 1.5 * errors[0] + 1e-4


def test_each_input_channel_counts_in_its_own_group():
    for place in range(4):
        factor = np.ones((4, 1, 1), np.float32)
        factor[place] = 1e-4
        nodes = [node("Mul", ["x", "k"], "a", "step"), node("Conv", ["a", "w"], "y", "conv", group=2)]
        weights = {"w": normal(4, 2, 3, 3, scale=0.05), "k": factor}
        assert not FOLD.apply(net(nodes, {"x": ("N", 4, 5, 5)}, weights)).modified
        weights["w"][place // 2 * 2 : place // 2 * 2 + 2, place % 2] = 0  # nothing is left to be lost
        assert FOLD.apply(net(nodes, {"x": ("N", 4, 5, 5)}, weights)).modified
