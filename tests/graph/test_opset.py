from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.graph.models import model, perceptron, tensor, value, with_branches
from trtkit.errors import ModelError
from trtkit.graph import opset
from trtkit.graph.opset import at_least
from trtkit.graph.prepare import prepare


def outputs(onnx_model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    return ReferenceEvaluator(onnx_model).run(None, {"x": x})


def old_network(opset: int = 7) -> onnx.ModelProto:
    """Operators whose attributes became inputs since opset 7, and a large Gemm."""
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="fc"),
        helper.make_node("Unsqueeze", ["h"], ["u"], name="up", axes=[1]),
        helper.make_node("Squeeze", ["u"], ["s"], name="down", axes=[1]),
        helper.make_node("Dropout", ["s"], ["d"], name="drop", ratio=0.5),
        helper.make_node("ReduceSum", ["d"], ["y"], name="sum", axes=[1], keepdims=1),
    ]
    weights = [tensor("w", rng.standard_normal((8, 300), dtype=np.float32)), tensor("b", np.ones(300, np.float32))]
    return model(nodes, [value("x", ("N", 8))], [value("y", ("N", 1))], weights, opset=opset, ir=4)


@pytest.mark.parametrize("target", [13, 19])
def test_the_function_stays_the_same(target: int) -> None:
    x = np.random.default_rng(2).standard_normal((3, 8), dtype=np.float32)
    before = outputs(old_network(), x)
    onnx_model = old_network()
    assert at_least(onnx_model, target) is onnx_model
    assert onnx_model.opset_import[0].version == target
    onnx.checker.check_model(onnx_model, full_check=True)
    np.testing.assert_allclose(outputs(onnx_model, x)[0], before[0], rtol=1e-6)


def test_names_metadata_inputs_and_large_weights_stay() -> None:
    onnx_model = old_network()
    onnx_model.metadata_props.add(key="author", value="me")
    onnx_model.graph.node[0].metadata_props.add(key="layer", value="first")
    onnx_model.producer_name = "test"
    weight = onnx_model.graph.initializer[0].SerializeToString()
    at_least(onnx_model, 13)
    assert [n.name for n in onnx_model.graph.node if n.name] == ["fc", "up", "down", "drop", "sum"]
    assert {p.key: p.value for p in onnx_model.metadata_props} == {"author": "me"}
    assert onnx_model.producer_name == "test"
    assert onnx_model.graph.node[0].metadata_props[0].value == "first"
    assert [v.name for v in onnx_model.graph.input] == ["x"]
    assert onnx_model.graph.initializer[0].SerializeToString() == weight
    prepare(onnx_model, "converted")


def test_new_enough_models_are_untouched() -> None:
    onnx_model = perceptron(opset=17)
    before = onnx_model.SerializeToString(deterministic=True)
    assert at_least(onnx_model, 13) is onnx_model
    at_least(onnx_model, 17)
    assert onnx_model.SerializeToString(deterministic=True) == before


def test_initializers_listed_as_inputs_below_ir_4() -> None:
    onnx_model = perceptron(opset=7, ir=3)
    onnx_model.graph.input.extend(value(t.name, tuple(t.dims)) for t in onnx_model.graph.initializer)
    x = np.ones((2, 8), np.float32)
    before = outputs(onnx_model, x)
    at_least(onnx_model, 13)
    assert {t.name for t in onnx_model.graph.initializer} == {"w1", "b1", "w2", "b2"}
    np.testing.assert_allclose(outputs(onnx_model, x)[0], before[0], rtol=1e-6)
    onnx.checker.check_model(onnx_model, full_check=True)


def test_an_operator_without_a_way_up_is_named_and_nothing_changes() -> None:
    nodes = [helper.make_node("Upsample", ["x", "scales"], ["y"], name="grow", mode="linear")]
    onnx_model = model(nodes, [value("x", (1, 1, 2, 2))], [value("y", (1, 1, 4, 4))], opset=9)
    onnx_model.graph.input.append(value("scales", (4,)))
    onnx_model.graph.node.add(op_type="NoSuchThing", input=["x"], output=["z"], name="odd")
    before = onnx_model.SerializeToString(deterministic=True)
    with pytest.raises(ModelError, match=r"cannot be converted from opset 9 to 13: .*NoSuchThing 'odd'") as caught:
        at_least(onnx_model, 13)
    assert "Export the model again with opset 13" in caught.value.hint
    assert onnx_model.SerializeToString(deterministic=True) == before


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(ModelError, match=r"from opset 17 to 999; the installed onnx package .* up to \d+"):
        at_least(perceptron(), 999)


def with_reduction_inside() -> onnx.ModelProto:
    """with_branches(), where one branch is a ReduceMax, whose axes became an input with opset 18."""
    onnx_model = with_branches()
    node = onnx_model.graph.node[2].attribute[0].g.node[0]
    node.op_type = "ReduceMax"
    node.attribute.extend([helper.make_attribute("axes", [1]), helper.make_attribute("keepdims", 1)])
    return onnx_model


def test_operators_inside_branches_are_converted_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if opset._converts_inner_graphs():
        onnx_model = at_least(with_reduction_inside(), 18)
        onnx.checker.check_model(onnx_model)
        for x in (np.array([[1, -2, 3, -1]], np.float32), np.array([[-1, -2, 3, -1]], np.float32)):
            np.testing.assert_array_equal(outputs(onnx_model, x)[0], outputs(with_reduction_inside(), x)[0])
    monkeypatch.setattr(opset, "_converts_inner_graphs", lambda: False)
    with pytest.raises(ModelError, match=r"leaves nodes inside functions.* ReduceMax 'same'"):
        at_least(with_reduction_inside(), 18)


def test_functions_are_not_converted() -> None:
    onnx_model = model([helper.make_node("Most", ["x"], ["y"], domain="own")], domains=["own"])
    body = [helper.make_node("ReduceMax", ["a"], ["b"], name="most", axes=[1])]
    onnx_model.functions.append(helper.make_function("own", "Most", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    with pytest.raises(ModelError, match=r"leaves nodes inside functions.* ReduceMax 'most'"):
        at_least(onnx_model, 18)


def test_unchanged_operators_inside_branches_are_fine() -> None:
    onnx_model = with_branches()
    x = np.array([[1, -2, 3, -1]], np.float32)
    before = outputs(onnx_model, x)
    at_least(onnx_model, 18)
    assert onnx_model.opset_import[0].version == 18
    np.testing.assert_array_equal(outputs(onnx_model, x)[0], before[0])


def test_other_domains_keep_their_version() -> None:
    onnx_model = perceptron(opset=11, domains=["com.example"])
    onnx_model.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["N", 300]))
    at_least(onnx_model, 13)
    assert {e.domain: e.version for e in onnx_model.opset_import} == {"": 13, "com.example": 1}
