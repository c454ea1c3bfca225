"""TensorRT-RTX on the CPU takes what the writer writes, and computes every quantized product in that type."""

from __future__ import annotations

import importlib.util

import pytest

from tests.graph.models import model, value
from tests.graph.qdq_models import conv, conv_weights, inception, node, normal, one_product, residual
from tests.perf.qdq_layers import measure
from trtkit.graph.placement import Recipe, place
from trtkit.graph.qdq import insert

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)


def built(source, dtype="int8", target="8.6", **options):
    placement = place(source, None, dtype)
    made = insert(source, placement, dict.fromkeys(placement.tensors, 4.0), dtype, **options)
    return measure(made, dtype, target), placement


@pytest.mark.parametrize("high_precision", ["fp32", "fp16"])
@pytest.mark.parametrize("source", [inception, residual], ids=["inception", "residual"])
def test_every_product_is_int8(source, high_precision):
    found, _ = built(source(), high_precision=high_precision)
    assert found.proof.fraction("int8") == 1, found.proof.sentence


@pytest.mark.parametrize("target", ["8.9", "12.0"])
def test_fp8(target):
    found, placement = built(inception(), "fp8", target, high_precision="fp16" if target == "12.0" else "fp32")
    assert {d.rule for d in placement.decisions if d.op_type == "Conv"} == {"Q1-weighted"}
    assert found.proof.fraction("fp8") == 1, found.proof.sentence


def test_an_fp8_window_that_is_too_large_is_left_float_by_rule_and_by_engine():
    source = model(
        [conv("big", "x", 7), node("Relu", ["big"], "r"), conv("small", "r", 5)],
        [value("x", ("N", 3, 16, 16))],
        [value("small", ("N", 16, 16, 16))],
        [*conv_weights("big", 16, 3, 7), *conv_weights("small", 16, 16, 5)],
    )
    found, placement = built(source, "fp8", "8.9")
    assert [(d.node, d.rule) for d in placement.decisions if d.op_type == "Conv"] == [
        ("big", "F10-fp8-window"),
        ("small", "Q1-weighted"),
    ]
    assert [(n.name, n.dtype) for n in found.proof.nodes] == [("big", "fp32"), ("small", "fp8")]


@pytest.mark.parametrize(
    ("product", "shape", "x_shape"),
    [
        (node("Conv", ["x", "w"], "y", group=8), (32, 4, 3, 3), ("N", 32, 9, 9)),
        (node("Conv", ["x", "w"], "y", group=32), (32, 1, 3, 3), ("N", 32, 9, 9)),
        (node("Gemm", ["x", "w"], "y", transB=1), (16, 32), ("N", 32)),
        (node("Gemm", ["x", "w"], "y"), (32, 16), ("N", 32)),
        (node("MatMul", ["x", "w"], "y"), (32, 16), ("N", 6, 32)),
    ],
    ids=["grouped", "depthwise", "Gemm-transB", "Gemm", "MatMul"],
)
def test_every_kind_of_product_runs_in_int8(product, shape, x_shape):
    found, _ = built(one_product(product, normal(0, *shape), x_shape))
    assert found.proof.fraction("int8") == 1, found.proof.sentence


def test_the_mean_is_quantized_where_it_is_computed():
    """What ``global_average`` is for: no kernel between the convolution's epilogue and the classifier."""
    found, _ = built(inception())
    (carrier,) = found.outcome.layers.carriers("mean")
    assert carrier.kind == "kgen"
    assert {"last_relu", "mean", "flat_QuantizeLinear"} <= set(carrier.onnx_nodes)


def test_a_transposed_convolution_stays_float_as_the_rule_says():
    """If a newer TensorRT-RTX quantizes it, this fails, and rule F12 can go."""
    product = node("ConvTranspose", ["x", "w"], "y", kernel_shape=[2, 2], strides=[2, 2])
    source = one_product(product, normal(0, 32, 16, 2, 2), ("N", 32, 9, 9))
    placement = place(source, Recipe(include=("ConvTranspose",)))
    found = measure(insert(source, placement, {"x": 4.0}), "int8", "8.6")
    assert found.proof.nodes[0].dtype == "fp32"
