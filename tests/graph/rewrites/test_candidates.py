"""Rewrites that help here and hurt there: the first FC as a convolution, merged 1×1 ones, groups split or joined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.rewrites.oracle import applied, net, node, normal, ops
from trtkit.graph.rewrites import ALL, SAFE, apply_all, made_by, safe
from trtkit.graph.rewrites.join_groups import joined

FC, MERGE, SPLIT, JOIN = (ALL[name] for name in ("fc_as_conv", "merge_parallel_1x1", "split_groups", "join_groups"))


def classifier(*, flat=None, bias=(5,), shape=("N", 3, 4, 2), weights=None, **attributes):
    numbers = {"w": normal(*((5, 24) if attributes.get("transB") else (24, 5)))} | (weights or {})
    if bias is not None:
        numbers["b"] = normal(*bias)
    gemm = node("Gemm", ["f", "w"] + (["b"] if bias is not None else []), "y", "fc6", **attributes)
    return net([flat or node("Flatten", ["x"], "f"), gemm], {"x": shape}, numbers)


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("bias", [None, (5,), (1, 5), (1,)])
@pytest.mark.parametrize("target", [None, [0, -1], [-1, 24], [0, 24]])
def test_the_first_fully_connected_layer(trans, bias, target):
    flat, weights = None, {}
    if target is not None:
        flat, weights = node("Reshape", ["x", "t"], "f"), {"t": np.int64(target)}
    source = classifier(flat=flat, bias=bias, weights=weights, transB=trans, alpha=0.5, beta=3.0)
    result = applied(FC, source)
    assert ops(result.model) == ["Conv", "Flatten"]
    assert (result.model.graph.node[0].name, made_by(result.model.graph.node[0])) == ("fc6", None)


def test_an_empty_name_is_no_bias_of_a_fully_connected_layer():
    source = classifier(bias=None)
    source.graph.node[1].input.append("")
    assert ops(applied(FC, source).model) == ["Conv", "Flatten"]


def test_fully_connected_layers_that_stay():
    assert not FC.apply(classifier(shape=("N", 24, 1, 1))).modified
    assert not FC.apply(
        classifier(shape=("N", 3, 4, "W"), flat=node("Reshape", ["x", "t"], "f"), weights={"t": np.int64([-1, 24])})
    ).modified


@settings(max_examples=20, deadline=None)
@given(
    channels=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    relus=st.lists(st.booleans(), min_size=4, max_size=4),
    stride=st.integers(1, 2),
    bias=st.booleans(),
    opset=st.sampled_from([11, 17, 18]),
)
def test_parallel_convolutions(channels, relus, stride, bias, opset):
    nodes, weights, ends = [], {}, []
    for i, count in enumerate(channels):
        weights[f"w{i}"] = normal(count, 3, 1, 1, seed=i)
        if bias:
            weights[f"b{i}"] = normal(count, seed=i)
        inputs = ["x", *(name for name in weights if name.endswith(str(i)))]
        nodes.append(node("Conv", inputs, f"c{i}", f"conv{i}", strides=[stride, stride]))
        ends.append(f"c{i}")
        if relus[i]:
            nodes.append(node("Relu", [f"c{i}"], f"r{i}", f"relu{i}"))
            ends[-1] = f"r{i}"
    nodes.append(node("Concat", ends, "y", axis=1))
    result = applied(MERGE, net(nodes, {"x": ("N", 3, 5, 6)}, weights, opset=opset))
    assert ops(result.model).count("Conv") == 1
    assert ops(result.model).count("Relu") == (1 if all(relus[: len(channels)]) else sum(relus[: len(channels)]))


def test_an_empty_name_is_no_bias():
    weights = {"w": normal(4, 3, 1, 1), "v": normal(2, 3, 1, 1)}
    nodes = [node("Conv", ["x", "w", ""], "a", "one"), node("Conv", ["x", "v"], "b", "two")]
    source = net(nodes, {"x": ("N", 3, 5, 6)}, weights, ("a", "b"))
    result = applied(MERGE, source)
    assert ops(result.model) == ["Conv", "Split"]


def test_convolutions_that_differ_are_not_merged():
    weights = {"w": normal(4, 3, 1, 1), "v": normal(4, 3, 1, 1), "big": normal(4, 3, 3, 3)}
    nodes = [
        node("Conv", ["x", "w"], "a", "one"),
        node("Conv", ["x", "v"], "b", "two", pads=[1, 1, 1, 1]),
        node("Conv", ["x", "big"], "c", "three"),
    ]
    assert not MERGE.apply(net(nodes, {"x": ("N", 3, 5, 6)}, weights, ("a", "b", "c"))).modified


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [2, 4])
def test_groups(opset, bias, groups):
    weights = {"w": normal(8, 8 // groups, 3, 3)} | ({"b": normal(8)} if bias else {})
    conv = node("Conv", ["x", *weights], "y", "conv2", group=groups, pads=[1, 1, 1, 1])
    result = applied(SPLIT, net([conv], {"x": ("N", 8, 5, 5)}, weights, opset=opset))
    assert ops(result.model) == ["Split", *["Conv"] * groups, "Concat"]
    convs = [item for item in result.model.graph.node if item.op_type == "Conv"]
    assert [item.name for item in convs] == [f"conv2/group_{i}" for i in range(groups)]
    assert {made_by(item) for item in convs} == {None}


def test_depthwise_convolutions_stay():
    conv = node("Conv", ["x", "w"], "y", group=8)
    assert not SPLIT.apply(net([conv], {"x": ("N", 8, 5, 5)}, {"w": normal(8, 1, 3, 3)})).modified


@settings(max_examples=20, deadline=None)
@given(
    channels=st.integers(8, 12),
    outputs=st.integers(1, 5),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    bias=st.booleans(),
    opset=st.sampled_from([11, 17]),
)
def test_two_groups_become_one(channels, outputs, kernel, stride, bias, opset):
    weights = {"w": normal(2 * outputs, channels, *kernel, scale=0.1)} | ({"b": normal(2 * outputs)} if bias else {})
    window = {"pads": [kernel[0] - 1, 0, 0, kernel[1] - 1], "strides": [stride, stride]}
    conv = node("Conv", ["x", *weights], "y", "conv2", group=2, **window)
    result = applied(JOIN, net([conv], {"x": ("N", 2 * channels, 5, 6)}, weights, opset=opset))
    (made,) = result.model.graph.node
    assert (made.name, made_by(made), "group" in {item.name for item in made.attribute}) == ("conv2", None, False)
    stored = {item.name: list(item.dims) for item in result.model.graph.initializer}
    assert stored.pop("w/join_groups") == [2 * outputs, 2 * channels, *kernel] and set(stored) == {*weights} - {"w"}


def test_joined_by_hand():
    got = joined(np.float32([[1, 2], [3, 4], [5, 6], [7, 8]]).reshape(4, 2, 1), 2)
    assert got[:, :, 0].tolist() == [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6], [0, 0, 7, 8]]


@pytest.mark.parametrize(
    ("groups", "weights"),
    [(1, (8, 16, 3, 3)), (2, (8, 7, 3, 3)), (2, (2, 1, 3, 3)), (4, (8, 8, 3, 3)), (16, (16, 1, 3, 3))],
    ids=["one group", "few channels", "two channels", "four groups", "depthwise"],
)
def test_what_is_not_joined(groups, weights):
    conv = node("Conv", ["x", "w"], "y", group=groups)
    assert not JOIN.apply(net([conv], {"x": ("N", groups * weights[1], 5, 5)}, {"w": normal(*weights)})).modified
    computed = node("Conv", ["x", "w"], "y", group=2)
    assert not JOIN.apply(net([computed], {"x": ("N", 16, 5, 5), "w": (4, 8, 3, 3)})).modified


@pytest.mark.parametrize("names", [("join_groups", "split_groups"), ("split_groups", "join_groups")])
def test_of_joining_and_splitting_the_first_takes_the_convolution(names):
    conv = node("Conv", ["x", "w"], "y", "conv2", group=2)
    source = net([conv], {"x": ("N", 16, 5, 5)}, {"w": normal(8, 8, 3, 3)})
    assert [site.rewrite for site in apply_all(source, names)[1]] == [names[0]]


def test_none_of_them_is_safe():
    rewrites = {"fc_as_conv", "merge_parallel_1x1", "split_groups", "join_groups"}
    assert not rewrites & {*SAFE, *safe("tensorrt-rtx"), *safe("onnxruntime:cpu")}
