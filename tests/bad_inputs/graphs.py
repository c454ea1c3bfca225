"""ONNX files that hold a model which cannot be converted."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.bad_inputs.case import BadInput, onnx_file
from tests.graph.models import model, perceptron, relu, tensor, value
from tests.graph.test_check import BAD
from trtkit.errors import ModelError

__all__ = ["CASES"]


def _graph(name: str, message: str, hint: str = ".") -> BadInput:
    """A fault of the catalogue in tests/graph/test_check.py, brought to the command line as a file."""
    build, _ = BAD[name]
    return BadInput(name, "convert model.onnx", ModelError, message, hint, onnx_file(build))


def _quantized() -> onnx.ModelProto:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="dequantize"),
    ]
    return model(nodes, initializers=[tensor("s", np.float32(0.1)), tensor("z", np.int8(0))])


def _long_names() -> onnx.ModelProto:
    """A hundred nodes of an unknown operator, each with a name of 3,000 characters."""
    names = [f"/model/{'block/' * 500}{index}" for index in range(100)]
    tensors = ["x", *(f"t{index}" for index in range(99)), "y"]
    return model([helper.make_node("Foo", [tensors[i]], [tensors[i + 1]], name=name) for i, name in enumerate(names)])


CASES = (
    _graph("no nodes", "has no nodes"),
    _graph("no inputs", "has no inputs"),
    _graph("no outputs", "has no outputs"),
    _graph("IR 99", r"IR version 99; the installed onnx package \([\d.]+\) knows 3 to", "Upgrade onnx"),
    _graph("opset 99", "uses opset 99; the installed onnx", "older, or upgrade"),
    _graph("opset 6", "uses opset 6; TensorRT reads opset 7 and newer", "newer opset"),
    _graph("no opset", "does not say which opset"),
    _graph("unknown operator", "no operator 'Reluu'.*Reluu 'n'", "standard operators"),
    _graph("unknown domain", "my.ops::Relu", "plugin"),
    _graph("ONNX Runtime's operator", "com.microsoft::FusedConv", "original ONNX export"),
    _graph("classical learning", "classical machine-learning", "Move this step out"),
    _graph("operator of a later opset", "Gelu came with opset 20", "opset 20 or newer"),
    _graph("Det", "TensorRT cannot take the operator Det.*Det 'n'", "Replace Det"),
    _graph("QLinearConv", "cannot take the operator QLinearConv", "Q/DQ"),
    _graph("sequence input", "'sequence' instead of tensor", "plain tensors"),
    _graph("no rank", "'x' has no shape", "Export with a shape"),
    _graph("zero dim", "dimension 0 of the input 'x' is 0", "dim_param"),
    _graph("negative dim", "dimension 1 of the input 'x' is -2", "dim_param"),
    _graph("float64 input", "of type float64.*in silence", "float32"),
    _graph("string input", "of type string", "types float32"),
    _graph("cycle", "has a cycle of 2 nodes: .*'A'.*'B'|has a cycle of 2 nodes: .*'B'.*'A'", "Loop"),
    _graph("nobody makes it", "Add 'n' reads tensor 'xx'.*closest name is 'x'"),
    _graph("made twice", "'y' is made twice, by Relu 'n' and Tanh 'm'"),
    _graph("output of nobody", "graph output 'y' is made by no node", "for example: z"),
    _graph("cut weight", "takes 16 bytes, and 15 are stored", "damaged"),
    _graph("NaN", "'w' holds 2 NaN", "checkpoint"),
    _graph("infinite weight", "'w' holds 16 infinite values", "float16"),
    _graph("types do not fit", "do not fit together: .*Add, node name: n"),
    _graph("shapes do not fit", "do not fit together: .*Gemm, node name: n"),
    _graph("channels do not fit", "Conv 'n' gets 3 channels, .* takes 4", "right shape"),
    _graph("a name that is no text", "the name of a node is not valid UTF-8", "damaged"),
    _graph("unknown attribute", "Unrecognized attribute: slope"),
    BadInput(
        "quantized already",
        "convert model.onnx",
        ModelError,
        "is quantized already: .*'quantize'",
        "float32 model",
        onnx_file(_quantized),
    ),
    BadInput("long names", "convert model.onnx", ModelError, "'Foo'.* and 95 more", ".", onnx_file(_long_names)),
    BadInput(
        "markup in a name",
        "convert model.onnx",
        ModelError,
        r"Foo '\[/red\]\[bold\]x'",
        ".",
        onnx_file(lambda: model([helper.make_node("Foo", ["x"], ["y"], name="[/red][bold]x")])),
    ),
    BadInput(
        "fp16 of a bad graph",
        "convert model.onnx --precision fp16",
        ModelError,
        "'x' is of type complex64",
        "float32",
        onnx_file(lambda: relu(inputs=[value("x", ("N", 4), TensorProto.COMPLEX64)])),
    ),
    BadInput(
        "bad graph for ONNX Runtime",
        "convert model.onnx --family onnxruntime",
        ModelError,
        "opset 99",
        "upgrade",
        onnx_file(lambda: perceptron(opset=99)),
    ),
)
