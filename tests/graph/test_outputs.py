"""Which outputs are a Softmax's, and the scores that stood before it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.graph.models import model, tensor, value
from trtkit.graph.outputs import before_softmax, paired_scores, softmax_axes


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


def test_what_underflowed_counts_as_the_smallest_normal_number() -> None:
    tiny = float(np.finfo(np.float32).tiny)
    found = before_softmax(np.array([[0.0, tiny / 2, 0.25, 0.75], [tiny, tiny, 0.25, 0.75]]), 1)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[1, 3] - found[1, 0], np.log(0.75 / tiny))


def test_nan_stays_nan() -> None:
    found = before_softmax(np.array([[np.nan, 0.5], [0.5, 0.5]]), 1)
    assert np.isnan(found[0]).all() and (found[1] == 0).all()


def test_both_sides_get_the_floor_of_the_coarser_type() -> None:
    single = np.array([[1 - 1e-6, 1e-6]], np.float32)
    wanted, found = paired_scores(single, single.astype(np.float16), 1)
    np.testing.assert_allclose(wanted, found, atol=1e-6)
    assert wanted[0, 0] - wanted[0, 1] == pytest.approx(-np.log(2**-14))
    wanted, _ = paired_scores(single, single, 1)
    assert wanted[0, 0] - wanted[0, 1] == pytest.approx(-np.log(1e-6), rel=1e-6)


@pytest.mark.parametrize(("opset", "axis"), [(17, 1), (17, -1), (17, 0), (12, 1), (12, 2), (12, 0)])
def test_pairs_of_sound_probabilities_are_kept_and_scaled_ones_are_not(opset: int, axis: int) -> None:
    """Up to opset 12 a Softmax normalises over its axis and all after it."""
    node = helper.make_node("Softmax", ["x"], ["y"], axis=axis)
    made = model([node], [value("x", (2, 3, 4))], [value("y", (2, 3, 4))], opset=opset)
    scores = np.random.default_rng(3).normal(0, 2, (2, 3, 4)).astype(np.float32)
    (probabilities,) = ReferenceEvaluator(made).run(None, {"x": scores})
    (other,) = ReferenceEvaluator(made).run(None, {"x": scores + np.float32(1e-3) * scores**2})
    wanted, found = paired_scores(probabilities, other, axis)
    assert np.isfinite(found).all() and 0 < np.abs(wanted - found).max() < 0.1
    assert np.isnan(paired_scores(probabilities, other * np.float32(0.9), axis)[1]).all()
    assert np.isfinite(paired_scores(probabilities, probabilities.astype(np.float16), axis)[1]).all()


def test_a_row_of_zeros_has_no_scores() -> None:
    wanted = np.full((2, 4), 0.25, np.float32)
    _, found = paired_scores(wanted, wanted * np.array([[1], [0]], np.float32), 1)
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()
