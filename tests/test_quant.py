"""Quantization arithmetic against ONNX Runtime, onnx.reference and ml_dtypes, bit for bit."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from trtkit.errors import CalibrationError, UsageError
from trtkit.quant import (
    ZERO_RANGE_SCALE,
    channel_amax,
    dequantize,
    fake_quantize,
    largest,
    quantize,
    scale_of,
)

TYPES = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}


def pair_model(kind: str, dtype: str, axis: int | None, rank: int) -> onnx.ModelProto:
    """x, scale → DequantizeLinear(QuantizeLinear(x)), all floats of the type ``kind``."""
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    attributes = {} if axis is None else {"axis": axis}
    scale_shape = [] if axis is None else ["C"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"], **attributes),
    ]
    if axis is None:
        initializers = [helper.make_tensor("z", TYPES[dtype], [], [0])]
    else:  # one zero a channel, from the scale's own length
        nodes[:0] = [
            helper.make_node("Shape", ["s"], ["n"]),
            helper.make_node("Expand", ["z0", "n"], ["zf"]),
            helper.make_node("Cast", ["zf"], ["z"], to=TYPES[dtype]),
        ]
        initializers = [numpy_helper.from_array(np.zeros(1, np.float32), "z0")]
    graph = helper.make_graph(
        nodes,
        "pair",
        [
            helper.make_tensor_value_info("x", element, [f"d{i}" for i in range(rank)]),
            helper.make_tensor_value_info("s", element, scale_shape),
        ],
        [helper.make_tensor_value_info("y", element, [f"d{i}" for i in range(rank)])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


@pytest.fixture(scope="module")
def runtime():
    sessions: dict[tuple, onnxruntime.InferenceSession] = {}

    def run(x: np.ndarray, scale: np.ndarray, dtype: str, axis: int | None = None) -> np.ndarray:
        key = (x.dtype.name, dtype, axis, x.ndim)
        if key not in sessions:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            sessions[key] = onnxruntime.InferenceSession(
                pair_model(x.dtype.name, dtype, axis, x.ndim).SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
            )
        return sessions[key].run(None, {"x": x, "s": scale})[0]

    return run


def same_bits(a: np.ndarray, b: np.ndarray) -> None:
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)
    numbers = ~np.isnan(a)
    np.testing.assert_array_equal(np.signbit(a[numbers]), np.signbit(b[numbers]))


scales = st.floats(2.0**-12, 2.0**10, width=16)


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pairs_equal_onnx_runtime(runtime, dtype, kind, data):
    width = 32 if kind is np.float32 else 16
    scale = np.asarray(data.draw(scales), kind)
    numbers = st.floats(width=width, allow_nan=dtype == "fp8", allow_infinity=width == 32)
    limit = np.float32(2.0**30) * np.float32(scale)  # beyond, ONNX Runtime's float16 path casts out of int32's range
    x = data.draw(hnp.arrays(kind, st.integers(1, 50), elements=numbers))
    x = x if kind is np.float32 else np.clip(x, -limit, limit).astype(kind)
    same_bits(fake_quantize(x, scale, dtype), runtime(x, scale, dtype))


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_halfway_points_round_to_even(runtime, dtype, data):
    scale = np.float32(2.0 ** data.draw(st.integers(-20, 10)))
    halves = np.asarray(data.draw(st.lists(st.integers(-2000, 2000), min_size=1)), np.float32) / 2
    same_bits(fake_quantize(halves * scale, scale, dtype), runtime(halves * scale, np.asarray(scale), dtype))


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
@pytest.mark.parametrize("axis", [0, 1, 3])
def test_per_channel_equals_onnx_runtime(runtime, dtype, axis):
    rng = np.random.default_rng(axis)
    x = rng.standard_normal((5, 4, 3, 6), dtype=np.float32) * 10
    scale = rng.uniform(0.001, 0.2, x.shape[axis]).astype(np.float32)
    same_bits(fake_quantize(x, scale, dtype, axis), runtime(x, scale, dtype, axis))


def test_every_fp8_number_and_every_float16_between_them():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = every[np.abs(every) <= 448]
    quantized = quantize(finite, 1.0, "fp8")
    table = np.unique(np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32))
    table = table[np.isfinite(table)]
    distance = np.abs(finite - quantized.astype(np.float32))
    nearest = np.array([np.abs(finite - number) for number in table]).min(axis=0)
    np.testing.assert_array_equal(distance, nearest)
    same_bits(quantize(table, 1.0, "fp8").astype(np.float32), table)


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_equals_onnx_reference(dtype):
    x = np.random.default_rng(3).standard_normal((7, 9)).astype(np.float32) * 30
    scale = np.asarray(0.17, np.float32)
    expected = ReferenceEvaluator(pair_model("float32", dtype, None, 2)).run(None, {"x": x, "s": scale})[0]
    same_bits(fake_quantize(x, scale, dtype), expected)


def test_limits():
    x = np.array([-np.inf, -1e30, -128.6, -127.6, 126.5, 127.5, 1e30, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(quantize(x, 1.0), [-128, -128, -128, -128, 126, 127, 127, 127, -128])
    fp8 = quantize(x, 1.0, "fp8").astype(np.float32)
    np.testing.assert_array_equal(fp8, [-448, -448, -128, -128, 128, 128, 448, 448, np.nan])
    assert quantize(np.float32(3.4), 1.0).shape == ()
    assert quantize(np.zeros((2, 0), np.float32), 1.0).shape == (2, 0)


def test_amax_maps_to_the_largest_number():
    for dtype in ("int8", "fp8"):
        amax = np.array([1e-3, 1.0, 6.5, 1e4], np.float32)
        for value, scale in zip(amax, scale_of(amax, dtype), strict=True):
            assert float(quantize(value, scale, dtype)) == largest(dtype)
            assert float(quantize(-value, scale, dtype)) == -largest(dtype)


def test_scales():
    np.testing.assert_array_equal(scale_of([127.0, 254.0]), np.array([1, 2], np.float32))
    assert scale_of(448.0, "fp8") == 1
    assert scale_of(0.0) == ZERO_RANGE_SCALE == np.float16(ZERO_RANGE_SCALE)
    assert scale_of(1e-45) >= np.finfo(np.float32).tiny
    assert scale_of(1.0).dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_an_impossible_amax_is_refused(bad):
    with pytest.raises(CalibrationError, match="cannot be made a scale"):
        scale_of(np.array([1.0, bad]))


def test_an_unknown_type_is_refused():
    with pytest.raises(UsageError, match="int4"):
        scale_of(1.0, "int4")


def test_a_vector_of_scales_needs_its_axis():
    with pytest.raises(UsageError, match="axis"):
        quantize(np.zeros((2, 3), np.float32), np.ones(3, np.float32))


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=4), elements=st.floats(-1e6, 1e6, width=32)), st.data())
def test_channel_amax(weight, data):
    axis = data.draw(st.sampled_from([None, *range(-weight.ndim, weight.ndim)]))
    expected = (
        np.abs(weight).max()
        if axis is None
        else np.array([np.abs(part).max() for part in np.moveaxis(weight, axis, 0)], np.float32)
    )
    np.testing.assert_array_equal(channel_amax(weight, axis), expected)


def test_dequantize_keeps_the_type_of_its_scale():
    q = np.array([-128, 127], np.int8)
    assert dequantize(q, np.float16(0.5)).dtype == np.float16
    assert dequantize(q, 0.5).dtype == np.float32
