"""The Q/DQ writer: its arithmetic against plain NumPy and ONNX Runtime, its structure, and what it refuses."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import model_defs
from tests.graph.models import model, tensor, value
from tests.graph.qdq_models import conv, conv_weights, inception, node, normal, one_product, residual
from trtkit.errors import CalibrationError, ModelError, UsageError
from trtkit.graph.observe import observe
from trtkit.graph.placement import Recipe, place
from trtkit.graph.qdq import insert, scale_name
from trtkit.quant import ZERO_RANGE_SCALE, channel_amax, dequantize, fake_quantize, scale_of

X = normal(1, 4, 3, 16, 16)


def run(source: onnx.ModelProto, feeds: dict[str, np.ndarray], level: str = "BASIC") -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    return onnxruntime.InferenceSession(source.SerializeToString(), options, ["CPUExecutionProvider"]).run(None, feeds)


def amax_of(source: onnx.ModelProto, tensors, x: np.ndarray) -> dict[str, float]:
    shown = observe(source, tensors, keep_outputs=True)
    seen = dict(zip([output.name for output in shown.graph.output], run(shown, {"x": x}), strict=True), x=x)
    return {name: float(np.abs(seen[name]).max()) for name in tensors}


def quantized(source: onnx.ModelProto, x: np.ndarray = X, dtype: str = "int8", recipe: Recipe | None = None, **options):
    placement = place(source, recipe, dtype)
    made = insert(source, placement, amax_of(source, placement.tensors, x), dtype, **options)
    onnx.checker.check_model(made, full_check=True)
    return made


def sqnr_db(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Signal to quantization noise, 10·log10(Σ r² / Σ (r − c)²)."""
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    return float(10 * np.log10(np.sum(r * r) / max(np.sum((r - c) ** 2), 1e-300)))


def weights_of(source: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {item.name: numpy_helper.to_array(item) for item in source.graph.initializer}


# --- arithmetic ------------------------------------------------------------------------------------------------------


def plain_conv(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    pad = w.shape[2] // 2
    windows = sliding_window_view(np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))), w.shape[2:], axis=(2, 3))
    y = np.einsum("nchwij,ocij->nohw", windows, w, dtype=np.float64, optimize=True)
    return (y + b[:, None, None]).astype(np.float32)


def plain_inception(w: dict[str, np.ndarray], x: np.ndarray, amax: dict[str, float], dtype: str) -> np.ndarray:
    """``inception()`` once more, as plain NumPy on fake-quantized numbers."""

    def q(name: str, values: np.ndarray) -> np.ndarray:
        return fake_quantize(values, scale_of(amax[name], dtype), dtype)

    def layer(name: str, values: np.ndarray) -> np.ndarray:
        weight = w[f"{name}_w"]
        scales = scale_of(channel_amax(weight, 0), dtype)
        return plain_conv(values, fake_quantize(weight, scales, dtype, 0), w[f"{name}_b"])

    def relu(values: np.ndarray) -> np.ndarray:
        return np.maximum(values, 0)

    x = relu(layer("conv1", q("x", x)))
    squares = np.pad(x * x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    x = x / (1 + 1e-4 / 3 * sum(squares[:, i : i + x.shape[1]] for i in range(3))) ** np.float32(0.75)
    x = sliding_window_view(x, (2, 2), axis=(2, 3))[:, :, ::2, ::2].max(axis=(4, 5))
    q1 = q("pool1", x)
    one, three = relu(layer("one", q1)), relu(layer("three", q("reduce_relu", relu(layer("reduce", q1)))))
    pooled = q1 if dtype == "int8" else x  # FP8 pools in float
    pooled = np.pad(pooled, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    pooled = q("pool2", sliding_window_view(pooled, (3, 3), axis=(2, 3)).max(axis=(4, 5)))
    x = np.concatenate([one, three, relu(layer("projection", pooled))], axis=1)
    x = q("flat", relu(layer("last", q("joined", x))).mean(axis=(2, 3)))
    weight = fake_quantize(w["fc_w"], scale_of(channel_amax(w["fc_w"], 0), dtype), dtype, 0)
    return x @ weight.T + w["fc_b"]


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_onnx_runtime_computes_what_plain_numpy_does(dtype):
    source = inception()
    source.graph.node.pop()  # the logits, not the Softmax
    source.graph.output[0].name = "fc"
    placement = place(source, None, dtype)
    amax = amax_of(source, placement.tensors, X)
    for group in placement.shared:
        amax |= dict.fromkeys(group, max(amax[name] for name in group))
    expected = plain_inception(weights_of(source), X, amax, dtype)
    got = run(insert(source, placement, amax, dtype), {"x": X})[0]
    # Equal to the bit where this was written; sums in another order may round a number to its neighbour on the grid.
    assert sqnr_db(expected, got) > 60
    float_result = run(source, {"x": X})[0]
    assert 15 < sqnr_db(float_result, got) < 55


def test_one_product_is_exact():
    """With powers of two and small whole numbers nothing rounds: results are equal to the last bit."""
    weight = np.array([[127, -64, 3], [12.7, 0, -1.27]], np.float32)
    weight[1] = [127 / 8, 0, -10 / 8]
    source = one_product(node("Gemm", ["x", "w"], "y", transB=1), weight, ("N", 3))
    x = np.array([[127, -5, 63], [0, 1, -127]], np.float32) / 4
    made = insert(source, place(source), {"x": 127 / 4})
    np.testing.assert_array_equal(run(made, {"x": x})[0], x @ weight.T)
    tensors = weights_of(made)
    np.testing.assert_array_equal(tensors["w_quantized"], [[127, -64, 3], [127, 0, -10]])
    np.testing.assert_array_equal(tensors["w_scale"], [1, 0.125])
    assert tensors["x_scale"] == 0.25


@pytest.mark.parametrize("level", ["BASIC", "EXTENDED", "ALL"])
def test_onnx_runtimes_optimizations_change_nothing_in_int8(level):
    made = quantized(inception())
    reference = run(made, {"x": X})[0]
    np.testing.assert_allclose(run(made, {"x": X}, level)[0], reference, rtol=0.02)


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_float16_beside_it_loses_nothing(dtype):
    source = residual()
    x = normal(3, 4, 16, 8, 8)
    reference = run(source, {"x": x})[0]
    full = sqnr_db(reference, run(quantized(source, x, dtype), {"x": x})[0])
    half = sqnr_db(reference, run(quantized(source, x, dtype, high_precision="fp16"), {"x": x})[0])
    assert full > 25
    assert abs(full - half) < 0.5


def test_float16_scales_are_exact():
    """Channels of tiny weights: their scales are subnormal in float16, and the weights are quantized with those."""
    weight = normal(0, 8, 16) * np.logspace(0, -5, 8, dtype=np.float32)[:, None]
    source = one_product(node("Gemm", ["x", "w"], "y", transB=1), weight, ("N", 16))
    made = insert(source, place(source), {"x": 3.0}, high_precision="fp16")
    tensors = weights_of(made)
    half = next(item for name, item in tensors.items() if name.startswith("w_scale"))
    restored = dequantize(tensors["w_quantized"], half.astype(np.float32), 0)
    fine = np.abs(weight).max(axis=1) > 1e-3
    error = np.abs(restored - weight).max(axis=1)
    assert np.all(error[fine] <= 0.51 * half[fine].astype(np.float32))
    assert np.abs(tensors["w_quantized"][fine]).max(axis=1).min() >= 120


# --- structure -------------------------------------------------------------------------------------------------------


def test_names_of_the_source_stay():
    source = inception()
    made = quantized(source)
    assert [v.name for v in made.graph.input] == ["x"]
    assert [v.name for v in made.graph.output] == ["y"]
    own = [n.name for n in source.graph.node]
    assert [n.name for n in made.graph.node if n.name in own] == own
    assert len({n.name for n in made.graph.node}) == len(made.graph.node)
    assert {n.op_type for n in made.graph.node} - {n.op_type for n in source.graph.node} == {
        "QuantizeLinear",
        "DequantizeLinear",
        "GlobalAveragePool",
    }


def test_one_pair_a_tensor_and_stored_weights():
    made = quantized(inception())
    quantizers = [n for n in made.graph.node if n.op_type == "QuantizeLinear"]
    assert [n.input[0] for n in quantizers] == ["x", "pool1", "reduce_relu", "pool2", "joined", "flat"]
    readers = [n.name for n in made.graph.node if "pool1_dequantized" in n.input]
    assert readers == ["one", "reduce", "pool2"]
    tensors = {item.name: item for item in made.graph.initializer}
    assert not [name for name in tensors if name.endswith("_w")]
    assert tensors["three_w_quantized"].data_type == TensorProto.INT8
    assert tensors["three_b"].data_type == TensorProto.FLOAT
    dequantizer = next(n for n in made.graph.node if n.name == "three_w_DequantizeLinear")
    assert len(dequantizer.input) == 2  # without a zero point
    assert helper.get_node_attr_value(dequantizer, "axis") == 0


def test_the_same_every_time():
    first, second = (quantized(inception()).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_tensors_that_share_a_scale_get_the_largest():
    source = inception()
    placement = place(source)
    made = insert(source, placement, dict.fromkeys(placement.tensors, 1.0) | {"pool2": 8.0})
    tensors = weights_of(made)
    assert tensors["pool1_scale"] == tensors["pool2_scale"] == scale_of(8.0)
    assert tensors["joined_scale"] == scale_of(1.0)


def test_files_shrink_to_a_quarter():
    source = model_defs.get("squeezenet1_1").build()
    placement = place(source)
    for dtype in ("int8", "fp8"):
        made = insert(source, place(source, None, dtype), dict.fromkeys(placement.tensors, 1.0), dtype)
        assert made.ByteSize() < 0.27 * source.ByteSize()


def test_the_source_is_not_changed():
    source = inception()
    before = source.SerializeToString(deterministic=True)
    quantized(source, high_precision="fp16")
    assert source.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("dtype", "high_precision", "opset"), [("int8", "fp32", 13), ("fp8", "fp32", 19), ("int8", "fp16", 19)]
)
def test_the_opset_is_raised_as_far_as_needed(dtype, high_precision, opset):
    source = inception(opset=11, ir=6)
    made = quantized(source, dtype=dtype, high_precision=high_precision)
    assert made.opset_import[0].version == opset
    got, want = run(made, {"x": X})[0], run(source, {"x": X})[0]
    assert np.argmax(got, 1).tolist() == np.argmax(want, 1).tolist()


def test_weights_that_are_inputs_too_as_before_ir_4():
    source = inception(opset=9, ir=3)
    source.graph.input.extend(value(item.name, item.dims) for item in source.graph.initializer)
    made = quantized(source)
    assert "x" in [v.name for v in made.graph.input]
    assert not {"three_w", "x_scale"} & {v.name for v in made.graph.input}


def test_weights_in_constant_nodes():
    constant = helper.make_node("Constant", [], ["w"], name="w_node", value=tensor("", normal(0, 400, 8)))
    source = model(
        [constant, node("MatMul", ["x", "w"], "y")], [value("x", ("N", 400))], [value("y", ("N", 8))], opset=17
    )
    x = normal(2, 3, 400)
    made = quantized(source, x)
    assert [n.op_type for n in made.graph.node] == [
        "QuantizeLinear",
        "DequantizeLinear",
        "DequantizeLinear",
        "MatMul",
    ]
    assert sqnr_db(run(source, {"x": x})[0], run(made, {"x": x})[0]) > 30


def test_a_weight_that_others_read_too_stays_for_them():
    nodes = [node("Gemm", ["x", "w"], "h"), node("Add", ["h", "w"], "y")]
    source = model(nodes, [value("x", (4, 4))], [value("y", (4, 4))], [tensor("w", normal(0, 4, 4))])
    made = quantized(source, normal(1, 4, 4))
    assert {"w", "w_quantized"} <= {item.name for item in made.graph.initializer}
    assert made.graph.node[-1].input[1] == "w"


def test_a_weight_of_two_nodes_is_stored_once():
    nodes = [node("Gemm", ["x", "w"], "h"), node("Gemm", ["h", "w"], "y")]
    source = model(nodes, initializers=[tensor("w", normal(0, 4, 4))])
    made = quantized(source, normal(1, 3, 4))
    assert [item.name for item in made.graph.initializer].count("w_quantized") == 1
    assert sum("w_dequantized" in n.input for n in made.graph.node) == 2


def test_names_that_are_taken_get_a_number():
    source = one_product(node("Gemm", ["x", "w"], "x_quantized"), normal(0, 4, 4), ("N", 4))
    made = quantized(source, normal(1, 3, 4))
    assert made.graph.node[0].output[0] == "x_quantized_2"


def test_a_channel_and_a_tensor_of_zeros():
    weight = normal(0, 8, 4)
    weight[3] = 0
    source = one_product(node("Gemm", ["x", "w"], "y", transB=1), weight, ("N", 4))
    made = insert(source, place(source), {"x": 0.0})
    tensors = weights_of(made)
    assert tensors["x_scale"] == tensors["w_scale"][3] == np.float32(ZERO_RANGE_SCALE)
    assert np.all(np.isfinite(run(made, {"x": normal(1, 2, 4)})[0]))


def test_scales_as_inputs_override_what_is_stored():
    source = inception()
    placement = place(source)
    amax = amax_of(source, placement.tensors, X)
    stored = insert(source, placement, amax)
    candidate = insert(source, placement, dict.fromkeys(placement.tensors, 1.0), scales_as_inputs=True)
    assert [v.name for v in candidate.graph.input] == ["x", *map(scale_name, placement.tensors)]
    for group in placement.shared:
        amax |= dict.fromkeys(group, max(amax[name] for name in group))
    feeds = {scale_name(name): np.asarray(scale_of(amax[name])) for name in placement.tensors}
    np.testing.assert_array_equal(run(candidate, {"x": X, **feeds})[0], run(stored, {"x": X})[0])
    assert not np.array_equal(run(candidate, {"x": X})[0], run(stored, {"x": X})[0])


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_quantized_model_is_refused():
    source = inception()
    placement = place(source)
    made = quantized(source)
    with pytest.raises(ModelError, match="quantized already"):
        insert(made, placement, {})


def test_a_missing_or_impossible_amax_is_named():
    source = inception()
    placement = place(source)
    amax = dict.fromkeys(placement.tensors, 1.0)
    with pytest.raises(CalibrationError, match="No amax for 1 of 6 tensors: joined"):
        insert(source, placement, {name: value for name, value in amax.items() if name != "joined"})
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(CalibrationError, match="'joined' is"):
            insert(source, placement, amax | {"joined": bad})


def test_a_placement_of_another_model_is_refused():
    placement = place(residual())
    with pytest.raises(ModelError, match="placement is for another model"):
        insert(inception(), placement, dict.fromkeys(placement.tensors, 1.0))


def test_contradicting_options():
    source = inception()
    placement = place(source)
    amax = dict.fromkeys(placement.tensors, 1.0)
    for options in ({"dtype": "fp8"}, {"high_precision": "bf16"}, {"high_precision": "fp16", "scales_as_inputs": True}):
        with pytest.raises(UsageError, match="Cannot quantize"):
            insert(source, placement, amax, **options)


def test_a_scale_input_whose_name_is_taken():
    source = one_product(node("Gemm", ["x", "w"], "x_scale"), normal(0, 4, 4), ("N", 4))
    with pytest.raises(ModelError, match="'x_scale' already"):
        insert(source, place(source), {"x": 1.0}, scales_as_inputs=True)


def test_branches_keep_the_float_tensor():
    """The body of an If reads a quantized tensor from outside: it gets the float one, which exists all the same."""
    branches = {
        f"{which}_branch": helper.make_graph([helper.make_node("Relu", ["x"], [which])], which, [], [value(which)])
        for which in ("then", "else")
    }
    nodes = [node("Gemm", ["x", "w"], "g"), helper.make_node("If", ["c"], ["i"], name="i", **branches)]
    nodes.append(node("Add", ["g", "i"], "y"))
    source = model(
        nodes, initializers=[tensor("w", normal(0, 4, 4)), tensor("c", np.array(True))], outputs=[value("y")]
    )
    x = normal(1, 3, 4)
    made = quantized(copy.deepcopy(source), x)
    assert sqnr_db(run(source, {"x": x})[0], run(made, {"x": x})[0]) > 25


def test_a_grouped_convolution():
    weight = normal(0, 8, 1, 3, 3) * np.logspace(0, -3, 8, dtype=np.float32)[:, None, None, None]
    product = node("Conv", ["x", "w"], "y", group=4, kernel_shape=[3, 3])
    source = one_product(product, weight, ("N", 4, 9, 9))
    x = normal(1, 2, 4, 9, 9)
    got, want = run(quantized(source, x), {"x": x})[0], run(source, {"x": x})[0]
    for channel in range(8):  # per channel: the small ones are as accurate as the large ones
        assert sqnr_db(want[:, channel], got[:, channel]) > 30


def test_fp8_basic_optimizations_agree_with_onnx_reference():
    """ONNX Runtime's default optimizations drop a Relu before an FP8 QuantizeLinear; BASIC keeps it."""
    nodes = [conv("a", "x"), node("Relu", ["a"], "r"), conv("y", "r")]
    shape = ("N", 4, 5, 5)
    source = model(
        nodes, [value("x", shape)], [value("y", shape)], [*conv_weights("a", 4, 4), *conv_weights("y", 4, 4)]
    )
    x = normal(1, 2, 4, 5, 5)
    made = quantized(source, x, "fp8")
    expected = ReferenceEvaluator(made).run(None, {"x": x})[0]
    assert sqnr_db(expected, run(made, {"x": x})[0]) > 60
