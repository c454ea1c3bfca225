"""uint8 inputs: the same function of the pixels, computed by ONNX's own reference."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.graph.models import model, value
from trtkit.errors import UsageError
from trtkit.graph.uint8_input import uint8_input

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def net(channels: int = 3) -> onnx.ModelProto:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Add", ["r", "x"], ["y"])]
    shape = ("N", channels, 4, 5)
    return model(nodes, [value("x", shape)], [value("y", shape)])


def test_bytes_in_give_what_normalized_floats_gave() -> None:
    before, changed = net(), net()
    assert uint8_input(changed, MEAN, STD)
    onnx.checker.check_model(changed, full_check=True)
    assert changed.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    mean, std = (np.array(v, np.float64).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    floats = ((pixels - mean) / std).astype(np.float32)
    (want,) = ReferenceEvaluator(before).run(None, {"x": floats})
    (got,) = ReferenceEvaluator(changed).run(None, {"x": pixels})
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6)


def test_a_second_run_changes_nothing() -> None:
    changed = net()
    uint8_input(changed, MEAN, STD)
    text = changed.SerializeToString(deterministic=True)
    assert not uint8_input(changed, MEAN, STD)
    assert changed.SerializeToString(deterministic=True) == text


def test_a_model_without_such_an_input_is_refused() -> None:
    with pytest.raises(UsageError, match="N×3×H×W; this model has none"):
        uint8_input(net(channels=1), MEAN, STD)
