from __future__ import annotations

import onnx
import pytest
from onnx import helper
from onnx.shape_inference import infer_shapes

from tests.graph.models import Shape, model, relu, value
from trtkit.graph.dims import name_dynamic_dims


def dims(tensor: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in tensor.type.tensor_type.shape.dim]


def named(shape: Shape) -> list[int | str]:
    """The dimensions of input ``x`` after naming, and that a second run finds nothing to do."""
    onnx_model = relu(inputs=[value("x", shape)], outputs=[value("y", (1,))])
    before = dims(onnx_model.graph.input[0])
    assert name_dynamic_dims(onnx_model) == (dims(onnx_model.graph.input[0]) != before)
    assert not name_dynamic_dims(onnx_model)
    return dims(onnx_model.graph.input[0])


@pytest.mark.parametrize("shape", [(1, 3), ("N", 3), ("unk__123", "H", "H"), ("batch_size", 3, "largeur_é"), ()])
def test_good_names_stay(shape: Shape) -> None:
    assert named(shape) == list(shape or ())


@pytest.mark.parametrize("text", [None, "?", "-1", "*", "None", "unknown", "", "0"])
def test_what_names_nothing_becomes_a_fresh_name_each(text: str | None) -> None:
    assert named((text, 3, text, text)) == ["x_dim0", 3, "x_dim2", "x_dim3"]


def test_minus_one_as_a_size_is_dynamic_and_other_sizes_stay() -> None:
    assert named((-1, 3, -2, 0)) == ["x_dim0", 3, -2, 0]


def test_what_names_one_size_keeps_one_name() -> None:
    assert named(("batch size", "N/2", "batch size")) == ["batch_size", "N_2", "batch_size"]
    assert named(("DynamicDimension.0", 3, "DynamicDimension.1")) == ["DynamicDimension_0", 3, "DynamicDimension_1"]


def test_new_names_avoid_the_existing_ones() -> None:
    assert named(("?", "x_dim0", "a b", "a_b")) == ["x_dim0_2", "x_dim0", "a_b_2", "a_b"]


def test_tensor_names_that_are_no_identifiers() -> None:
    onnx_model = model(
        [helper.make_node("Relu", ["input:0"], ["2"])], [value("input:0", ("?", 2))], [value("2", ("?", 2))]
    )
    assert name_dynamic_dims(onnx_model)
    assert dims(onnx_model.graph.input[0]) == ["input_0_dim0", 2]
    assert dims(onnx_model.graph.output[0]) == ["dim_2_dim0", 2]


def test_outputs_and_inner_tensors_agree_with_inputs() -> None:
    onnx_model = model(
        [helper.make_node("Relu", ["x"], ["t"]), helper.make_node("Relu", ["t"], ["y"])],
        [value("x", ("a b", "?"))],
        [value("y", ("a b", "?")), value("x", ("a b", "?"))],
    )
    onnx_model.graph.value_info.append(value("t", ("a b", None)))
    assert name_dynamic_dims(onnx_model)
    assert dims(onnx_model.graph.input[0]) == ["a_b", "x_dim1"] == dims(onnx_model.graph.output[1])
    assert dims(onnx_model.graph.output[0]) == ["a_b", "y_dim1"]
    assert dims(onnx_model.graph.value_info[0]) == ["a_b", "t_dim1"]
    infer_shapes(onnx_model, strict_mode=True, check_type=True)


def test_two_inputs_never_share_a_fresh_name() -> None:
    onnx_model = model(
        [helper.make_node("Concat", ["x", "z"], ["y"], axis=0)],
        [value("x", ("?", 4)), value("z", ("?", 4))],
        [value("y", ("?", 4))],
    )
    assert name_dynamic_dims(onnx_model)
    every = [dims(v)[0] for v in [*onnx_model.graph.input, *onnx_model.graph.output]]
    assert every == ["x_dim0", "z_dim0", "y_dim0"]
