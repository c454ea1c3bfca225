from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.accuracy import Scorer, scores_of


def scorer_of(reference: np.ndarray, candidate: np.ndarray, batch: int, *, classes: bool = True) -> Scorer:
    scorer = Scorer(classes=classes)
    for start in range(0, len(reference), batch):
        scorer.update(reference[start : start + batch], candidate[start : start + batch])
    return scorer


@pytest.fixture(name="pair")
def _pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    reference = rng.standard_normal((200, 10)) + 5
    return reference, reference + 0.1 * rng.standard_normal((200, 10))


def test_figures_equal_plain_formulas_however_the_samples_are_batched(pair: tuple[np.ndarray, np.ndarray]) -> None:
    reference, candidate = pair
    noise = ((candidate - reference) ** 2).sum()
    for batch in (1, 7, 200):
        found = scorer_of(reference, candidate, batch).accuracy()
        assert found.sqnr_db == pytest.approx(10 * math.log10((reference**2).sum() / noise))
        centred = ((reference - reference.mean(axis=0)) ** 2).sum()
        assert found.centred_sqnr_db == pytest.approx(10 * math.log10(centred / noise))
        assert found.top1_agreement == np.mean(reference.argmax(1) == candidate.argmax(1))
        assert found.samples == 200


def test_intervals_hold_the_figure_and_narrow_with_more_samples(pair: tuple[np.ndarray, np.ndarray]) -> None:
    reference, candidate = pair
    many = scorer_of(reference, candidate, 50).accuracy()
    few = scorer_of(reference[:20], candidate[:20], 50).accuracy()
    for found in (many, few):
        assert found.sqnr_low_db < found.sqnr_db < found.sqnr_high_db  # type: ignore[operator]
        assert found.top1_low <= found.top1_agreement <= found.top1_high  # type: ignore[operator]
    assert many.sqnr_high_db - many.sqnr_low_db < few.sqnr_high_db - few.sqnr_low_db  # type: ignore[operator]


def test_wilson_interval_of_a_known_case() -> None:
    """Eight of ten: 0.490 to 0.943 (Newcombe, Statistics in Medicine 17, 1998, gives 0.4902 and 0.9433)."""
    reference = np.eye(10)
    candidate = reference.copy()
    candidate[:2] = np.roll(candidate[:2], 1, axis=1)
    found = scorer_of(reference, candidate, 10).accuracy()
    assert found.top1_agreement == pytest.approx(0.8)
    assert found.top1_low == pytest.approx(0.4902, abs=1e-4)
    assert found.top1_high == pytest.approx(0.9433, abs=1e-4)


def test_equal_scores_have_no_finite_ratio() -> None:
    reference = np.ones((4, 3))
    found = scorer_of(reference, reference, 2).accuracy()
    assert found.sqnr_db is None and found.sqnr_low_db is None
    assert found.top1_agreement == 1.0
    assert "undefined" in found.text


def test_without_classes_there_is_no_top1(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert scorer_of(*pair, 50, classes=False).accuracy().top1_agreement is None


def test_scores_are_taken_before_a_softmax_and_integers_left_out() -> None:
    logits = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 3.0]])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    outputs = {
        "prob": probabilities.astype(np.float32),
        "class": np.array([2, 2]),
        "box": np.ones((2, 2, 2), np.float32),
    }
    scores = scores_of(outputs, {"prob": -1})
    assert scores.shape == (2, 3 + 4)
    np.testing.assert_allclose(scores[:, :3], logits - logits.mean(axis=1, keepdims=True), atol=1e-6)


def test_a_saturated_softmax_still_names_the_best_class() -> None:
    """All but one probability underflowed: the class that is left is the best one, wherever it stands."""
    scores = scores_of({"prob": np.array([[0, 0, 1, 0], [1, 0, 0, 0]], np.float32)}, {"prob": 1})
    assert scores.argmax(axis=1).tolist() == [2, 0]
    assert scores[0, 2] > 0 > scores[0, 0]


def test_constant_scores_have_no_centred_ratio() -> None:
    reference = np.tile(np.float32([0.1, 3.7, -2.2]), (64, 1)).astype(np.float64)
    taken = scorer_of(reference, reference + 0.01, 8)
    assert taken.constant
    assert taken.accuracy().centred_sqnr_db is None
    assert taken.accuracy().sqnr_db == pytest.approx(10 * np.log10((reference**2).sum() / (0.01**2 * reference.size)))
    reference[5, 0] += 1e-3
    varied = scorer_of(reference, reference + 0.01, 8)
    assert not varied.constant and varied.accuracy().centred_sqnr_db is not None
