"""Rules for Q/DQ models of others: each breach on a model that has it, and the parser of TensorRT-RTX as the judge."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime import quantization

from tests.graph.models import model, tensor, value
from tests.graph.qdq_models import conv, conv_weights, inception, node, normal, residual
from trtkit.graph.placement import place
from trtkit.graph.qdq import insert
from trtkit.graph.qdq_rules import RULES, check

PARSE = """
import json, sys
import tensorrt_rtx as trt
logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
builder = trt.Builder(logger)
answers = []
for path in sys.argv[1:]:
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    answers.append(trt.OnnxParser(network, logger).parse_from_file(path))
print(json.dumps(answers))
"""

SHAPE = ("N", 4, 6, 6)


def ids(source: onnx.ModelProto) -> set[str]:
    found = check(source)
    for breach in found:
        assert RULES[breach.rule][0] in breach.text
        assert breach.way_out == RULES[breach.rule][1]
        assert breach.fatal == breach.rule.startswith("X")
        assert breach.node
    assert [b.fatal for b in found] == sorted((b.fatal for b in found), reverse=True)
    return {breach.rule for breach in found}


def pair(
    x: str, y: str, scale: object = 0.1, zero: object = np.int8(0), axis: int | None = None
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """A pair from ``x`` to ``y``, and its stored scale and zero point."""
    attributes = {} if axis is None else {"axis": axis}
    names = [f"{y}_s", f"{y}_z"]
    nodes = [
        helper.make_node("QuantizeLinear", [x, *names], [f"{y}_q"], name=f"{y}_Q", **attributes),
        helper.make_node("DequantizeLinear", [f"{y}_q", *names], [y], name=f"{y}_DQ", **attributes),
    ]
    return nodes, [tensor(names[0], np.asarray(scale, np.float32)), tensor(names[1], zero)]


def one_conv(activation: dict | None = None, weight: dict | None = None, opset: int = 17, **ways) -> onnx.ModelProto:
    """x → Q/DQ → Conv with Q/DQ weights; ``ways`` may leave one of the two float."""
    nodes, stored = pair("x", "xd", **(activation or {}))
    scales = {"scale": np.full(4, 0.01), "zero": np.zeros(4, np.int8), "axis": 0}
    more, others = pair("w", "wd", **(scales if weight is None else weight))
    product = helper.make_node(
        "Conv", ["x" if ways.get("float_x") else "xd", "w" if ways.get("float_w") else "wd"], ["y"], name="c"
    )
    weights = tensor("w", normal(0, 4, 4, 1, 1))
    return model(
        [*nodes, *more, product], [value("x", SHAPE)], [value("y", SHAPE)], [*stored, *others, weights], opset=opset
    )


def test_what_the_writer_writes_breaks_no_rule():
    for source in (inception(), residual(), residual(projection=True)):
        for dtype in ("int8", "fp8"):
            placement = place(source, None, dtype)
            for options in ({}, {"high_precision": "fp16"}):
                made = insert(source, placement, dict.fromkeys(placement.tensors, 1.0), dtype, **options)
                assert check(made) == ()


def test_a_float_model_breaks_no_rule():
    assert check(inception()) == ()


def per_tensor(zero: object = np.int8(0), **more) -> dict:
    return {"scale": 0.01, "zero": zero, **more}


_FP8 = np.zeros((), ml_dtypes.float8_e4m3fn)

CASES: dict[str, tuple[onnx.ModelProto, set[str], bool]] = {
    "sound but for unfolded weights": (one_conv(), {"A7-unfolded-weights"}, True),
    "zero point": (one_conv({"zero": np.int8(5)}), {"X1-zero-point", "A7-unfolded-weights"}, False),
    "uint8": (one_conv({"zero": np.uint8(0)}), {"X2-uint8", "A7-unfolded-weights"}, True),
    "uint8 at 128": (one_conv({"zero": np.uint8(128)}), {"X1-zero-point", "X2-uint8", "A7-unfolded-weights"}, False),
    "negative scale": (one_conv({"scale": -0.1}), {"X5-scale", "A7-unfolded-weights"}, False),
    "activation per channel": (
        one_conv({"scale": np.full(4, 0.1), "zero": np.zeros(4, np.int8), "axis": 1}),
        {"A1-activation-per-channel", "A7-unfolded-weights"},
        True,
    ),
    "weights along axis 1": (
        one_conv(weight={"scale": np.full(4, 0.1), "zero": np.zeros(4, np.int8), "axis": 1}),
        {"A2-weight-axis", "A7-unfolded-weights"},
        True,
    ),
    "weights per tensor": (one_conv(weight=per_tensor()), {"A7-unfolded-weights"}, True),
    "FP8 weights per tensor": (
        one_conv({"zero": _FP8}, per_tensor(_FP8), opset=19),
        {"A7-unfolded-weights", "A9-fp8-one-scale"},
        True,
    ),
    "FP8 weights per channel": (
        one_conv({"zero": _FP8}, {"scale": np.full(4, 0.01), "zero": np.full(4, _FP8), "axis": 0}, opset=19),
        {"A7-unfolded-weights"},
        True,
    ),
    "float weights": (one_conv(float_w=True), {"A6-half"}, True),
    "float activation": (one_conv(float_x=True), {"A6-half", "A7-unfolded-weights"}, True),
}


@pytest.mark.parametrize("name", CASES)
def test_breaches(name):
    source, expected, _ = CASES[name]
    assert ids(source) == expected


def dynamic_scale() -> onnx.ModelProto:
    source = one_conv()
    del source.graph.initializer[0]
    source.graph.input.append(value("xd_s", []))
    return source


def without_zero_point(**options) -> onnx.ModelProto:
    """ONNX then means uint8."""
    source = one_conv(**options)
    for n in source.graph.node[:2]:
        del n.input[2]
    return source


def int32_bias() -> onnx.ModelProto:
    source = one_conv()
    source.graph.node.insert(0, helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"], name="b_DQ"))
    source.graph.node[-1].input.append("bd")
    source.graph.initializer.extend([tensor("b", np.zeros(4, np.int32)), tensor("bs", np.float32(0.1))])
    return source


def fp8(opset: int) -> onnx.ModelProto:
    nodes, stored = pair("x", "y")
    source = model(nodes, [value("x", SHAPE)], [value("y", SHAPE)], stored[:1], opset=opset)
    source.graph.initializer.append(helper.make_tensor("y_z", TensorProto.FLOAT8E4M3FN, [], [0]))
    return source


def int16(opset: int = 21) -> onnx.ModelProto:
    nodes, stored = pair("x", "y", zero=np.int16(0))
    return model(nodes, [value("x", SHAPE)], [value("y", SHAPE)], stored, opset=opset)


def contributed() -> onnx.ModelProto:
    source = int16()
    for n in source.graph.node:
        n.domain = "com.microsoft"
    source.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return source


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        (dynamic_scale(), "X5-scale"),
        (without_zero_point(), "X2-uint8"),
        (int32_bias(), "X3-int32-bias"),
        (fp8(17), "X6-opset"),
        (one_conv(opset=11), "X6-opset"),
        (int16(), "X7-type"),
        (contributed(), "X8-domain"),
        (model([helper.make_node("ConvInteger", ["x", "w"], ["y"], name="q")]), "X4-qoperator"),
        (model([helper.make_node("QLinearMatMul", ["x"] * 8, ["y"], name="q")]), "X4-qoperator"),
    ],
)
def test_fatal_breaches(source, rule):
    assert rule in ids(source)


def test_fp8_at_its_opset_is_fine():
    assert check(fp8(19)) == ()


def test_int8_stated_by_an_attribute():
    source = without_zero_point(opset=21)
    source.graph.node[0].attribute.append(helper.make_attribute("output_dtype", TensorProto.INT8))
    assert ids(source) == {"A7-unfolded-weights"}


def folded(name: str, x: str, side: int = 1, inputs: int = 4) -> tuple[list, list]:
    """A Conv whose weights are stored quantized."""
    weights = conv_weights(name, 4, inputs, side, bias=False)
    shape = weights[0].dims
    nodes = [
        helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_s"], [f"{name}_w"], name=f"{name}_DQ", axis=0),
        conv(name, x, side, bias=False),
    ]
    return nodes, [tensor(f"{name}_q", np.ones(shape, np.int8)), tensor(f"{name}_s", np.full(4, 0.1, np.float32))]


def chain(*parts: tuple[list, list], output: str) -> onnx.ModelProto:
    nodes = [n for part, _ in parts for n in part]
    stored = [item for _, items in parts for item in items]
    return model(nodes, [value("x", SHAPE)], [value(output, None)], stored)


def test_a_pair_between_a_product_and_its_activation():
    source = chain(pair("x", "xd"), folded("c", "xd"), pair("c", "cd"), ([node("Relu", ["cd"], "y")], []), output="y")
    assert ids(source) == {"A3-before-relu"}
    assert [b.node for b in check(source)] == ["cd_Q"]


def test_both_inputs_of_an_add():
    parts = [pair("x", "xd"), folded("c", "xd"), pair("c", "cd"), ([node("Add", ["cd", "xd"], "y")], [])]
    assert ids(chain(*parts, output="y")) == {"A4-both-add-inputs"}


def test_unequal_scales_in_a_concat():
    def joined(scale: float) -> onnx.ModelProto:
        parts = [pair("x", "a"), ([node("Relu", ["x"], "r")], []), pair("r", "b", scale)]
        return chain(*parts, ([node("Concat", ["a", "b"], "y", axis=1)], []), output="y")

    assert ids(joined(0.2)) == {"A5-concat-scales"}
    assert "0.1, 0.2" in check(joined(0.2))[0].text
    assert ids(joined(0.1)) == set()


def test_several_pairs_on_one_tensor():
    source = chain(pair("x", "a"), pair("x", "b"), folded("c", "a"), folded("d", "b"), output="c")
    assert ids(source) == {"A8-several-pairs"}


def test_weights_behind_a_transpose_are_not_judged_by_axis():
    nodes, stored = pair("x", "xd")
    nodes += [
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"], name="w_DQ", axis=0),
        node("Transpose", ["d"], "t", perm=[1, 0]),
        node("MatMul", ["xd", "t"], "y"),
    ]
    stored += [tensor("q", np.ones((8, 4), np.int8)), tensor("s", np.ones(8, np.float32))]
    assert check(model(nodes, [value("x")], [value("y", ("N", 8))], stored)) == ()


# --- other writers, and the parser as the judge ----------------------------------------------------------------------


class Reader(quantization.CalibrationDataReader):
    def __init__(self) -> None:
        self._left = [{"x": normal(i, 2, 3, 16, 16)} for i in range(2)]

    def get_next(self) -> dict | None:
        return self._left.pop() if self._left else None


def written_by_onnx_runtime(folder, name: str, **options) -> onnx.ModelProto:
    onnx.save(inception(), folder / "float.onnx")
    extra = options.pop("extra_options", {})
    quantization.quantize_static(
        str(folder / "float.onnx"), str(folder / f"{name}.onnx"), Reader(), extra_options=extra, **options
    )
    return onnx.load(folder / f"{name}.onnx")


@pytest.fixture(scope="module")
def from_onnx_runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ort")
    int8 = {"activation_type": quantization.QuantType.QInt8, "weight_type": quantization.QuantType.QInt8}
    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True}
    return folder, {
        "default": written_by_onnx_runtime(folder, "default"),
        "qoperator": written_by_onnx_runtime(folder, "qoperator", quant_format=quantization.QuantFormat.QOperator),
        "symmetric": written_by_onnx_runtime(folder, "symmetric", **int8, extra_options=symmetric),
        "for TensorRT": written_by_onnx_runtime(
            folder, "for TensorRT", **int8, per_channel=True, extra_options={**symmetric, "QuantizeBias": False}
        ),
    }


def test_what_onnx_runtime_writes(from_onnx_runtime):
    _, models = from_onnx_runtime
    assert {"X1-zero-point", "X3-int32-bias"} <= ids(models["default"])
    assert "X4-qoperator" in ids(models["qoperator"])
    assert {rule for rule in ids(models["symmetric"]) if rule[0] == "X"} == {"X3-int32-bias"}
    found = ids(models["for TensorRT"])
    assert not {rule for rule in found if rule[0] == "X"}
    assert "A3-before-relu" in found


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
def test_the_parser_agrees_about_what_is_fatal(from_onnx_runtime, tmp_path):
    folder, models = from_onnx_runtime
    paths = {name: folder / f"{name}.onnx" for name in models}
    expected = {name: not any(b.fatal for b in check(source)) for name, source in models.items()}
    cases = {name: (source, parses) for name, (source, _, parses) in CASES.items()}
    cases |= {"int32 bias": (int32_bias(), False), "contributed": (contributed(), False), "int16": (int16(), False)}
    for name, (source, parses) in cases.items():
        paths[name] = tmp_path / f"{name}.onnx"
        onnx.save(source, paths[name])
        expected[name] = parses
        if not parses:
            assert any(b.fatal for b in check(source))
    done = subprocess.run(
        [sys.executable, "-c", PARSE, *map(str, paths.values())], capture_output=True, text=True, check=True
    )
    answers = dict(zip(paths, json.loads(done.stdout.strip().splitlines()[-1]), strict=True))
    assert answers == expected
