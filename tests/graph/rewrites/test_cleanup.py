"""Identities, dead nodes, constants, pads and global means."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graph.models import with_branches
from tests.graph.rewrites.oracle import applied, net, node, normal, ops
from trtkit.graph.names import make_node_names_unique
from trtkit.graph.rewrites import ALL

IDENTITY, DEAD, CONSTANTS = ALL["remove_identity"], ALL["remove_dead"], ALL["fold_constants"]
PAD, POOL = ALL["fold_pad"], ALL["global_pool"]
IMAGE = {"x": ("N", 3, 6, 7)}


@pytest.mark.parametrize(
    ("idle", "weights"),
    [
        (node("Identity", ["a"], "b"), {}),
        (node("Dropout", ["a"], "b"), {}),
        (node("Dropout", ["a", "half"], ["b", "mask"]), {"half": np.float32(0.5)}),
        (node("Cast", ["a"], "b", to=TensorProto.FLOAT), {}),
        (node("Transpose", ["a"], "b", perm=[0, 1, 2, 3]), {}),
        (node("Pad", ["a", "p"], "b"), {"p": np.zeros(8, np.int64)}),
        (node("Concat", ["a"], "b", axis=1), {}),
        (node("MaxPool", ["a"], "b", kernel_shape=[1, 1]), {}),
        (node("Mul", ["one", "a"], "b"), {"one": np.float32(1)}),
        (node("Add", ["a", "zero"], "b"), {"zero": np.zeros((1, 1), np.float32)}),
    ],
    ids=lambda item: item.op_type if hasattr(item, "op_type") else "",
)
@pytest.mark.parametrize("last", [False, True], ids=["inside", "makes the output"])
def test_what_passes_its_input_on_is_removed(idle, weights, last):
    if last:
        idle.output[0] = "y"
    nodes = [node("Relu", ["x"], "a"), idle] + ([] if last else [node("Abs", ["b"], "y")])
    result = applied(IDENTITY, net(nodes, IMAGE, weights))
    assert ops(result.model) == ["Relu"] + ([] if last else ["Abs"])
    assert not result.model.graph.initializer


def test_a_chain_of_identities_and_an_output_that_is_the_input():
    nodes = [node("Relu", ["x"], "a")]
    nodes += [node("Identity", [f"{source}"], target, f"i{target}") for source, target in ("ab", "bc", "cy")]
    assert ops(applied(IDENTITY, net(nodes, IMAGE)).model) == ["Relu"]
    assert not applied(IDENTITY, net([node("Identity", ["x"], "y")], IMAGE)).modified


@pytest.mark.parametrize(
    ("busy", "weights"),
    [
        (node("Cast", ["a"], "b", to=TensorProto.FLOAT16), {}),
        (node("Mul", ["a", "two"], "b"), {"two": np.float32(2)}),
        (node("Add", ["a", "zeros"], "b"), {"zeros": np.zeros((2, 1, 1, 1, 1), np.float32)}),
        (node("Sub", ["zero", "a"], "b"), {"zero": np.float32(0)}),
        (node("MaxPool", ["a"], "b", kernel_shape=[1, 1], strides=[2, 2]), {}),
    ],
    ids=["another type", "two", "a higher rank", "negation", "strided"],
)
def test_what_does_something_stays(busy, weights):
    assert not IDENTITY.apply(net([node("Relu", ["x"], "a"), busy, node("Abs", ["b"], "y")], IMAGE, weights)).modified


def test_a_tensor_that_a_branch_reads_keeps_its_name():
    model = with_branches()
    model.graph.node.insert(0, helper.make_node("Identity", ["raw"], ["x"], name="first"))
    model.graph.input[0].name = "raw"
    make_node_names_unique(model)
    assert not IDENTITY.apply(model).modified


def test_dead_nodes_go_with_their_weights():
    nodes = [
        node("Mul", ["x", "k"], "a"),
        node("Exp", ["a"], "b"),
        node("Relu", ["x"], "y"),
    ]
    result = applied(DEAD, net(nodes, IMAGE, {"k": normal(3, 1, 1)}))
    assert ops(result.model) == ["Relu"] and not result.model.graph.initializer


def test_constants_weights_and_sizes_are_computed_beforehand():
    constant = helper.make_node("Constant", [], ["c"], "constant", value=numpy_helper.from_array(np.float32([2])))
    nodes = [
        constant,
        node("Transpose", ["w"], "wt", "turn", perm=[1, 0]),
        node("Mul", ["wt", "c"], "w2", "double"),
        node("MatMul", ["x", "w2"], "m"),
        node("Shape", ["m"], "s"),
        node("Gather", ["s", "last"], "width", axis=0),
        node("Concat", ["minus", "width"], "target", axis=0),
        node("Reshape", ["m", "target"], "y"),
    ]
    weights = {"w": normal(6, 4), "last": np.int64([2]), "minus": np.int64([-1])}
    result = applied(CONSTANTS, net(nodes, {"x": ("N", 3, 4)}, weights))
    assert ops(result.model) == ["MatMul", "Shape", "Reshape"]  # a Shape of a dynamic size is not known as a whole
    stored = {item.name: numpy_helper.to_array(item) for item in result.model.graph.initializer}
    assert stored["target"].tolist() == [-1, 6] and stored["w2"].shape == (4, 6) and set(stored) == {"target", "w2"}
    assert ops(applied(DEAD, result.model).model) == ["MatMul", "Reshape"]


def test_shapes_that_an_exporter_noted_for_one_batch_are_not_believed():
    nodes = [
        node("Relu", ["x"], "r"),
        node("Shape", ["r"], "s"),
        node("Reshape", ["x", "s"], "y"),
    ]
    source = net(nodes, {"x": ("N", 4)})
    source.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, 4]))
    assert not CONSTANTS.apply(source).modified


def test_weights_are_not_dequantized():
    nodes = [node("DequantizeLinear", ["w", "s"], "d"), node("MatMul", ["x", "d"], "y")]
    weights = {"w": np.ones((4, 3), np.int8), "s": np.float32(0.5)}
    assert not CONSTANTS.apply(net(nodes, {"x": ("N", 4)}, weights)).modified


@pytest.mark.parametrize("opset", [9, 11, 17, 18])
@pytest.mark.parametrize("reader", ["Conv", "AveragePool", "MaxPool"])
@pytest.mark.parametrize("own", [0, 1])
def test_pads_become_padding(opset, reader, own):
    pads, weights = [0, 0, 1, 0, 0, 0, 2, 1], {}
    if opset < 11:
        pad = node("Pad", ["r"], "p", pads=pads)
    elif opset == 18:
        pad = node("Pad", ["r", "pads", "", "axes"], "p")
        weights = {"pads": np.int64([0, 1, 1, 2]), "axes": np.int64([-1, 2])}
    else:
        pad, weights = node("Pad", ["r", "pads"], "p"), {"pads": np.int64(pads)}
    attributes = {"strides": [2, 1], "pads": [own] * 4}
    if reader == "Conv":
        weights["w"] = normal(4, 3, 4, 4)
    else:
        attributes["kernel_shape"] = [4, 4]
    read = node(reader, ["p", "w"] if reader == "Conv" else ["p"], "y", **attributes)
    result = applied(PAD, net([node("Relu", ["x"], "r"), pad, read], IMAGE, weights, opset=opset))
    assert result.modified is not (reader == "AveragePool" and own == 1)


@pytest.mark.parametrize("case", ["reflect", "ones", "negative", "channels", "two readers", "maximum of any number"])
def test_pads_that_stay(case):
    weights = {"pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1]), "w": normal(4, 3, 3, 3)}
    pad, outputs = node("Pad", ["x", "pads"], "p"), ("y",)
    read = node("Conv", ["p", "w"], "y")
    nodes = [pad, read]
    if case == "reflect":
        nodes[0] = node("Pad", ["x", "pads"], "p", mode="reflect")
    elif case == "ones":
        nodes[0], weights["one"] = node("Pad", ["x", "pads", "one"], "p"), np.float32(1)
    elif case == "negative":
        weights["pads"] = np.int64([0, 0, -1, 1, 0, 0, 1, 1])
    elif case == "channels":
        weights["pads"], weights["w"] = np.int64([0, 1, 0, 0, 0, 0, 0, 0]), normal(4, 4, 3, 3)
    elif case == "two readers":
        nodes.append(node("Relu", ["p"], "z"))
        outputs = ("y", "z")
    else:
        nodes[1] = node("MaxPool", ["p"], "y", kernel_shape=[3, 3])
        del weights["w"]
    assert not PAD.apply(net(nodes, IMAGE, weights, outputs)).modified


@pytest.mark.parametrize("opset", [17, 18])
def test_means_over_the_map(opset):
    reduce = node("ReduceMean", ["x"], "y", axes=[-1, 2])
    weights = {}
    if opset == 18:
        reduce, weights = node("ReduceMean", ["x", "axes"], "y"), {"axes": np.int64([2, 3])}
    result = applied(POOL, net([reduce], IMAGE, weights, opset=opset))
    assert ops(result.model) == ["GlobalAveragePool"] and not result.model.graph.initializer
    assert ops(applied(POOL, net([node("AveragePool", ["x"], "y", kernel_shape=[6, 7])], IMAGE)).model) == [
        "GlobalAveragePool"
    ]


@pytest.mark.parametrize(
    "mean",
    [
        node("AveragePool", ["x"], "y", kernel_shape=[6, 6]),
        node("AveragePool", ["x"], "y", kernel_shape=[6, 7], pads=[0, 0, 1, 0]),
        node("ReduceMean", ["x"], "y", axes=[1, 2]),
        node("ReduceMean", ["x"], "y", axes=[2, 3], keepdims=0),
    ],
    ids=["part", "padded", "channels", "another rank"],
)
def test_other_means_stay(mean):
    assert not POOL.apply(net([mean], IMAGE)).modified
