"""One-operator models: whatever the operator, the cast is well typed and the answer stays what it was in float32."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.graph.float16_oracle import checked, net, relative_l2, run
from tests.graph.models import tensor, value

RNG = np.random.default_rng(3)
IMAGE, FLAT = (2, 4, 6, 6), (2, 4)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def positive(*shape):
    return RNG.uniform(0.5, 1.5, size=shape).astype(np.float32)


# operator, shape of the float input, constant inputs after it, attributes, whether it stays in float32
CASES = [
    ("Conv", IMAGE, [normal(3, 4, 3, 3), normal(3)], {}, False),
    ("ConvTranspose", IMAGE, [normal(4, 3, 2, 2)], {"strides": [2, 2]}, False),
    ("Gemm", FLAT, [normal(4, 5), normal(5)], {"alpha": 0.5}, False),
    ("MatMul", FLAT, [normal(4, 5)], {}, False),
    ("Add", FLAT, [normal(4)], {}, False),
    ("Sub", FLAT, [normal(4)], {}, False),
    ("Mul", FLAT, [normal(4)], {}, False),
    ("Div", FLAT, [positive(4)], {}, False),
    ("Max", FLAT, [normal(4)], {}, False),
    ("Min", FLAT, [normal(4)], {}, False),
    ("Sum", FLAT, [normal(4), normal(4)], {}, False),
    ("PRelu", FLAT, [normal(4)], {}, False),
    ("Relu", FLAT, [], {}, False),
    ("LeakyRelu", FLAT, [], {"alpha": 0.1}, False),
    ("Elu", FLAT, [], {}, False),
    ("Selu", FLAT, [], {}, False),
    ("Sigmoid", FLAT, [], {}, False),
    ("HardSigmoid", FLAT, [], {}, False),
    ("HardSwish", FLAT, [], {}, False),
    ("Tanh", FLAT, [], {}, False),
    ("Erf", FLAT, [], {}, False),
    ("Gelu", FLAT, [], {}, False),
    ("Abs", FLAT, [], {}, False),
    ("Neg", FLAT, [], {}, False),
    ("Floor", FLAT, [], {}, False),
    ("Clip", FLAT, [np.float32(-0.5), np.float32(0.5)], {}, False),
    ("Identity", FLAT, [], {}, False),
    ("Dropout", FLAT, [], {}, False),
    ("Flatten", IMAGE, [], {}, False),
    ("Transpose", IMAGE, [], {"perm": [0, 2, 3, 1]}, False),
    ("Reshape", IMAGE, [np.array([2, -1])], {}, False),
    ("Squeeze", (2, 1, 4), [np.array([1])], {}, False),
    ("Unsqueeze", FLAT, [np.array([1])], {}, False),
    ("Concat", FLAT, [normal(2, 3)], {"axis": 1}, False),
    ("Split", FLAT, [np.array([4])], {"axis": 1}, False),
    ("Slice", FLAT, [np.array([1]), np.array([3]), np.array([1])], {}, False),
    ("Gather", FLAT, [np.array([1, 3])], {"axis": 1}, False),
    ("Expand", (2, 1), [np.array([2, 5])], {}, False),
    ("Tile", FLAT, [np.array([1, 2])], {}, False),
    ("Pad", FLAT, [np.array([0, 1, 0, 1]), np.float32(0.5)], {}, False),
    ("DepthToSpace", IMAGE, [], {"blocksize": 2}, False),
    ("SpaceToDepth", IMAGE, [], {"blocksize": 2}, False),
    ("MaxPool", IMAGE, [], {"kernel_shape": [2, 2]}, False),
    ("AveragePool", IMAGE, [], {"kernel_shape": [2, 2]}, False),
    ("GlobalAveragePool", IMAGE, [], {}, False),
    ("GlobalMaxPool", IMAGE, [], {}, False),
    ("BatchNormalization", IMAGE, [normal(4), normal(4), normal(4), positive(4)], {}, False),
    ("LayerNormalization", FLAT, [normal(4), normal(4)], {}, False),
    ("ReduceMean", FLAT, [np.array([1])], {}, False),
    ("ReduceMax", FLAT, [np.array([1])], {}, False),
    ("TopK", FLAT, [np.array([2])], {}, False),
    ("Resize", IMAGE, ["", np.array([1, 1, 2, 2], np.float32)], {}, False),
    ("Trilu", (4, 4), [], {}, False),
    ("LSTM", (3, 2, 4), [normal(1, 12, 4), normal(1, 12, 3), normal(1, 24)], {"hidden_size": 3}, False),
    ("GRU", (3, 2, 4), [normal(1, 9, 4), normal(1, 9, 3), normal(1, 18)], {"hidden_size": 3}, False),
    ("LRN", IMAGE, [], {"size": 3}, True),
    ("Softmax", FLAT, [], {}, True),
    ("LogSoftmax", FLAT, [], {}, True),
    ("Softplus", FLAT, [], {}, True),
    ("Exp", FLAT, [], {}, True),
    ("Pow", (2, 3), [np.float32(2)], {}, True),
    ("InstanceNormalization", IMAGE, [normal(4), normal(4)], {}, True),
    ("LpNormalization", FLAT, [], {}, True),
    ("ReduceSum", FLAT, [np.array([1])], {}, True),
    ("ReduceL2", FLAT, [np.array([1])], {}, True),
    ("CumSum", FLAT, [np.array(1)], {}, True),
    ("GridSample", IMAGE, [RNG.uniform(-1, 1, (2, 3, 3, 2)).astype(np.float32)], {}, True),
]


def one_operator(op_type, shape, constants, attributes) -> onnx.ModelProto:
    """Relu → the operator → Relu, so that its input and output are float16 on both sides where it allows it."""
    names = ["" if isinstance(c, str) else f"c{i}" for i, c in enumerate(constants)]
    outputs = {"LSTM": ["", "o"], "GRU": ["", "o"]}.get(op_type, ["o"])
    outputs += ["indices"] if op_type == "TopK" else []
    return net(
        [
            helper.make_node("Identity", ["x"], ["i"], name="before"),
            helper.make_node(op_type, ["i", *names], outputs, name="it", **attributes),
            helper.make_node("Identity", ["o"], ["y"], name="after"),
        ],
        [value("x", shape)],
        [value("y", None)],
        [tensor(name, c) for name, c in zip(names, constants, strict=True) if name],
        opset=20,
        ir=9,
    )


@pytest.mark.parametrize(("op_type", "shape", "constants", "attributes", "stays"), CASES, ids=[c[0] for c in CASES])
def test_operator(op_type, shape, constants, attributes, stays):
    source = one_operator(op_type, shape, constants, attributes)
    result = checked(source)
    assert ("it" in {kept.name for kept in result.kept_float32}) == stays
    x = RNG.normal(size=shape).astype(np.float16).astype(np.float32)
    (want,), (got,) = run(source, x=x), run(result.model, x=x)
    assert got.dtype == want.dtype
    assert relative_l2(want, got) < 5e-3


COMPARISONS = ["Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual"]


@pytest.mark.parametrize("op_type", COMPARISONS)
def test_comparison_and_where(op_type):
    source = net(
        [
            helper.make_node(op_type, ["x", "zero"], ["c"], name="compare"),
            helper.make_node("Where", ["c", "x", "other"], ["y"], name="where"),
        ],
        initializers=[tensor("zero", np.float32(0)), tensor("other", normal(4))],
    )
    result = checked(source)
    assert result.kept_float32 == ()
    x = normal(3, 4)
    np.testing.assert_allclose(run(result.model, x=x)[0], run(source, x=x)[0], atol=4e-3)


@pytest.mark.parametrize(("op_type", "dtype"), [("ArgMax", np.int64), ("IsNaN", np.bool_), ("Shape", np.int64)])
def test_operators_without_a_float_output(op_type, dtype):
    kind = TensorProto.BOOL if dtype == np.bool_ else TensorProto.INT64
    source = net([helper.make_node(op_type, ["x"], ["y"], name="it")], outputs=[value("y", None, kind)])
    x = normal(3, 4)
    (want,), (got,) = run(source, x=x), run(checked(source).model, x=x)
    assert got.dtype == want.dtype == dtype
    np.testing.assert_array_equal(got, want)
