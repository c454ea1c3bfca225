from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graph.models import model, perceptron, relu, tensor, value, with_branches
from trtkit.errors import ModelError
from trtkit.graph.check import check
from trtkit.graph.operators import UNSUPPORTED


def node(
    op: str, inputs: list[str] | None = None, outputs: list[str] | None = None, **attributes: object
) -> onnx.NodeProto:
    """A node ``n`` from ``x`` to ``y`` unless told otherwise."""
    name = str(attributes.pop("name", "n"))
    return helper.make_node(op, inputs or ["x"], outputs or ["y"], name=name, **attributes)


def edited(edit: Callable[[onnx.ModelProto], object], base: onnx.ModelProto | None = None) -> onnx.ModelProto:
    onnx_model = base or relu()
    edit(onnx_model)
    return onnx_model


def opset(version: int) -> onnx.ModelProto:
    return edited(lambda m: setattr(m.opset_import[0], "version", version))


def typed(dtype: int, where: str = "input") -> onnx.ModelProto:
    return edited(lambda m: setattr(getattr(m.graph, where)[0].type.tensor_type, "elem_type", dtype))


def weight(array: np.ndarray, op: str = "Add") -> onnx.ModelProto:
    return model([node(op, ["x", "w"])], outputs=[value("y", ("N", 4))], initializers=[tensor("w", array)])


def convolution(shape: tuple[int, ...], op: str = "Conv", **attributes: int) -> onnx.ModelProto:
    """A convolution of an N×3×8×8 input whose output has four dynamic dimensions."""
    return model(
        [node(op, ["x", "w"], **attributes)],
        [value("x", ("N", 3, 8, 8))],
        [value("y", ("N", "C", "H", "W"))],
        [tensor("w", np.ones(shape, np.float32))],
    )


def raw_cut() -> onnx.ModelProto:
    onnx_model = weight(np.ones(4, np.float32))
    onnx_model.graph.initializer[0].raw_data = onnx_model.graph.initializer[0].raw_data[:-1]
    return onnx_model


def sparse() -> onnx.ModelProto:
    onnx_model = model([node("Add", ["x", "w"])])
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    onnx_model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    return onnx_model


def left_outside() -> onnx.ModelProto:
    onnx_model = perceptron()
    onnx_model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    return onnx_model


def sequence_input() -> onnx.ModelProto:
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, ["N", 4])
    return model([node("Identity")], [sequence])


BAD: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "no graph": (lambda: edited(lambda m: m.ClearField("graph")), "holds no graph"),
    "no nodes": (lambda: model([]), "the graph has no nodes"),
    "no inputs": (
        lambda: model([node("Relu", ["w"])], [], initializers=[tensor("w", np.ones(4, np.float32))]),
        "the graph has no inputs",
    ),
    "no outputs": (lambda: model([node("Relu")], outputs=[]), "the graph has no outputs"),
    "IR 99": (
        lambda: edited(lambda m: setattr(m, "ir_version", 99)),
        r"IR version 99; the installed onnx .* knows 3 to",
    ),
    "no IR": (lambda: edited(lambda m: m.ClearField("ir_version")), "IR version 0"),
    "opset 99": (lambda: opset(99), r"uses opset 99; the installed onnx package .* knows 7 to \d+"),
    "opset 6": (lambda: opset(6), "uses opset 6; TensorRT reads opset 7 and newer"),
    "opset 0": (lambda: opset(0), "uses opset 0"),
    "no opset": (lambda: edited(lambda m: m.ClearField("opset_import")), "does not say which opset"),
    "two opsets": (
        lambda: edited(lambda m: m.opset_import.add(domain="ai.onnx", version=13)),
        "imports two versions of operator set 'ai.onnx'",
    ),
    "unknown operator": (lambda: model([node("Reluu")]), "ONNX has no operator 'Reluu' .*: Reluu 'n'"),
    "unknown domain": (
        lambda: model([node("Relu", domain="my.ops")], domains=["my.ops"]),
        "operator my.ops::Relu is not one of ONNX's own: Relu 'n'",
    ),
    "ONNX Runtime's operator": (
        lambda: model([node("FusedConv", domain="com.microsoft")], domains=["com.microsoft"]),
        "com.microsoft::FusedConv",
    ),
    "classical learning": (
        lambda: model([node("Scaler", domain="ai.onnx.ml")], domains=["ai.onnx.ml"]),
        "cannot take the operator Scaler: .*classical",
    ),
    "operator of a later opset": (lambda: model([node("Gelu")]), "Gelu came with opset 20 .* uses opset 17: Gelu 'n'"),
    "removed operator": (
        lambda: model([node("Upsample", ["x", "s"])], initializers=[tensor("s", np.ones(2, np.float32))]),
        "Upsample is no longer part of opset 17",
    ),
    "Det": (lambda: model([node("Det")]), "TensorRT cannot take the operator Det: .*no importer.* Det 'n'"),
    "QLinearConv": (lambda: model([node("QLinearConv")]), "QuantizeLinear/DequantizeLinear pairs only"),
    "unnamed node": (lambda: model([node("Det", name="")]), r"Det \(unnamed, makes 'y'\)"),
    "inner Det": (
        lambda: edited(lambda m: setattr(m.graph.node[2].attribute[0].g.node[0], "op_type", "Det"), with_branches()),
        "cannot take the operator Det",
    ),
    "sequence input": (sequence_input, "input 'x' has ONNX type 'sequence' instead of tensor"),
    "no element type": (lambda: typed(0), "input 'x' has no element type"),
    "float64 input": (lambda: typed(TensorProto.DOUBLE), r"'x' is of type float64, .* float32 in silence\)"),
    "string input": (lambda: typed(TensorProto.STRING), "'x' is of type string"),
    "complex output": (lambda: typed(TensorProto.COMPLEX64, "output"), "shapes or types|'y' is of type complex64"),
    "int16 input": (lambda: typed(TensorProto.INT16), "'x' is of type int16, which TensorRT does not take"),
    "unknown type": (lambda: typed(77), "is of type element type 77"),
    "no rank": (lambda: relu(inputs=[value("x", None)]), "input 'x' has no shape"),
    "rank 9": (
        lambda: relu(inputs=[value("x", (1,) * 9)], outputs=[value("y", (1,) * 9)]),
        "9 dimensions; .*at most 8",
    ),
    "zero dim": (lambda: relu(inputs=[value("x", (0, 4))]), "dimension 0 of the input 'x' is 0"),
    "negative dim": (lambda: relu(inputs=[value("x", (1, -2))]), "dimension 1 of the input 'x' is -2"),
    "zero output dim": (lambda: relu(outputs=[value("y", ("N", 0))]), "dimension 1 of the output 'y' is 0"),
    "cycle": (
        lambda: model(
            [node("Add", ["x", "b"], ["a"], name="A"), node("Relu", ["a"], ["b"], name="B"), node("Neg", ["b"])]
        ),
        "a cycle of 2 nodes: .*Relu 'B'",
    ),
    "unsorted": (
        lambda: model([node("Relu", ["a"]), node("Relu", ["x"], ["a"], name="late")]),
        "not in topological order: Relu 'n' uses 'a', which Relu 'late' makes only later",
    ),
    "nobody makes it": (
        lambda: model([node("Add", ["x", "xx"])]),
        "Add 'n' reads tensor 'xx', which is no graph input.*The closest name is 'x'",
    ),
    "made twice": (
        lambda: model([node("Relu"), node("Tanh", name="m")]),
        "tensor 'y' is made twice, by Relu 'n' and Tanh 'm'",
    ),
    "input made again": (lambda: model([node("Relu", ["x"], ["x"]), node("Relu")]), "makes tensor 'x', a graph input"),
    "output of nobody": (lambda: model([node("Relu", ["x"], ["z"])]), "graph output 'y' is made by no node"),
    "same output twice": (lambda: relu(outputs=[value("y"), value("y")]), "lists an output twice: y"),
    "same input twice": (lambda: relu(inputs=[value("x"), value("x")]), "same input twice: x"),
    "same initializer twice": (
        lambda: edited(lambda m: m.graph.initializer.append(m.graph.initializer[0]), weight(np.ones(4, np.float32))),
        "same initializer twice: w",
    ),
    "inner reads nothing": (
        lambda: edited(
            lambda m: m.graph.node[2].attribute[0].g.node[0].input.__setitem__(0, "nowhere"), with_branches()
        ),
        "reads tensor 'nowhere'",
    ),
    "cut weight": (raw_cut, r"'w' with shape \[4\] and type float32 takes 16 bytes, and 15 are stored"),
    "left outside": (left_outside, "'w1' were left in an external file"),
    "sparse weight": (sparse, "initializer 'w' is stored as a sparse tensor"),
    "uint16 weight": (lambda: weight(np.ones(4, np.uint16)), "tensor 'w' is stored as uint16"),
    "NaN": (lambda: weight(np.array([1, np.nan, 2, np.nan], np.float32)), "'w' holds 2 NaN .* among 4 values"),
    "NaN in float16": (lambda: weight(np.array([1, 1, 1, np.nan], np.float16)), "'w' holds 1 NaN"),
    "infinite weight": (
        lambda: weight(np.full((4, 4), -np.inf, np.float32), "MatMul"),
        "weight 'w' holds 16 infinite values among 16",
    ),
    "types do not fit": (
        lambda: model([node("Add", ["x", "z"])], [value("x"), value("z", ("N", 4), TensorProto.FLOAT16)]),
        r"shapes or types do not fit together: \(op_type:Add, node name: n\)",
    ),
    "shapes do not fit": (
        lambda: model([node("Gemm", ["x", "z"])], [value("x", (2, 3)), value("z", (5, 4))]),
        "do not fit together: .*Gemm.*mismatch",
    ),
    "channels do not fit": (
        lambda: convolution((8, 4, 3, 3)),
        r"Conv 'n' gets 3 channels, and its weight 'w' of shape \[8, 4, 3, 3\] takes 4\.",
    ),
    "channels do not fit in groups": (
        lambda: convolution((8, 3, 3, 3), group=2),
        "gets 3 channels.*takes 6 in 2 groups",
    ),
    "groups do not divide": (lambda: convolution((8, 1, 3, 3), group=3), "divides 8 channels into 3 groups"),
    "transposed channels do not fit": (
        lambda: convolution((4, 8, 3, 3), "ConvTranspose"),
        "ConvTranspose 'n' gets 3 channels.* takes 4",
    ),
    "a name that is no text": (
        lambda: onnx.ModelProto.FromString(relu().SerializeToString().replace(b"relu", b"re\xffu")),
        "the name of a node is not valid UTF-8",
    ),
    "unknown attribute": (lambda: model([node("Relu", slope=2)]), "Unrecognized attribute: slope for operator Relu"),
    "too many inputs": (lambda: model([node("Relu", ["x", "x"])]), "has input size 2 not in range"),
    "missing attribute": (lambda: model([node("Concat", ["x", "x"])]), "axis"),
}


@pytest.mark.parametrize("name", BAD)
def test_each_fault_has_its_own_words(name: str) -> None:
    build, pattern = BAD[name]
    start = time.monotonic()
    with pytest.raises(ModelError, match=pattern) as caught:
        check(build(), "model.onnx")
    assert time.monotonic() - start < 2
    assert caught.value.message.startswith("model.onnx")
    assert caught.value.hint.endswith((".", "?"))
    assert len(caught.value.message) < 900


GOOD: dict[str, Callable[[], onnx.ModelProto]] = {
    "relu": relu,
    "perceptron": perceptron,
    "branches": with_branches,
    "opset 7": lambda: perceptron(opset=7, ir=4),
    "newest opset": lambda: perceptron(opset=onnx.defs.onnx_opset_version(), ir=onnx.IR_VERSION),
    "negative infinity as a mask": lambda: weight(np.array([0, -np.inf, 0, 0], np.float32)),
    "convolution": lambda: convolution((8, 3, 3, 3)),
    "grouped convolution": lambda: convolution((6, 1, 3, 3), group=3),
    "transposed convolution": lambda: convolution((3, 5, 3, 3), "ConvTranspose"),
    "float64 inside": lambda: model(
        [
            node("Cast", ["w"], ["c"], to=TensorProto.FLOAT),
            node("Add", ["x", "c"]),
        ],
        initializers=[tensor("w", np.ones(4))],
    ),
    "an output that is an input": lambda: relu(outputs=[value("y"), value("x")]),
    "an inexact declared shape": lambda: relu(outputs=[value("y", ("N", 5))]),
    "an empty tensor": lambda: model(
        [node("Pad", ["x", "p", ""], mode="constant")], initializers=[tensor("p", np.zeros(4, np.int64))]
    ),
    "ai.onnx as domain": lambda: edited(lambda m: setattr(m.opset_import[0], "domain", "ai.onnx")),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_models_pass_unchanged(name: str) -> None:
    onnx_model = GOOD[name]()
    before = onnx_model.SerializeToString(deterministic=True)
    check(onnx_model, name)
    assert onnx_model.SerializeToString(deterministic=True) == before


def test_a_models_own_functions_are_known_operators() -> None:
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    onnx_model = model([node("Twice", domain="own")], domains=["own"])
    onnx_model.functions.append(function)
    check(onnx_model, "m")
    onnx_model.functions[0].node[0].op_type = "Det"
    with pytest.raises(ModelError, match="cannot take the operator Det"):
        check(onnx_model, "m")


@pytest.mark.parametrize(
    "build",
    [
        lambda: model([node("Det")], [value("x", ("N", 3, 3))], [value("y", ("N",))]),
        lambda: model(
            [node("Add", ["x", "x"])],
            [value("x", ("N", 4), TensorProto.DOUBLE)],
            [value("y", ("N", 4), TensorProto.DOUBLE)],
        ),
        lambda: model([node("Gelu", domain="com.microsoft")], domains=["com.microsoft"]),
    ],
)
def test_what_only_tensorrt_cannot_take_passes_for_others(build: Callable[[], onnx.ModelProto]) -> None:
    with pytest.raises(ModelError):
        check(build(), "m")
    check(build(), "m", for_tensorrt=False)


def test_long_lists_and_long_names_stay_on_one_screen() -> None:
    long = "/backbone/" + "layer/" * 200
    nodes = [
        node("Det", [f"t{i}" if i else "x"], [f"t{i + 1}" if i < 99 else "y"], name=f"{long}{i}") for i in range(100)
    ]
    with pytest.raises(ModelError, match="and 95 more") as caught:
        check(model(nodes), "m")
    assert len(caught.value.message) < 900


def test_every_listed_operator_exists_in_onnx() -> None:
    newer_onnx_only = {"BitCast", "CumProd", "SwiGLU"}
    missing = {op for op in UNSUPPORTED if not onnx.defs.has(op)}
    assert missing <= newer_onnx_only


def test_the_check_is_fast_on_large_weights() -> None:
    big = np.zeros((3000, 5000), np.float32)
    onnx_model = model([node("MatMul", ["x", "w"])], [value("x", ("N", 3000))], [value("y", ("N", 5000))])
    onnx_model.graph.initializer.append(numpy_helper.from_array(big, "w"))
    start = time.monotonic()
    check(onnx_model, "m")
    assert time.monotonic() - start < 1
