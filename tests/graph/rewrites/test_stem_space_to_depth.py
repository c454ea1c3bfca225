"""Stems as space-to-depth: every window, stride and padding; what stays; names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.rewrites.oracle import applied, net, node, normal, ops
from trtkit.graph.rewrites import ALL, made_by
from trtkit.graph.rewrites.stem_space_to_depth import rearranged

STEM, STEM16 = ALL["stem_space_to_depth"], ALL["stem_space_to_depth_16"]


def stem_net(shape=("N", 3, 20, 20), outputs=8, kernel=(7, 7), bias=True, group=1, **attributes):
    weights = {"w": normal(outputs, shape[1] // group, *kernel)}
    if bias:
        weights["b"] = normal(outputs)
    if group != 1:
        attributes["group"] = group
    return net([node("Conv", ["x", *weights], "y", "conv1", **attributes)], {"x": shape}, weights)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(5, 17), st.integers(5, 17)),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.integers(2, 4),
    channels=st.integers(1, 4),
    padding=st.one_of(
        st.lists(st.integers(0, 3), min_size=4, max_size=4), st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"])
    ),
    bias=st.booleans(),
    opset=st.sampled_from([9, 11, 17]),
    aligned=st.booleans(),
)
def test_every_window(size, kernel, stride, channels, padding, bias, opset, aligned):
    given = {"auto_pad": padding} if isinstance(padding, str) else {"pads": padding}
    total = [0, 0] if isinstance(padding, str) else [padding[0] + padding[2], padding[1] + padding[3]]
    if any(k > n + extra for k, n, extra in zip(kernel, size, total, strict=True)):
        kernel = (2, 2)
    weights = {"w": normal(4, channels, *kernel), **({"b": normal(4)} if bias else {})}
    source = net(
        [node("Conv", ["x", *weights], "y", "conv1", strides=[stride, stride], **given)],
        {"x": ("N", channels, *size)},
        weights,
        opset=opset,
    )
    result = applied(STEM16 if aligned else STEM, source)
    disputed = isinstance(padding, str) and padding != "VALID" and min(kernel) < stride
    if not aligned and not disputed:
        assert len(result.sites) == 1
    for item in result.model.graph.node:
        if item.op_type == "Conv" and result.modified:
            assert next(a.ints for a in item.attribute if a.name == "strides") == [1, 1]


def test_the_convolution_keeps_its_name_and_is_not_auxiliary():
    result = applied(STEM, stem_net(strides=[2, 2], pads=[3, 3, 3, 3]))
    assert ops(result.model) == ["Pad", "SpaceToDepth", "Conv"]
    conv = result.model.graph.node[2]
    assert (conv.name, made_by(conv)) == ("conv1", None)
    assert {made_by(item) for item in result.model.graph.node[:2]} == {STEM.name}
    assert [list(t.dims) for t in result.model.graph.initializer if len(t.dims) == 4] == [[8, 12, 4, 4]]


def test_the_variant_pads_the_channels_to_sixteen_and_only_where_that_is_needed():
    result = applied(STEM16, stem_net(strides=[2, 2], pads=[3, 3, 3, 3]))
    assert [list(t.dims) for t in result.model.graph.initializer if len(t.dims) == 4] == [[8, 16, 4, 4]]
    assert not STEM16.apply(stem_net(strides=[4, 4])).modified  # 48 channels are a multiple of 16
    assert not STEM16.apply(result.model).modified


def test_no_pad_where_the_windows_fit():
    assert ops(applied(STEM, stem_net(("N", 3, 8, 8), kernel=(4, 4), strides=[4, 4])).model) == ["SpaceToDepth", "Conv"]


@pytest.mark.parametrize(
    "source",
    [
        stem_net(),
        stem_net(strides=[2, 1]),
        stem_net(strides=[2, 2], dilations=[2, 2]),
        stem_net(("N", 8, 20, 20), strides=[2, 2]),
        stem_net(("N", 4, 20, 20), strides=[2, 2], group=2),
        stem_net(("N", 3, "H", 20), strides=[2, 2]),
        net([node("Conv", ["x", "w"], "y", "c", strides=[2])], {"x": ("N", 3, 20)}, {"w": normal(4, 3, 5)}),
        net([node("Conv", ["x", "w"], "y", "c", strides=[2, 2])], {"x": ("N", 3, 9, 9), "w": (4, 3, 3, 3)}),
    ],
    ids=["stride 1", "two strides", "dilated", "many channels", "grouped", "height unknown", "1-D", "computed weights"],
)
def test_what_it_leaves_alone(source):
    assert not STEM.apply(source).modified


def test_weights_that_others_read_stay():
    weights = {"w": normal(4, 3, 3, 3)}
    nodes = [
        node("Conv", ["x", "w"], "a", "one", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["x", "w"], "y", "two", pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["a"], "z"),
    ]
    result = applied(STEM, net(nodes, {"x": ("N", 3, 8, 8)}, weights, outputs=("y", "z")))
    assert "w" in {item.name for item in result.model.graph.initializer}
    assert [site.anchor for site in result.sites] == ["one"]


def test_rearranged_by_hand():
    weights = np.arange(3, dtype=np.float32).reshape(1, 1, 1, 3)  # one row of window 3, stride 2
    got = rearranged(weights, 2)
    assert got.shape == (1, 4, 1, 2)
    assert got[0, :, 0, :].tolist() == [[0, 2], [1, 0], [0, 0], [0, 0]]
