"""The float32 islands of a float16 model: right where float16 is not, and without needless Casts between them."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from tests.graph.float16_oracle import (
    casts,
    checked,
    element_types,
    image,
    net,
    node,
    normal,
    relative_l2,
    run,
)
from tests.graph.models import tensor, value

FLOAT, FLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16


def lrn(x, size, alpha=1e-4, beta=0.75, bias=1.0):
    """ONNX's definition, in float64, channel by channel."""
    square, result = np.square(x.astype(np.float64)), np.empty(x.shape)
    for c in range(x.shape[1]):
        window = square[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1].sum(axis=1)
        result[:, c] = x[:, c] / (bias + alpha / size * window) ** beta
    return result


def test_large_activations_through_lrn():
    source = net([node("LRN", ["x"], ["y"], size=5)], image(), [value("y", ("N", 4, 6, 6))])
    x = normal(2, 4, 6, 6, scale=1000)
    want = lrn(x, size=5)
    # The danger is real: carried out in float16, the squares overflow.
    naive = net(
        [node("LRN", ["x"], ["y"], size=5)],
        [value("x", ("N", 4, 6, 6), FLOAT16)],
        [value("y", ("N", 4, 6, 6), FLOAT16)],
    )
    with np.errstate(over="ignore"):
        (zeros,) = ReferenceEvaluator(naive).run(None, {"x": x.astype(np.float16)})
    assert np.count_nonzero(zeros == 0) > zeros.size / 3
    for keep_io in (True, False):
        (got,) = run(checked(source, keep_io=keep_io).model, x=x if keep_io else x.astype(np.float16))
        assert relative_l2(want, got) < 1e-3


def test_large_scores_through_softmax_and_log_softmax():
    for op_type in ("Softmax", "LogSoftmax"):
        source = net([node(op_type, ["x"], ["y"])], [value("x", ("N", 9))], [value("y", ("N", 9))])
        x = normal(4, 9, scale=300)
        result = checked(source)
        assert not result.modified  # float32 from end to end: nothing to cast
        scores = x.astype(np.float64)
        want = scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
        want = np.exp(want) if op_type == "Softmax" else want
        np.testing.assert_allclose(run(result.model, x=x)[0], want, rtol=1e-5, atol=1e-6)


def test_neighbouring_islands_share_a_float32_tensor():
    source = net(
        [
            node("Relu", ["x"], ["r"]),
            node("LRN", ["r"], ["l"], "one", size=3),
            node("LRN", ["l"], ["m"], "two", size=3),
            node("Softmax", ["m"], ["s"], axis=1),
            node("LRN", ["r"], ["o"], "three", size=3),
            node("Relu", ["s"], ["y"], "relu2"),
            node("Relu", ["o"], ["z"], "relu3"),
        ],
        image(),
        [value("y", None), value("z", None)],
    )
    found = casts(checked(source).model)
    assert found == [
        ("x", "x_float16", "FLOAT16"),
        ("r", "r_float32", "FLOAT"),
        ("s", "s_float16", "FLOAT16"),
        ("y_float16", "y", "FLOAT"),
        ("o", "o_float16", "FLOAT16"),
        ("z_float16", "z", "FLOAT"),
    ]


def test_decomposed_layer_norm_stays_right_at_large_activations():
    source = net(
        [
            node("Identity", ["x"], ["i"]),
            node("ReduceMean", ["i"], ["mean"], axes=[-1]),
            node("Sub", ["i", "mean"], ["d"]),
            node("Pow", ["d", "two"], ["p"]),
            node("ReduceMean", ["p"], ["var"], "var", axes=[-1]),
            node("Add", ["var", "eps"], ["e"]),
            node("Sqrt", ["e"], ["sd"]),
            node("Div", ["d", "sd"], ["y"]),
        ],
        [value("x", ("N", 16))],
        [value("y", ("N", 16))],
        [tensor("two", np.float32(2)), tensor("eps", np.float32(1e-12))],
    )
    result = checked(source)
    assert [kept.name for kept in result.kept_float32] == ["pow", "var", "add", "sqrt"]
    x = normal(3, 16, scale=2000)
    assert relative_l2(run(source, x=x)[0], ReferenceEvaluator(result.model).run(None, {"x": x})[0]) < 2e-3


def test_a_square_written_as_a_product():
    source = net([node("Relu", ["x"], ["r"]), node("Mul", ["r", "r"], ["m"]), node("Sqrt", ["m"], ["y"])], [value("x")])
    x = np.full((2, 4), 1000, np.float32)
    assert checked(source).kept_float32[0].name == "mul"
    np.testing.assert_allclose(ReferenceEvaluator(checked(source).model).run(None, {"x": x})[0], 1000, rtol=1e-3)


def test_constants_outside_the_range_keep_their_node():
    weights = normal(4, 4)
    weights[1, 2] = 70000
    source = net([node("MatMul", ["x", "w"], ["m"]), node("Relu", ["m"], ["y"])], initializers=[tensor("w", weights)])
    result = checked(source)
    assert [(kept.name, kept.op_type) for kept in result.kept_float32] == [("matmul", "MatMul")]
    assert "1 of 16 values lie outside ±65504 (largest 7e+04)" in result.kept_float32[0].reason
    (note,) = result.weight_notes
    assert (note.name, note.overflowing, note.cast) == ("w", 1, False)
    assert element_types(result.model)["w"] == FLOAT


def test_an_overflowing_bias_keeps_its_node():
    source = net(
        [node("Conv", ["x", "w", "b"], ["y"])],
        image(),
        [value("y", None)],
        [tensor("w", normal(2, 4, 1, 1)), tensor("b", np.array([1e5, 0], np.float32))],
    )
    result = checked(source)
    assert "'b'" in result.kept_float32[0].reason
    assert not result.modified


def test_a_constant_that_float16_would_lose_keeps_its_node():
    source = net(
        [node("Add", ["x", "eps"], ["a"]), node("Relu", ["a"], ["y"])], initializers=[tensor("eps", np.float32(1e-9))]
    )
    result = checked(source)
    assert result.kept_float32[0].op_type == "Add"
    assert "lose 100.0% of their norm" in result.kept_float32[0].reason


def test_sizes_computed_in_floating_point_stay_exact():
    source = net(
        [
            node("Relu", ["x"], ["r"]),
            node("Shape", ["r"], ["s"]),
            node("Cast", ["s"], ["f"], to=FLOAT),
            node("Mul", ["f", "one"], ["g"]),
            node("Floor", ["g"], ["h"]),
            node("Cast", ["h"], ["i"], "back", to=TensorProto.INT64),
            node("Expand", ["r", "i"], ["y"]),
        ],
        [value("x", (1, 2049))],
        [value("y", None)],
        [tensor("one", np.float32(1))],
    )
    result = checked(source)
    assert [kept.name for kept in result.kept_float32] == ["cast", "mul", "floor"]
    assert run(result.model, x=normal(1, 2049))[0].shape == (1, 2049)


def test_bytes_become_float16_and_integers_do_not():
    for kind, expected in ((TensorProto.UINT8, FLOAT16), (TensorProto.BOOL, FLOAT16), (TensorProto.INT32, FLOAT)):
        source = net(
            [node("Cast", ["x"], ["f"], to=FLOAT), node("MatMul", ["f", "w"], ["y"])],
            [value("x", ("N", 4), kind)],
            [value("y", None)],
            [tensor("w", normal(4, 4))],
        )
        assert element_types(checked(source).model)["f"] == expected


def test_float64_is_left_alone_and_reported():
    source = net(
        [
            node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
            node("Add", ["d", "one"], ["e"]),
            node("Cast", ["e"], ["f"], "back", to=FLOAT),
            node("Relu", ["f"], ["y"]),
        ],
        initializers=[tensor("one", np.float64(1))],
    )
    result = checked(source)
    assert [(kept.name, kept.reason.split(",")[0]) for kept in result.kept_float32] == [
        ("cast", "computes in float64"),
        ("add", "computes in float64"),
    ]
    x = normal(2, 4)
    np.testing.assert_allclose(run(result.model, x=x)[0], run(source, x=x)[0], rtol=1e-3, atol=1e-3)


def test_resize_scales_stay_float32():
    for opset in (10, 11, 17):
        roi = [] if opset == 10 else [""]
        source = net(
            [node("Relu", ["x"], ["r"]), node("Resize", ["r", *roi, "scales"], ["y"])],
            image((1, 4, 6, 6)),
            [value("y", (1, 4, 12, 12))],
            [tensor("scales", np.array([1, 1, 2, 2], np.float32))],
            opset=opset,
            ir=7,
        )
        if opset == 11:  # roi was not optional yet
            source.graph.node[1].input[1] = "roi"
            source.graph.initializer.append(tensor("roi", np.zeros(0, np.float32)))
        result = checked(source)
        types = element_types(result.model)
        assert (types["scales"], types["r"]) == (FLOAT, FLOAT16)
        assert result.kept_float32 == ()


def test_non_max_suppression_runs_in_float32():
    source = net(
        [
            node("Relu", ["boxes"], ["b"]),
            node("NonMaxSuppression", ["b", "scores", "most", "iou", "least"], ["y"]),
        ],
        [value("boxes", (1, 6, 4)), value("scores", (1, 1, 6))],
        [value("y", (None, 3), TensorProto.INT64)],
        [tensor("most", np.array([3])), tensor("iou", np.float32([0.5])), tensor("least", np.float32([0.1]))],
    )
    result = checked(source)
    assert result.kept_float32[0].reason == "NonMaxSuppression takes no float16 at opset 17"
    types = element_types(result.model)
    assert (types["iou"], types["b"]) == (FLOAT, FLOAT16)


def test_random_numbers_stay_the_same():
    source = net(
        [node("RandomNormal", [], ["n"], shape=[2, 4], seed=3.0), node("Add", ["x", "n"], ["y"])], [value("x", (2, 4))]
    )
    result = checked(source)
    assert element_types(result.model)["n"] == FLOAT
    x = normal(2, 4)
    np.testing.assert_allclose(run(result.model, x=x)[0], run(source, x=x)[0], atol=4e-3)
