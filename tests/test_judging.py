"""How outputs become a verdict: integers by agreement, numbers by error, and what is not finite."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from trtkit import judging
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.samples import SampleCase, SamplePlan
from trtkit.artifacts.validation import OutputCheck
from trtkit.errors import RunError

SPECS = (TensorSpec("label", "int64", ("N",)), TensorSpec("score", "float32", ("N", 2)))
SAMPLES = SamplePlan(0, (), 1.0, (SampleCase("batch 1", {}), SampleCase("batch 3", {})))


def arrays(labels: list[list[int]], scores: list[list[list[float]]]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for case, (label, score) in enumerate(zip(labels, scores, strict=True)):
        found[f"{case}/label"] = np.array(label, np.int64)
        found[f"{case}/score"] = np.array(score, np.float32)
    return found


TRUTH = arrays([[7], [1, 2, 900]], [[[3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]])


def checks(candidate: Mapping[str, np.ndarray]) -> list[OutputCheck]:
    return judging.compared(SAMPLES, SPECS, {}, candidate, TRUTH)


def test_integers_are_judged_by_the_share_of_equal_values_over_all_cases() -> None:
    found = checks({**TRUTH, "1/label": np.array([1, 2, 901])})
    assert {check.output: check.judged_by for check in found} == {"label": "agreement", "score": "error"}
    assert judging.found_agreement(found) == pytest.approx(3 / 4)
    assert judging.needed_error(found) == 0.0  # 901 is no error of 0.1 %: it is another class
    assert judging.within(found, 5e-3, 0.75)
    assert not judging.within(found, 5e-3, 0.76)
    assert judging.within(found, None, None)


def test_a_near_class_is_as_wrong_as_a_far_one() -> None:
    near = checks({**TRUTH, "1/label": np.array([1, 2, 901])})
    far = checks({**TRUTH, "1/label": np.array([1, 2, -5])})
    assert judging.found_agreement(near) == judging.found_agreement(far)


def test_the_worst_output_counts() -> None:
    specs = (SPECS[0], TensorSpec("mask", "bool", ("N",)))
    truth = {f"{i}/{n}": np.ones(4, t) for i in range(2) for n, t in (("label", np.int64), ("mask", bool))}
    wrong = {**truth, "0/mask": np.array([True, False, False, True])}
    found = judging.compared(SAMPLES, specs, {}, wrong, truth)
    assert judging.found_agreement(found) == pytest.approx(6 / 8)
    assert judging.needed_error(found) is None


def test_a_wrong_score_fails_whatever_the_labels_say() -> None:
    found = checks({**TRUTH, "0/score": np.array([[3.0, 4.5]], np.float32)})
    assert judging.needed_error(found) == pytest.approx(0.1)
    assert judging.found_agreement(found) == 1.0
    assert not judging.within(found, 0.09, 0.9)
    assert judging.within(found, 0.11, 0.9)


def test_nan_passes_nowhere() -> None:
    wrong = {**TRUTH, "0/score": np.array([[3.0, np.nan]], np.float32)}
    found = checks(wrong)
    assert judging.needed_error(found) is None
    assert not judging.within(found, None, None)
    assert judging.not_finite(SPECS, wrong) == {"score": 1}
    assert judging.not_finite(SPECS, TRUTH) == {}


def test_nothing_judged_is_nothing_passed() -> None:
    assert not judging.within([], None, None)
    assert judging.found_agreement([]) is None


def test_other_shapes_are_refused_by_name() -> None:
    with pytest.raises(RunError, match=r"Output label of batch 3 has shape \(2,\); the reference gives \(3,\)"):
        checks({**TRUTH, "1/label": np.array([1, 2])})
