"""Transposes between a channels-last graph's steps: they meet and go; where they would not, nothing moves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.rewrites.oracle import agree, applied, net, node, normal, ops
from trtkit.graph.rewrites import ALL, apply_all, safe

SINK = ALL["sink_transposes"]
LAST, FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
IMAGE = {"x": ("N", 4, 5, 6)}


def between(*inner, weights=(), source="a", target="b", outputs=("y",), opset=17):
    """NCHW → channels last → ``inner`` (from a to b) → NCHW."""
    nodes = [node("Transpose", ["x"], source, "last", perm=LAST), *inner]
    nodes.append(node("Transpose", [target], "y", "first", perm=FIRST))
    return net(nodes, IMAGE, weights, outputs, opset=opset)


@pytest.mark.parametrize(
    ("inner", "weights", "opset"),
    [
        ([node("Relu", ["a"], "b")], {}, 17),
        ([node("Add", ["a", "k"], "b")], {"k": normal(4)}, 17),
        ([node("Div", ["k", "a"], "b")], {"k": normal(5, 6, 4)}, 17),
        ([node("Mul", ["a", "k"], "b")], {"k": np.float32(2)}, 17),
        ([node("Transpose", ["x"], "t", "other", perm=LAST), node("Add", ["a", "t"], "b")], {}, 17),
        ([node("Pad", ["a", "p"], "b")], {"p": np.int64([0, 1, 2, 3, 1, 0, 1, 2])}, 17),
        ([node("Pad", ["a"], "b", pads=[0, 1, 2, 3, 1, 0, 1, 2])], {}, 10),
        ([node("ReduceMean", ["a"], "b", axes=[1, -2])], {}, 17),
        ([node("ReduceMean", ["a", "axes"], "b")], {"axes": np.int64([3])}, 18),
        ([node("Clip", ["a", "low"], "b")], {"low": np.float32(0.1)}, 17),
    ],
    ids=lambda item: "-".join(n.op_type for n in item) if isinstance(item, list) else "",
)
def test_what_does_not_care_for_the_layout(inner, weights, opset):
    result = applied(SINK, between(*inner, weights=weights, opset=opset))
    assert ops(result.model) == [inner[-1].op_type]


def test_a_channels_last_block_becomes_a_plain_one():
    weights = {"w": normal(4, 4, 3, 3), "bias": normal(4), "mean": normal(4), "k": normal(4)}
    conv = {"pads": [1, 1, 1, 1]}
    nodes = [
        node("Transpose", ["x"], "t0", "t0", perm=FIRST),
        node("Conv", ["t0", "w"], "c1", "conv1", **conv),
        node("Transpose", ["c1"], "t1", "t1", perm=LAST),
        node("Add", ["t1", "bias"], "a1", "add1"),
        node("Sub", ["a1", "mean"], "s1", "sub1"),
        node("Mul", ["s1", "k"], "m1", "mul1"),
        node("Relu", ["m1"], "r1", "relu1"),
        node("Transpose", ["r1"], "t2", "t2", perm=FIRST),
        node("Conv", ["t2", "w"], "c2", "conv2", **conv),
        node("Transpose", ["c2"], "t3", "t3", perm=LAST),
        node("Add", ["t3", "r1"], "sum", "residual"),
        node("Relu", ["sum"], "r2", "relu2"),
        node("ReduceMean", ["r2"], "y", "mean", axes=[1, 2], keepdims=0),
    ]
    source = net(nodes, {"x": ("N", 5, 6, 4)}, weights)
    result = applied(SINK, source)
    assert ops(result.model).count("Transpose") <= 2
    folded, _ = apply_all(result.model, ["fold_batchnorm"])
    assert [op for op in ops(folded) if op in ("Sub", "Mul")] == []


def test_nothing_moves_where_no_transpose_would_go():
    assert not SINK.apply(net([node("Transpose", ["x"], "a", perm=LAST), node("Relu", ["a"], "y")], IMAGE)).modified
    two = [node("Transpose", ["x"], "a", "t", perm=LAST), node("Relu", ["a"], "b"), node("Relu", ["b"], "y", "r2")]
    assert not SINK.apply(net(two, IMAGE)).modified


@settings(max_examples=20, deadline=None)
@given(first=st.permutations(range(4)), second=st.permutations(range(4)), last=st.booleans())
def test_two_in_a_row_are_one(first, second, last):
    nodes = [
        node("Transpose", ["x"], "a", "one", perm=first),
        node("Transpose", ["a"], "y" if last else "b", "two", perm=second),
    ]
    if not last:
        nodes.append(node("Relu", ["b"], "y"))
    result = applied(SINK, net(nodes, IMAGE))
    assert ops(result.model).count("Transpose") <= 1


def test_an_edit_waits_for_another_that_takes_its_tensor():
    """The second transpose takes the first away; the third, read beside it, would go back to what the first made."""
    nodes = [
        node("Relu", ["x"], "r"),
        node("Transpose", ["r"], "a", "first", perm=[0, 2, 3, 1]),
        node("Transpose", ["a"], "b", "second", perm=[0, 3, 1, 2]),
        node("Conv", ["b", "w"], "y", "conv"),
        node("Transpose", ["b"], "c", "third", perm=[0, 2, 3, 1]),
        node("Mul", ["c", "k"], "z", "mul"),
    ]
    source = net(nodes, IMAGE, {"w": normal(3, 4, 1, 1), "k": normal(4)}, ("y", "z"))
    result = applied(SINK, source)
    assert ops(result.model).count("Transpose") == 1


@st.composite
def trees(draw):
    """Transposes and elementwise steps that read each other in any way; what nobody reads is an output."""
    tensors, read, nodes = ["x"], set(), []
    for index in range(draw(st.integers(2, 9))):
        source, name = draw(st.sampled_from(tensors[-4:])), f"t{index}"
        op = draw(st.sampled_from(["Transpose", "Transpose", "Transpose", "Relu", "Mul", "Concat"]))
        perm = draw(st.sampled_from([LAST, FIRST, LAST, FIRST, [0, 1, 3, 2], [1, 0, 2, 3]]))
        inputs = [source, "two"] if op == "Mul" else [source, source] if op == "Concat" else [source]
        given = {"perm": perm} if op == "Transpose" else {"axis": 1} if op == "Concat" else {}
        nodes.append(node(op, inputs, name, f"n{index}", **given))
        tensors.append(name)
        read.add(source)
    leaves = tuple(name for name in tensors[1:] if name not in read)
    return net(nodes, {"x": (2, 4, 5, 6)}, {"two": np.float32(2)}, leaves)


@settings(max_examples=150, deadline=None)
@given(source=trees())
def test_any_tree_of_transposes_stays_whole(source):
    applied(SINK, source)
    result, _ = apply_all(source, safe("tensorrt-rtx"))
    onnx.checker.check_model(result, full_check=True)
    agree(source, result)
