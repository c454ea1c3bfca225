"""trtkit.graph.cost against counts by hand and against plain loops over the definition of each operator."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.graph.models import model, tensor, value
from trtkit.errors import UsageError
from trtkit.graph.cost import cost


def zeros(name, *shape, dtype=np.float32):
    return tensor(name, np.zeros(shape, dtype))


def node(op_type, inputs, outputs, name="n", **attributes):
    return helper.make_node(op_type, inputs, outputs, name=name, **attributes)


def loop_count_conv(shape, weight, groups, stride, pad, dilation):
    """Products of a grouped 2-D convolution, one by one, padding included."""
    batch, _, height, width = shape
    out_channels, in_group, kernel_h, kernel_w = weight
    out_h = (height + 2 * pad - dilation * (kernel_h - 1) - 1) // stride + 1
    out_w = (width + 2 * pad - dilation * (kernel_w - 1) - 1) // stride + 1
    count = 0
    for _ in itertools.product(range(batch), range(groups), range(out_channels // groups), range(out_h), range(out_w)):
        for _ in itertools.product(range(in_group), range(kernel_h), range(kernel_w)):
            count += 1
    return count


@given(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(1, 3), st.integers(1, 2),
    st.integers(0, 1), st.integers(1, 2), st.integers(5, 7),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_conv_equals_a_loop(batch, groups, in_group, out_group, kernel, stride, pad, dilation, size):
    weight = (groups * out_group, in_group, kernel, kernel)
    attributes = {"group": groups, "strides": [stride] * 2, "pads": [pad] * 4, "dilations": [dilation] * 2}
    conv = model(
        [node("Conv", ["x", "w", "b"], ["y"], **attributes)],
        [value("x", ("N", groups * in_group, size, size + 1))],
        [value("y", None)],
        [zeros("w", *weight), zeros("b", weight[0])],
    )
    found = cost(conv, batch)
    loops = loop_count_conv((batch, groups * in_group, size, size + 1), weight, groups, stride, pad, dilation)
    assert found.nodes[0].macs == loops
    assert found.macs == loops // batch
    assert found.batch == batch
    assert found.parameters == np.prod(weight) + weight[0]
    assert found.weight_bytes == 4 * found.parameters


def test_grouped_conv_transpose_by_hand():
    net = model(
        [node("ConvTranspose", ["x", "w"], ["y"], group=2, strides=[2, 2])],
        [value("x", ("N", 4, 5, 6))],
        [value("y", None)],
        [zeros("w", 4, 3, 2, 2)],
    )
    found = cost(net, batch=3)
    # Each of the 4·5·6 input elements meets 3 output channels of its group at 2·2 positions.
    assert found.macs == 4 * 5 * 6 * 3 * 2 * 2
    assert found.nodes[0].output_elements == 3 * 6 * 10 * 12


@pytest.mark.parametrize(("trans_a", "trans_b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gemm(trans_a, trans_b):
    net = model(
        [node("Gemm", ["x", "w", "b"], ["y"], transA=trans_a, transB=trans_b)],
        [value("x", (7, 5) if trans_a else (5, 7))],
        [value("y", None)],
        [zeros("w", *((3, 7) if trans_b else (7, 3))), zeros("b", 3)],
    )
    assert cost(net).nodes[0].macs == 5 * 7 * 3
    assert cost(net).parameters == 24


@pytest.mark.parametrize(
    ("left", "right", "macs"),
    [
        ((2, 3), (3, 5), 30),
        ((4, 2, 3), (3, 5), 120),
        ((4, 2, 3), (4, 3, 5), 120),
        ((3,), (3, 5), 15),
        ((2, 3), (3,), 6),
    ],
)
def test_matmul(left, right, macs):
    net = model([node("MatMul", ["x", "w"], ["y"])], [value("x", left)], [value("y", None)], [zeros("w", *right)])
    assert cost(net).nodes[0].macs == macs


def test_parameters_are_the_trainable_ones():
    net = model(
        [
            node("Conv", ["x", "w"], ["c"], "conv"),
            node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["n"], "norm"),
            node("PRelu", ["n", "slope"], ["p"], "prelu"),
            node("Mul", ["p", "scale"], ["m"], "mul"),
            node("Reshape", ["m", "shape"], ["f"], "reshape"),
            node("MatMul", ["f", "wt"], ["l"], "matmul"),
            node("Add", ["l", "bias"], ["y"], "bias"),
        ],
        [value("x", ("N", 3, 4, 4))],
        [value("y", None)],
        [
            zeros("w", 8, 3, 1, 1), zeros("gamma", 8), zeros("beta", 8), zeros("mean", 8), zeros("var", 8),
            zeros("slope", 8, 1, 1), zeros("scale", 1), tensor("shape", np.array([-1, 128])), zeros("wt", 128, 10),
            zeros("bias", 10),
        ],
    )  # fmt: skip
    found = cost(net)
    assert {n.name: n.parameters for n in found.nodes} == {
        "conv": 24, "norm": 16, "prelu": 8, "mul": 0, "reshape": 0, "matmul": 1280, "bias": 10,
    }  # fmt: skip
    assert found.parameters == 24 + 16 + 8 + 1280 + 10
    assert found.weight_bytes == 4 * (found.parameters + 16)  # mean and variance are stored, not trained
    assert found.macs == 24 * 16 + 1280


def test_shared_and_transposed_weights_count_once():
    net = model(
        [
            node("MatMul", ["x", "w"], ["a"], "one"),
            node("Transpose", ["w"], ["wt"], "transpose"),
            node("MatMul", ["a", "wt"], ["y"], "two"),
        ],
        [value("x", ("N", 6))],
        [value("y", None)],
        [zeros("w", 6, 5)],
    )
    found = cost(net)
    assert found.parameters == 30
    assert [n.parameters for n in found.nodes] == [30, 0, 30]
    assert found.macs == 60


def test_weights_behind_dequantize_and_in_constants():
    scale = tensor("s", np.float32(0.1))
    net = model(
        [
            node("DequantizeLinear", ["q", "s"], ["w"], "dq"),
            helper.make_node("Constant", [], ["b"], value=zeros("", 8)),
            node("Conv", ["x", "w", "b"], ["y"], "conv"),
        ],
        [value("x", ("N", 3, 4, 4))],
        [value("y", None)],
        [zeros("q", 8, 3, 1, 1, dtype=np.int8), scale],
    )
    found = cost(net)
    assert found.parameters == 24 + 8
    assert found.weight_bytes == 24 + 8 * 4


def test_same_name_in_both_branches_is_two_weights():
    def branch(name, columns):
        return helper.make_graph(
            [node("MatMul", ["x", "w"], [name])], name, [], [value(name, None)], [zeros("w", 4, columns)]
        )

    net = model(
        [node("If", ["c"], ["y"], "if", then_branch=branch("t", 3), else_branch=branch("e", 5))],
        [value("x"), value("c", (), TensorProto.BOOL)],
        [value("y", None)],
    )
    found = cost(net)
    assert found.parameters == 32
    assert found.macs is None
    assert "MatMul 'n' inside If 'if'" in found.macs_unknown_because


def test_unknown_dimensions_give_none_and_the_reason():
    net = model(
        [node("Conv", ["x", "w"], ["y"], "first")],
        [value("x", ("N", 3, "H", "W"))],
        [value("y", None)],
        [zeros("w", 8, 3, 3, 3)],
    )
    found = cost(net)
    assert found.macs is None
    assert found.nodes[0].macs is None
    assert found.nodes[0].output_elements is None
    assert "Conv 'first' has unknown dimensions" in found.macs_unknown_because
    assert "1×3×H×W" in found.macs_unknown_because
    assert found.parameters == 216


@pytest.mark.parametrize("leading", ["N", None, -1])
def test_every_way_to_write_a_dynamic_batch(leading):
    net = model([node("MatMul", ["x", "w"], ["y"])], [value("x", (leading, 4))], [value("y")], [zeros("w", 4, 4)])
    found = cost(net, batch=6)
    assert (found.batch, found.macs, found.nodes[0].output_elements) == (6, 16, 24)


def test_a_fixed_batch_is_divided_out():
    net = model([node("MatMul", ["x", "w"], ["y"])], [value("x", (8, 4))], [value("y", None)], [zeros("w", 4, 4)])
    found = cost(net, batch=2)
    assert (found.batch, found.macs, found.nodes[0].macs) == (8, 16, 128)


def test_reshape_computed_from_the_batch_is_followed():
    net = model(
        [
            node("Shape", ["x"], ["s"], "shape", end=1),
            helper.make_node("Constant", [], ["rest"], value=tensor("", np.array([48]))),
            node("Concat", ["s", "rest"], ["to"], "concat", axis=0),
            node("Reshape", ["x", "to"], ["f"], "flatten"),
            node("Gemm", ["f", "w"], ["y"], "fc"),
        ],
        [value("x", ("N", 3, 4, 4))],
        [value("y", None)],
        [zeros("w", 48, 10)],
    )
    assert cost(net, batch=4).macs == 480


def test_operators_without_a_formula_make_macs_unknown_not_zero():
    net = model(
        [node("Einsum", ["x", "w"], ["y"], "e", equation="ni,ij->nj")],
        [value("x")],
        [value("y")],
        [zeros("w", 4, 4)],
    )
    found = cost(net)
    assert found.macs is None and "Einsum 'e'" in found.macs_unknown_because
    assert found.parameters == 16
    custom = model(
        [helper.make_node("Mystery", ["x"], ["y"], "m", domain="acme")], [value("x")], [value("y")], domains=["acme"]
    )
    assert "acme" in cost(custom).macs_unknown_because


def test_the_model_is_left_alone_and_weights_may_be_missing():
    net = model([node("MatMul", ["x", "w"], ["y"])], [value("x")], [value("y")], [zeros("w", 4, 1000)])
    net.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1000
    before = net.SerializeToString(deterministic=True)
    full = cost(net)
    assert net.SerializeToString(deterministic=True) == before
    bare = onnx.ModelProto()
    bare.CopyFrom(net)
    bare.graph.initializer[0].ClearField("raw_data")
    assert cost(bare) == full


def test_batch_below_one():
    with pytest.raises(UsageError, match="batch 0"):
        cost(model([node("Relu", ["x"], ["y"])]), batch=0)
