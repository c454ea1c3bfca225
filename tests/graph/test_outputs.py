"""Which outputs are a Softmax's, and the scores that stood before it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.graph.models import model, tensor, value
from trtkit.graph.outputs import before_softmax, softmax_axes


def _softmax(*after: str, opset: int = 17, **attributes: int) -> onnx.ModelProto:
    """Relu → Softmax → the operators named, one after the other; ``Cast`` goes to float16."""
    nodes = [helper.make_node("Relu", ["x"], ["z"]), helper.make_node("Softmax", ["z"], ["t0"], **attributes)]
    kind = TensorProto.FLOAT
    for index, operator in enumerate(after):
        options = {"to": TensorProto.FLOAT16} if operator == "Cast" else {}
        kind = options.get("to", kind)
        nodes.append(helper.make_node(operator, [f"t{index}"], [f"t{index + 1}"], **options))
    nodes[-1].output[0] = "y"
    return model(
        nodes, [value("x", (2, 3, 4))], [value("y", (12,) if after == ("Flatten",) else (2, 3, 4), kind)], opset=opset
    )


@pytest.mark.parametrize(
    ("made", "axis"),
    [
        (_softmax(), -1),
        (_softmax(axis=1), 1),
        (_softmax(axis=-2), -2),
        (_softmax(axis=0), 0),
        (_softmax(opset=13), -1),
        (_softmax(opset=12), 1),
        (_softmax(opset=12, axis=2), 2),
        (_softmax("Cast"), -1),
        (_softmax("Identity", axis=1), 1),
        (_softmax("Identity", "Cast", "Identity", axis=1), 1),
    ],
)
def test_axes(made: onnx.ModelProto, axis: int) -> None:
    onnx.checker.check_model(made)
    assert softmax_axes(made) == {"y": axis}


@pytest.mark.parametrize("operator", ["Relu", "Flatten", "Log", "Neg"])
def test_anything_else_behind_a_softmax_is_not_looked_through(operator: str) -> None:
    assert softmax_axes(_softmax(operator)) == {}


def test_only_outputs_that_are_a_softmax() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["z"]),
        helper.make_node("Softmax", ["z"], ["p"], axis=1),
        helper.make_node("Softmax", ["z"], ["inner"]),
        helper.make_node("Neg", ["inner"], ["n"]),
        helper.make_node("LogSoftmax", ["z"], ["l"]),
        helper.make_node("Identity", ["x"], ["same"]),
    ]
    made = model(nodes, outputs=[value(name) for name in ("n", "p", "l", "same", "z")])
    assert softmax_axes(made) == {"p": 1}


def test_an_output_that_is_an_input_or_a_weight() -> None:
    made = model(
        [helper.make_node("Softmax", ["x"], ["y"])],
        outputs=[value("y"), value("x"), value("w", (4,))],
        initializers=[tensor("w", np.ones(4, np.float32))],
    )
    assert softmax_axes(made) == {"y": -1}


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_the_scores_come_back_centred(axis: int) -> None:
    scores = np.random.default_rng(1).normal(0, 5, (2, 3, 4)).astype(np.float32)
    made = model(
        [helper.make_node("Softmax", ["x"], ["y"], axis=axis)], [value("x", (2, 3, 4))], [value("y", (2, 3, 4))]
    )
    (probabilities,) = ReferenceEvaluator(made).run(None, {"x": scores})
    found = before_softmax(probabilities, axis)
    expected = scores.astype(np.float64) - scores.astype(np.float64).mean(axis=axis, keepdims=True)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_constant_added_to_the_scores_changes_nothing() -> None:
    scores = np.random.default_rng(2).normal(0, 3, (5, 7))
    exact = [np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in (scores, scores + 11.5)]
    np.testing.assert_allclose(before_softmax(exact[0], 1), before_softmax(exact[1], 1), atol=1e-9)


def test_a_saturated_softmax_still_shows_an_error() -> None:
    """Where every probability rounds to 0 or 1, the scores behind them differ plainly."""
    scores = np.array([[0.0, 40.0, 4.0]]), np.array([[0.0, 40.0, 8.0]])
    one, other = ((np.exp(z) / np.exp(z).sum()).astype(np.float32) for z in scores)
    assert np.abs(one - other).max() < 1e-6
    apart = before_softmax(other, 1) - before_softmax(one, 1)
    np.testing.assert_allclose(apart, [[-4 / 3, -4 / 3, 8 / 3]], atol=1e-5)


def test_underflow_is_nan_and_left_out_of_the_mean() -> None:
    tiny = np.finfo(np.float32).tiny
    found = before_softmax(np.array([[0.0, float(tiny) / 2, 0.25, 0.75], [0.25, 0.25, 0.25, float(tiny)]]), 1)
    assert np.isnan(found[0, :2]).all()
    np.testing.assert_allclose(found[0, 2:], np.log([0.25, 0.75]) - np.log([0.25, 0.75]).mean())
    assert np.isfinite(found[1]).all()
