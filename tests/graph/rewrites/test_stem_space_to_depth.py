"""Stems as space-to-depth: every window, stride and padding; what stays; names."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.rewrites.oracle import agree, applied, net, node, normal, ops
from trtkit.graph.rewrites import ALL, apply_all, made_by
from trtkit.graph.rewrites.stem_space_to_depth import StemSpaceToDepth, rearranged

STEM, STEM16 = ALL["stem_space_to_depth"], ALL["stem_space_to_depth_16"]


def stem_net(shape=("N", 3, 20, 20), outputs=8, kernel=(7, 7), bias=True, group=1, **attributes):
    weights = {"w": normal(outputs, shape[1] // group, *kernel)}
    if bias:
        weights["b"] = normal(outputs)
    if group != 1:
        attributes["group"] = group
    return net([node("Conv", ["x", *weights], "y", "conv1", **attributes)], {"x": shape}, weights)


def attribute(item, name):
    return next(list(entry.ints) for entry in item.attribute if entry.name == name)


@settings(max_examples=60, deadline=None)
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
            assert attribute(item, "strides") == [1, 1]


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(6, 18), st.integers(6, 18)),
    kernel=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    stride=st.integers(2, 4),
    padding=st.lists(st.integers(0, 4), min_size=4, max_size=4),
)
def test_an_axis_is_padded_by_the_convolution_where_it_can_be(size, kernel, stride, padding):
    padding = [min(pad, k - 1) for pad, k in zip(padding, kernel * 2, strict=True)]
    kernel = tuple(min(k, n + a + b) for k, n, a, b in zip(kernel, size, padding[:2], padding[2:], strict=True))
    result = applied(STEM, stem_net(("N", 3, *size), 4, kernel, strides=[stride, stride], pads=padding))
    pads = attribute(result.model.graph.node[-1], "pads")
    image = [0] * 8
    if ops(result.model)[0] == "Pad":
        (stored,) = [t for t in result.model.graph.initializer if t.data_type == onnx.TensorProto.INT64]
        image = onnx.numpy_helper.to_array(stored).tolist()
    for axis, (n, k, p) in enumerate(zip(size, kernel, padding, strict=False)):
        fits = n % stride == 0 and -(-(k + -p % stride) // stride) == -(-k // stride)
        taken = image[2 + axis :: 4] if fits else pads[axis::2]
        assert taken == [0, 0]
        assert all(0 <= pad < -(-k // stride) for pad in pads[axis::2])


def test_stems_of_two_and_images_of_even_sizes_need_no_pad():
    result = applied(STEM, stem_net(strides=[2, 2], pads=[3, 3, 3, 3]))
    assert ops(result.model) == ["SpaceToDepth", "Conv"]
    deep, conv = result.model.graph.node
    assert (conv.name, made_by(conv), made_by(deep)) == ("conv1", None, STEM.name)
    assert attribute(conv, "pads") == [2, 2, 1, 1] and attribute(conv, "kernel_shape") == [4, 4]
    assert [list(t.dims) for t in result.model.graph.initializer if len(t.dims) == 4] == [[8, 12, 4, 4]]


@pytest.mark.parametrize("variant", [STEM, STEM16], ids=["plain", "16"])
@pytest.mark.parametrize("size", [(20, 20), (20, 21), (21, 20), (21, 21)])
def test_one_axis_may_need_the_pad_and_the_other_not(variant, size):
    result = applied(variant, stem_net(("N", 3, *size), strides=[2, 2], pads=[3, 3, 3, 3]))
    *pad, deep, conv = result.model.graph.node
    odd = [n % 2 for n in size]
    assert [bool(n) for n in attribute(conv, "pads")] == [not n for n in odd] * 2
    assert len(pad) == (any(odd) or variant is STEM16) and {made_by(item) for item in (*pad, deep)} == {variant.name}
    if pad:
        stored = next(t for t in result.model.graph.initializer if t.name == pad[0].input[1])
        image = onnx.numpy_helper.to_array(stored).tolist()
        assert image[:2] == [0, 0] and image[4:6] == [0, variant is STEM16]
        assert [bool(n) for n in image[2:4]] == [bool(n) for n in odd]


@pytest.mark.parametrize("variant", [STEM, STEM16], ids=["plain", "16"])
def test_the_pad_alone_for_those_who_measure_it(variant, monkeypatch):
    monkeypatch.setattr(StemSpaceToDepth, "conv_pads", False)
    result = applied(variant, stem_net(strides=[2, 2], pads=[3, 3, 3, 3]))
    assert ops(result.model) == ["Pad", "SpaceToDepth", "Conv"]
    assert attribute(result.model.graph.node[2], "pads") == [0, 0, 0, 0]


def test_the_variant_pads_the_channels_to_sixteen_and_only_where_that_is_needed():
    result = applied(STEM16, stem_net(strides=[2, 2], pads=[3, 3, 3, 3]))
    assert [list(t.dims) for t in result.model.graph.initializer if len(t.dims) == 4] == [[8, 16, 4, 4]]
    assert not STEM16.apply(stem_net(strides=[4, 4])).modified  # 48 channels are a multiple of 16
    assert not STEM16.apply(result.model).modified


def test_with_both_the_variant_takes_what_it_can_and_the_plain_one_the_rest():
    names = tuple(name for name in ALL if name in (STEM.name, STEM16.name))
    assert names == (STEM16.name, STEM.name)
    weights = {"w": normal(8, 3, 3, 3), "v": normal(8, 4, 3, 3)}
    nodes = [
        node("Conv", ["x", "w"], "a", "three", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["z", "v"], "y", "four", strides=[2, 2], pads=[1, 1, 1, 1]),  # 4·2² are 16 channels as they are
    ]
    source = net(nodes, {"x": ("N", 3, 8, 8), "z": ("N", 4, 8, 8)}, weights, outputs=("a", "y"))
    result, sites = apply_all(source, names)
    assert [(site.rewrite, site.anchor) for site in sites] == [(STEM16.name, "three"), (STEM.name, "four")]
    agree(source, result)


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
    late = rearranged(weights, 2, front=(0, 1))  # a zero tap before the row
    assert late.shape == (1, 4, 1, 2) and late[0, :, 0, :].tolist() == [[0, 1], [0, 2], [0, 0], [0, 0]]


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(("size", "disputed"), [(15, True), (16, False)])
def test_sizes_behind_a_pool_that_rounds_up(pool, size, disputed):
    """A last window that begins in the padding behind: onnx counts it (9 rows of 15), ONNX Runtime does not (8)."""
    window = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}
    nodes = [
        node("Conv", ["x", "w"], "a", "stem", strides=[2, 2]),
        node(pool, ["a"], "b", "pool", **window),
        node("Conv", ["b", "v"], "y", "behind", strides=[3, 3]),
    ]
    weights = {"w": normal(3, 3, 2, 2), "v": normal(4, 3, 3, 3)}
    source = net(nodes, {"x": ("N", 3, 2 * size, 2 * size)}, weights)
    source.graph.output[0].type.tensor_type.ClearField("shape")
    result = STEM.apply(source)
    assert {site.anchor for site in result.sites} == ({"stem"} if disputed else {"stem", "behind"})
    agree(source, result.model)
