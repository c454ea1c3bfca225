"""The small FP8 models themselves, which need no GPU: ONNX Runtime computes what plain NumPy does."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.gpu.fp8_forms import Form, forms, model_of
from trtkit.quant import fake_quantize


def test_the_forms_differ_and_are_valid() -> None:
    found = list(forms())
    assert len({(form.text, form.scales, form.rest) for form in found}) == len(found) == 34
    for form in found:
        onnx.checker.check_model(model_of(form), full_check=True)


@pytest.mark.parametrize("scales", ["per channel", "per tensor", "per channel, all equal"])
def test_a_product_is_that_of_the_dequantized_numbers(scales: str) -> None:
    model = model_of(Form(what="Gemm", scales=scales))
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    weights = next(array for array in stored.values() if array.shape == (64, 64)).astype(np.float32)
    bias, along = (next(stored[name] for name in node.input if name in stored) for node in _last(model))
    x = np.random.default_rng(1).normal(0, 1, (8, 64)).astype(np.float32)
    product = fake_quantize(x, np.float32(0.01), "fp8").astype(np.float64) @ (weights * along) + bias
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], np.maximum(product, 0), rtol=1e-4, atol=1e-4)


def _last(model: onnx.ModelProto) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    """The Gemm without its weights, and the node that dequantizes these without their stored numbers."""
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    dequantizer = next(node for node in model.graph.node if gemm.input[1] in node.output)
    cut = onnx.NodeProto(op_type="DequantizeLinear", input=dequantizer.input[1:2])
    return gemm, cut
