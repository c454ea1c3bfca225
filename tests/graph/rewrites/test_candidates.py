"""Rewrites that help here and hurt there: the first FC as a convolution, merged 1×1 convolutions, split groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.rewrites.oracle import applied, net, node, normal, ops
from trtkit.graph.rewrites import ALL, SAFE, made_by

FC, MERGE, SPLIT = ALL["fc_as_conv"], ALL["merge_parallel_1x1"], ALL["split_groups"]


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


def test_none_of_them_is_safe():
    assert not {"fc_as_conv", "merge_parallel_1x1", "split_groups"} & set(SAFE)
