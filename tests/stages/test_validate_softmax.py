"""What a validation judges behind a Softmax: the scores before it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.stages.scripted_validation import (
    CPU,
    Make,
    Stage,
    request,
)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def probabilities(*scores: float) -> Make:
    return lambda shape: softmax(np.tile(np.array(scores, np.float64), (shape[0], 1))).astype(np.float32)


def test_behind_a_softmax_the_scores_are_judged(stage: Stage) -> None:
    asked = request(softmax_axes={"y": 1})
    # A saturated Softmax: the probabilities agree to 1e-8, and one score is wrong by a fifth.
    report = stage.play(asked, CPU, plan=probabilities(40, 16, 20, 10), reference=probabilities(40, 20, 20, 10))
    shown = {check.taken: check for check in report.checks if check.case == "batch 1"}
    assert not shown["output"].judged
    assert shown["before_softmax"].judged
    assert shown["output"].difference.relative_l2 == pytest.approx(0, abs=1e-7)
    want, got = (np.array(v, float) for v in ((40, 20, 20, 10), (40, 16, 20, 10)))
    want, got = want - want.mean(), got - got.mean()
    expected = np.linalg.norm(got - want) / np.linalg.norm(want)
    assert report.needed_relative_l2 == pytest.approx(expected, rel=1e-4)
    assert report.status == "failed"


def test_scores_shifted_together_are_the_same(stage: Stage) -> None:
    asked = request(softmax_axes={"y": 1})
    report = stage.play(asked, CPU, plan=probabilities(9, 8, 7, 5), reference=probabilities(4, 3, 2, 0))
    assert report.status == "passed"
    assert report.needed_relative_l2 == pytest.approx(0, abs=1e-6)


def test_nan_behind_a_softmax_is_not_taken_for_underflow(stage: Stage) -> None:
    def broken(shape: tuple[int, ...]) -> np.ndarray:
        return probabilities(1, 2, 3, 4)(shape) * np.float32(np.nan)

    report = stage.play(request(softmax_axes={"y": 1}), CPU, plan=broken, reference=probabilities(1, 2, 3, 4))
    assert report.needed_relative_l2 is None
    assert report.status == "failed"


def test_scores_that_underflowed_on_both_sides_are_equal(stage: Stage) -> None:
    asked = request(softmax_axes={"y": 1})
    report = stage.play(asked, CPU, plan=probabilities(0, -1, -3, -300), reference=probabilities(0, -1, -3, -200))
    assert report.status == "passed"
    assert report.needed_relative_l2 == pytest.approx(0, abs=1e-6)


def test_a_score_that_underflowed_on_one_side_is_off_by_no_more_than_it_is(stage: Stage) -> None:
    """The smallest normal float32 is e^−87.34: these two scores differ by 0.3 %, and lie on its two sides."""
    asked = request(softmax_axes={"y": 1})
    report = stage.play(asked, CPU, plan=probabilities(0, -1, -3, -87.2), reference=probabilities(0, -1, -3, -86.9))
    assert report.needed_relative_l2 is not None
    assert 0 < report.needed_relative_l2 < 0.3 / 86.9
    assert report.status == "passed"


def zeros(shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, np.float32)


def halves(shape: tuple[int, ...]) -> np.ndarray:
    return probabilities(1, 2, 3, 4)(shape) / 2


def test_probabilities_that_do_not_add_up_fail(stage: Stage) -> None:
    """Half of every probability has the same scores, but for a constant."""
    report = stage.play(request(softmax_axes={"y": 1}), CPU, plan=halves, reference=probabilities(1, 2, 3, 4))
    assert report.status == "failed"
    assert report.needed_relative_l2 is None


@pytest.mark.parametrize("reference", [(0, -1, -3, -2), (0, -200, -300, -200), (0, 0, 0, 0)])
def test_zeros_behind_a_softmax_are_no_underflow(stage: Stage, reference: tuple[float, ...]) -> None:
    """A plan that computes nothing gives zeros: they must not pass for scores that are merely unknown."""
    asked = request(softmax_axes={"y": 1})
    report = stage.play(asked, CPU, plan=zeros, reference=probabilities(*reference))
    assert report.status == "failed"


def test_what_float16_cannot_hold_is_not_held_against_it(stage: Stage) -> None:
    """Below 6e-5 a float16 loses digits, and below 6e-8 everything."""

    def half(shape: tuple[int, ...]) -> np.ndarray:
        return probabilities(0, -1, -14.9, -30)(shape).astype(np.float16)

    asked = request(softmax_axes={"y": 1}, precision="fp16")
    report = stage.play(asked, CPU, plan=half, reference=probabilities(0, -1, -14.9, -30))
    assert report.status == "passed"
    assert report.needed_relative_l2 == pytest.approx(0, abs=1e-3)
