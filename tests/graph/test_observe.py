"""Inner tensors as outputs: which, in what order, of what type, and with the values that the model has."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.graph.models import model, perceptron, tensor, with_branches
from trtkit.errors import ModelError
from trtkit.graph.observe import observe


def _names(made: onnx.ModelProto) -> list[str]:
    return [output.name for output in made.graph.output]


def _run(made: onnx.ModelProto, x: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(_names(made), session.run(None, {"x": x}), strict=True))


def test_the_outputs_are_the_tensors_in_their_order() -> None:
    assert _names(observe(perceptron(), ["r", "y", "h"])) == ["r", "y", "h"]


def test_a_tensor_named_twice_is_one_output() -> None:
    assert _names(observe(perceptron(), ["r", "h", "r"])) == ["r", "h"]


def test_inputs_are_left_out() -> None:
    assert _names(observe(perceptron(), ["x", "h"])) == ["h"]


@pytest.mark.parametrize("tensors", [["x"], []])
def test_where_nothing_new_is_seen_the_outputs_stay(tensors: list[str]) -> None:
    made = observe(perceptron(), tensors)
    assert _names(made) == ["y"]
    onnx.checker.check_model(made)


def test_own_outputs_stay_first_where_wanted() -> None:
    assert _names(observe(perceptron(), ["h", "y", "r"], keep_outputs=True)) == ["y", "h", "r"]


def test_the_model_is_not_changed() -> None:
    made = perceptron()
    before = made.SerializeToString(deterministic=True)
    observed = observe(made, ["h"])
    assert made.SerializeToString(deterministic=True) == before
    assert observed.graph.node == made.graph.node
    assert observed.graph.initializer == made.graph.initializer


def test_twice_changes_nothing_more() -> None:
    once = observe(perceptron(), ["h", "r"])
    assert observe(once, ["h", "r"]).SerializeToString() == once.SerializeToString()


def test_unknown_tensors_are_named() -> None:
    with pytest.raises(ModelError, match=r"1 tensors to observe are not in the model: nowhere\.") as caught:
        observe(perceptron(), ["h", "nowhere"])
    assert "calibrat" in caught.value.hint
    with pytest.raises(ModelError, match=r"7 tensors .*: t0, t1, t2, t3, t4\."):
        observe(perceptron(), [f"t{index}" for index in range(7)])


def test_weights_are_made_by_no_node() -> None:
    with pytest.raises(ModelError, match="w1"):
        observe(perceptron(), ["w1"])


def test_tensors_of_a_branch_are_not_of_the_main_graph() -> None:
    with pytest.raises(ModelError, match="then_out"):
        observe(with_branches(), ["then_out"])
    assert _names(observe(with_branches(), ["sum"])) == ["sum"]


def test_values_in_onnx_runtime_are_those_of_the_reference() -> None:
    made = perceptron(seed=3)
    x = np.random.default_rng(4).standard_normal((5, 8), dtype=np.float32)
    found = _run(observe(made, ["r", "h"], keep_outputs=True), x)
    weights = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in made.graph.initializer}
    hidden = x.astype(np.float64) @ weights["w1"] + weights["b1"]
    np.testing.assert_allclose(found["h"], hidden, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found["r"], np.maximum(found["h"], 0))
    (expected,) = ReferenceEvaluator(made).run(None, {"x": x})
    np.testing.assert_allclose(found["y"], expected, rtol=1e-3, atol=1e-3)


def test_element_types_are_told() -> None:
    nodes = [
        helper.make_node("ArgMax", ["x"], ["best"], axis=1),
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Greater", ["x", "zero"], ["positive"]),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    observed = observe(model(nodes, initializers=[tensor("zero", np.float32(0))]), ["best", "half", "positive", "y"])
    found = _run(observed, np.array([[1, -1, 3, 0]], np.float32))
    assert [array.dtype for array in found.values()] == [np.int64, np.float16, np.bool_, np.float32]
    np.testing.assert_array_equal(found["best"], [[2]])
    np.testing.assert_array_equal(found["positive"], [[True, False, True, False]])
