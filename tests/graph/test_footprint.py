"""Memory of a run from shapes: against sums by hand, and against what ONNX Runtime's process really takes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

import model_defs
from tests.graph.models import model, tensor, value
from trtkit.graph.footprint import ELEMENT_LIMIT, footprint


def test_a_tensor_lives_until_its_last_reader() -> None:
    # x (8) → a (8) → b (16); y = concat(a, b): while y (24) is made, x, a, b are alive.
    nodes = [
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node("Concat", ["a", "a"], ["b"], axis=1),
        helper.make_node("Concat", ["a", "b"], ["y"], axis=1),
    ]
    found = footprint(model(nodes, [value("x", ("N", 4))], [value("y", ("N", 12))]), {"x": (2, 4)})
    assert found is not None
    assert found.activation_bytes == (8 + 8 + 16 + 24) * 4
    assert (found.largest_name, found.largest_elements) == ("y", 24)
    assert found.weight_bytes == 0 and found.bytes == found.activation_bytes


def test_elementwise_operators_write_over_what_dies() -> None:
    nodes = [helper.make_node("Neg", ["x"], ["a"])]
    nodes += [helper.make_node("Relu", [name], [f"{name}r"]) for name in ("a", "ar", "arr")]
    found = footprint(model(nodes, [value("x", ("N", 4))], [value("arrr", ("N", 4))]), {"x": (3, 4)})
    assert found is not None and found.activation_bytes == (12 + 12) * 4


def test_weights_count_in_their_own_type() -> None:
    weights = [tensor("w", np.zeros((4, 6), np.float16))]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    half = [value("x", ("N", 4), TensorProto.FLOAT16)], [value("y", ("N", 6), TensorProto.FLOAT16)]
    found = footprint(model(nodes, *half, weights), {"x": (5, 4)})
    assert found is not None
    assert (found.weight_bytes, found.activation_bytes) == (48, (20 + 30) * 2)


def test_what_depends_on_the_data_is_unknown() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["y"])]
    given = model(nodes, [value("x", ("N", 4))], [value("y", (2, "M"), TensorProto.INT64)])
    assert footprint(given, {"x": (5, 4)}) is None


@pytest.mark.parametrize("batch", [2674, 2675])
def test_googlenet_passes_two_to_the_31_at_batch_2675(batch: int) -> None:
    """Its first convolution gives 64 × 112 × 112 elements an image."""
    definition = model_defs.get("googlenet")
    found = footprint(definition.build(), {definition.input_name: (batch, *definition.input_shape)})
    assert found is not None
    assert found.largest_elements == batch * 64 * 112 * 112
    assert (found.largest_elements >= ELEMENT_LIMIT) == (batch == 2675)
    assert found.weight_bytes == definition.parameters * 4
