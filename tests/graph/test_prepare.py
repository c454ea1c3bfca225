from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.graph.models import model, perceptron, relu, value, with_branches
from trtkit.errors import ModelError
from trtkit.graph import io
from trtkit.graph.output_types import infer_output_types
from trtkit.graph.prepare import prepare


def foreign_model() -> onnx.ModelProto:
    """All that can be normalized: order, the output's type, ``?`` dimensions, missing and repeated names."""
    nodes = [
        helper.make_node("Tanh", ["c"], ["y"], name="n"),
        helper.make_node("Add", ["a", "b"], ["c"], name="n"),
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["z"], ["b"]),
    ]
    inputs = [value("x", ("?", 4)), value("z", ("?", 4))]
    return model(nodes, inputs, [helper.make_empty_tensor_value_info("y")])


def test_all_transformations_are_named_and_the_second_run_changes_nothing() -> None:
    onnx_model, transforms = prepare(foreign_model(), "foreign.onnx")
    assert transforms == ("sort_nodes", "infer_output_types", "name_dynamic_dims", "make_node_names_unique")
    onnx.checker.check_model(onnx_model, full_check=True)
    before = onnx_model.SerializeToString(deterministic=True)
    again, transforms = prepare(onnx_model, "foreign.onnx")
    assert again is onnx_model
    assert transforms == ()
    assert again.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("build", [relu, perceptron, lambda: perceptron(opset=7, ir=4)])
def test_a_good_model_is_untouched(build: object) -> None:
    onnx_model = build()  # type: ignore[operator]
    before = onnx_model.SerializeToString(deterministic=True)
    assert prepare(onnx_model, "good.onnx")[1] == ()
    assert onnx_model.SerializeToString(deterministic=True) == before


def test_the_prepared_model_computes_the_same() -> None:
    import onnxruntime as ort

    onnx_model = foreign_model()
    feeds = {"x": np.ones((3, 4), np.float32), "z": np.full((3, 4), -0.25, np.float32)}
    prepare(onnx_model, "foreign.onnx")
    got = ort.InferenceSession(onnx_model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
    np.testing.assert_allclose(got[0], np.tanh(np.ones((3, 4), np.float32)), rtol=1e-6)


def test_branches_are_prepared_too() -> None:
    onnx_model = with_branches()
    assert prepare(onnx_model, "m")[1] == ("make_node_names_unique",)
    assert prepare(onnx_model, "m")[1] == ()


def test_a_model_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^broken\.onnx: Tanh 'b' reads tensor 'nowhere'"):
        prepare(model([helper.make_node("Tanh", ["nowhere"], ["y"], name="b")]), "broken.onnx")


def test_output_types_come_from_inference_and_declared_ones_stay() -> None:
    onnx_model = perceptron()
    onnx_model.graph.output[0].ClearField("type")
    assert infer_output_types(onnx_model)
    got = onnx_model.graph.output[0].type.tensor_type
    assert got.elem_type == TensorProto.FLOAT
    assert [d.dim_param or d.dim_value for d in got.shape.dim] == ["N", 4]
    assert not infer_output_types(onnx_model)
    declared = perceptron()
    declared.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    assert not infer_output_types(declared)


def test_preparing_does_not_touch_the_weights() -> None:
    onnx_model = perceptron()
    digests = [hashlib.sha256(t.SerializeToString()).digest() for t in onnx_model.graph.initializer]
    onnx_model.graph.output[0].ClearField("type")
    prepare(onnx_model, "m")
    assert [hashlib.sha256(t.SerializeToString()).digest() for t in onnx_model.graph.initializer] == digests
    assert numpy_helper.to_array(onnx_model.graph.initializer[0]).shape == (8, 300)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    build=st.sampled_from([relu, lambda: perceptron(hidden=3), with_branches]),
    place=st.floats(0, 0.999),
    inserted=st.binary(max_size=4),
    deleted=st.integers(0, 4),
)
def test_a_damaged_file_is_refused_in_words(
    build: object, place: float, inserted: bytes, deleted: int, tmp_path: Path
) -> None:
    data = build().SerializeToString()  # type: ignore[operator]
    position = int(place * len(data))
    path = tmp_path / "damaged.onnx"
    path.write_bytes(data[:position] + inserted + data[position + deleted :])
    try:
        onnx_model, _ = prepare(io.load(path), "damaged.onnx")
        io.specs(onnx_model)
    except ModelError as error:
        assert error.hint
        assert len(error.message) < 1000
