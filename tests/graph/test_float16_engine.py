"""TensorRT-RTX takes the float16 models: it parses every operator that it parses in float32, and builds on the CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest

from tests.graph.float16_oracle import checked, conv_lrn_softmax, net, node, normal
from tests.graph.models import tensor, value
from tests.graph.test_float16_operators import CASES, one_operator
from trtkit.graph.float16 import to_float16

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None or importlib.util.find_spec("polygraphy") is None,
    reason="tensorrt_rtx or polygraphy is not installed",
)

PARSE = """
import json, sys
import tensorrt_rtx as trt
logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
builder = trt.Builder(logger)
answers = {}
for path in sys.argv[1:]:
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    answers[path] = [parser.parse_from_file(path), [str(parser.get_error(i)) for i in range(parser.num_errors)]]
print(json.dumps(answers))
"""

BUILD = """
import json, sys
from polygraphy.backend.tensorrt_rtx import CreateConfigRTX
from polygraphy.backend.trt import Profile, engine_bytes_from_network, network_from_onnx_path
builder, network, parser = network_from_onnx_path(sys.argv[1], strongly_typed=True)
profile = Profile()
for i in range(network.num_inputs):
    shape = tuple(network.get_input(i).shape)
    if -1 in shape:
        profile.add(network.get_input(i).name, *((size,) + shape[1:] for size in (1, 2, 4)))
config = CreateConfigRTX(profiles=[profile], compute_capabilities=[(8, 6)])
plan = engine_bytes_from_network((builder, network, parser), config=config)
types = {}
for i in range(network.num_layers):
    layer = network.get_layer(i)
    types[layer.name.split(" ")[0]] = str(layer.get_output(0).dtype).split(".")[-1]
print(json.dumps([plan.nbytes, types]))
"""


def worker(script, *paths):
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)],
        env={**os.environ, "POLYGRAPHY_USE_TENSORRT_RTX": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_every_operator_that_parses_in_float32_parses_in_float16(tmp_path):
    paths = {}
    for op_type, shape, constants, attributes, _ in CASES:
        source = one_operator(op_type, shape, constants, attributes)
        for name, made in (("32", source), ("16", to_float16(source).model)):
            paths[op_type, name] = tmp_path / f"{op_type}{name}.onnx"
            onnx.save(made, paths[op_type, name])
    answers = worker(PARSE, *paths.values())
    parsed = [op_type for op_type, *_ in CASES if answers[str(paths[op_type, "32"])][0]]
    assert len(parsed) > 60
    failed = {op_type: answers[str(paths[op_type, "16"])] for op_type in parsed}
    assert {op_type: errors for op_type, (fine, errors) in failed.items() if not fine} == {}


def test_a_typed_net_builds_on_the_cpu(tmp_path):
    onnx.save(checked(conv_lrn_softmax()).model, tmp_path / "net.onnx")
    size, types = worker(BUILD, tmp_path / "net.onnx")
    assert size > 10_000
    assert (types["conv"], types["relu"], types["gemm"]) == ("HALF", "HALF", "HALF")
    assert (types["lrn"], types["softmax"]) == ("FLOAT", "FLOAT")


def test_int8_with_float16_builds_on_the_cpu(tmp_path):
    source = net(
        [
            node("QuantizeLinear", ["x", "xs", "xz"], ["xq"], "xq"),
            node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"], "xd"),
            node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], "wd", axis=0),
            node("Conv", ["xd", "wd", "b"], ["c"]),
            node("Relu", ["c"], ["y"]),
        ],
        [value("x", ("N", 4, 8, 8))],
        [value("y", None)],
        [
            tensor("xs", np.float32(0.02)), tensor("xz", np.int8(0)), tensor("b", normal(8)),
            tensor("wq", np.arange(8 * 4 * 9, dtype=np.int8).reshape(8, 4, 3, 3)),
            tensor("ws", np.full(8, 0.01, np.float32)), tensor("wz", np.zeros(8, np.int8)),
        ],
        opset=19,
        ir=9,
    )  # fmt: skip
    onnx.save(checked(source).model, tmp_path / "int8.onnx")
    size, types = worker(BUILD, tmp_path / "int8.onnx")
    assert size > 1000
    assert (types["xq"], types["xd"], types["conv"]) == ("INT8", "HALF", "HALF")
