"""The float16 cast of what is no plain chain of nodes: constants, subgraphs, Q/DQ, functions, custom operators."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.graph.float16_oracle import (
    casts,
    checked,
    conv_lrn_softmax,
    element_types,
    net,
    node,
    normal,
    relative_l2,
    run,
)
from tests.graph.models import tensor, value
from trtkit.errors import ModelError
from trtkit.graph.float16 import to_float16

FLOAT, FLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16


def test_a_weight_shared_by_float16_and_float32_nodes_exists_twice():
    scale = normal(4, 6)
    nodes = [
        node("Pow", ["x", "w"], ["p"]),
        node("Tanh", ["p"], ["t"]),
        node("Relu", ["x"], ["r"]),
        node("Mul", ["r", "w"], ["m"]),
        node("Add", ["t", "m"], ["y"]),
    ]
    for ir in (3, 8):
        inputs = [value("x", (4, 6))] + ([value("w", (4, 6))] if ir == 3 else [])
        result = checked(net(nodes, inputs, [value("y", (4, 6))], [tensor("w", scale)], ir=ir))
        stored = {t.name: numpy_helper.to_array(t) for t in result.model.graph.initializer}
        assert {name: array.dtype for name, array in stored.items()} == {"w": np.float32, "w_float16": np.float16}
        np.testing.assert_array_equal(stored["w"].astype(np.float16), stored["w_float16"])
    constant = net(
        [helper.make_node("Constant", [], ["w"], "const", value=tensor("", scale)), *nodes],
        [value("x", (4, 6))],
        [value("y", (4, 6))],
    )
    types = element_types(checked(constant).model)
    assert (types["w"], types["w_float16"]) == (FLOAT, FLOAT16)


def test_initializers_listed_as_inputs_change_type_with_them():
    source = conv_lrn_softmax()
    source.ir_version = 3
    source.graph.input.extend([value("w", (8, 4, 3, 3)), value("b", (8,)), value("fw", (8, 5)), value("fb", (5,))])
    types = {v.name: v.type.tensor_type.elem_type for v in checked(source).model.graph.input}
    assert types == {"x": FLOAT, "w": FLOAT16, "b": FLOAT16, "fw": FLOAT16, "fb": FLOAT16}


def test_constant_nodes_of_every_kind():
    source = net(
        [
            helper.make_node("Constant", [], ["a"], "a", value=tensor("", normal(4))),
            helper.make_node("Constant", [], ["b"], "b", value_float=0.5),
            helper.make_node("Constant", [], ["c"], "c", value_floats=[1.0, 2.0, 3.0, 4.0]),
            helper.make_node("Constant", [], ["k"], "k", value_ints=[2, 2]),
            node("Add", ["x", "a"], ["d"], "d"),
            node("Mul", ["d", "b"], ["e"], "e"),
            node("Sub", ["e", "c"], ["f"], "f"),
            node("Reshape", ["f", "k"], ["y"]),
        ],
        [value("x", (1, 4))],
        [value("y", (2, 2))],
    )
    result = checked(source)
    types = element_types(result.model)
    assert {types[name] for name in "abcdef"} == {FLOAT16}
    x = normal(1, 4)
    np.testing.assert_allclose(run(result.model, x=x)[0], run(source, x=x)[0], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("fill", [None, 1.5, 1e6])
def test_constant_of_shape(fill):
    attributes = {} if fill is None else {"value": helper.make_tensor("", FLOAT, [1], [fill])}
    source = net(
        [
            node("Shape", ["x"], ["s"]),
            node("ConstantOfShape", ["s"], ["c"], **attributes),
            node("Add", ["x", "c"], ["y"]),
        ]
    )
    result = checked(source)
    assert element_types(result.model)["c"] == (FLOAT if fill == 1e6 else FLOAT16)
    x = normal(2, 4)
    np.testing.assert_allclose(run(result.model, x=x)[0] - (fill or 0), run(source, x=x)[0] - (fill or 0), atol=2e-3)


def test_explicit_casts_in_the_source_are_used_not_doubled():
    source = net(
        [
            node("Cast", ["x"], ["h"], "down", to=FLOAT16),
            node("Relu", ["h"], ["r"]),
            node("Cast", ["r"], ["u"], "up", to=FLOAT),
            node("MatMul", ["u", "w"], ["m"]),
            node("Softmax", ["u"], ["s"]),
            node("Add", ["m", "s"], ["y"]),
        ],
        initializers=[tensor("w", normal(4, 4))],
    )
    result = checked(source)
    matmul = next(n for n in result.model.graph.node if n.op_type == "MatMul")
    softmax = next(n for n in result.model.graph.node if n.op_type == "Softmax")
    assert (matmul.input[0], softmax.input[0]) == ("r", "u")


def branch(name, op_type, *inputs):
    graph_nodes = [
        node(op_type, list(inputs), [f"{name}_a"], f"{name}_op"),
        node("Relu", [f"{name}_a"], [name], f"{name}_relu"),
    ]
    return helper.make_graph(graph_nodes, name, [], [value(name)], [tensor(f"{name}_w", normal(4, 4))])


def test_if_branches_are_cast_inside_and_float32_at_their_border():
    source = net(
        [
            node("Relu", ["x"], ["r"]),
            helper.make_node(
                "If", ["c"], ["i"], "if",
                then_branch=branch("t", "MatMul", "r", "t_w"), else_branch=branch("e", "MatMul", "r", "outer"),
            ),
            node("MatMul", ["i", "outer"], ["y"]),
        ],
        [value("x"), value("c", (), TensorProto.BOOL)],
        [value("y")],
        [tensor("outer", normal(4, 4))],
    )  # fmt: skip
    result = checked(source)
    (condition,) = (n for n in result.model.graph.node if n.op_type == "If")
    bodies = {a.name: a.g for a in condition.attribute}
    assert [n.op_type for n in bodies["then_branch"].node] == ["MatMul", "Relu", "Cast"]
    assert bodies["then_branch"].initializer[0].data_type == FLOAT16
    assert element_types(result.model)["outer"] == FLOAT16
    assert [kept.op_type for kept in result.kept_float32] == ["If"]
    x = normal(2, 4)
    for choice in (True, False):
        feeds = {"x": x, "c": np.array(choice)}
        assert relative_l2(run(source, **feeds)[0], run(result.model, **feeds)[0]) < 2e-3


def test_loop_body():
    body = helper.make_graph(
        [
            node("Identity", ["go"], ["go_on"], "go"),
            node("MatMul", ["state", "w"], ["m"], "step"),
            node("Tanh", ["m"], ["next"], "tanh"),
            node("Softmax", ["next"], ["scan"], "softmax"),
        ],
        "body",
        [value("i", (), TensorProto.INT64), value("go", (), TensorProto.BOOL), value("state", (2, 4))],
        [value("go_on", (), TensorProto.BOOL), value("next", (2, 4)), value("scan", (2, 4))],
    )
    source = net(
        [
            node("Relu", ["x"], ["r"]),
            helper.make_node("Loop", ["trips", "", "r"], ["l", "all"], "loop", body=body),
            node("Relu", ["l"], ["y"], "last"),
        ],
        [value("x", (2, 4))],
        [value("y", (2, 4)), value("all", None)],
        [tensor("trips", np.array(3)), tensor("w", normal(4, 4))],
    )
    result = checked(source)
    x = normal(2, 4)
    for want, got in zip(run(source, x=x), run(result.model, x=x), strict=True):
        assert relative_l2(want, got) < 3e-3


def quantized(opset):
    nodes = []
    for name in ("x", "w"):
        nodes.append(node("QuantizeLinear", [name, f"{name}_s", "zero"], [f"{name}_q"], f"{name}_q"))
        nodes.append(node("DequantizeLinear", [f"{name}_q", f"{name}_s", "zero"], [f"{name}_d"], f"{name}_d"))
    return net(
        [*nodes, node("MatMul", ["x_d", "w_d"], ["y"])],
        initializers=[
            tensor("w", normal(4, 4)), tensor("x_s", np.float32(0.02)), tensor("w_s", np.float32(0.02)),
            tensor("zero", np.int8(0)),
        ],
        opset=opset,
        ir=9,
    )  # fmt: skip


@pytest.mark.parametrize("opset", [19, 21, 23])
def test_quantized_models_get_float16_scales(opset):
    source = quantized(opset)
    result = checked(source)
    types = element_types(result.model)
    assert {types[name] for name in ("x_s", "w_s", "x_d", "w_d")} == {FLOAT16}
    x = normal(3, 4, scale=0.5)
    (want,) = ReferenceEvaluator(source).run(None, {"x": x})
    (got,) = ReferenceEvaluator(result.model).run(None, {"x": x})
    assert relative_l2(want, got) < 0.02  # one step of 0.02 more or less where a value lies on a border


def test_quantized_models_before_opset_19_are_refused():
    with pytest.raises(ModelError, match="QuantizeLinear 'x_q' quantizes at opset 17") as caught:
        to_float16(quantized(17))
    assert "opset 19" in caught.value.hint


def test_custom_operators():
    nodes = [helper.make_node("Mystery", ["x"], ["m"], "mystery", domain="acme"), node("Relu", ["m"], ["y"])]
    source = net(nodes, domains=["acme"])
    with pytest.raises(ModelError, match="element type of tensor 'm' at node Mystery 'mystery' is unknown"):
        to_float16(source)
    source.graph.value_info.append(value("m"))
    result = to_float16(source)
    assert result.kept_float32[0].reason.endswith("(acme::Mystery)")
    assert casts(result.model) == [("m", "m_float16", "FLOAT16"), ("y_float16", "y", "FLOAT")]
    assert not to_float16(result.model).modified


def test_functions_are_inlined():
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    source = net([helper.make_node("Twice", ["x"], ["t"], "call", domain="local"), node("Relu", ["t"], ["y"])],
                   domains=["local"])  # fmt: skip
    source.functions.append(function)
    result = to_float16(source)
    assert len(result.model.functions) == 0
    assert [n.op_type for n in result.model.graph.node] == ["Cast", "Add", "Relu", "Cast"]
    onnx.checker.check_model(result.model, full_check=True)
    x = normal(2, 4)
    np.testing.assert_allclose(run(result.model, x=x)[0], np.maximum(2 * x, 0), rtol=1e-3)
