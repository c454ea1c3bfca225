"""The verdict on a rewritten model: what may differ, by how much, and what never passes."""

from __future__ import annotations

import numpy as np
import pytest

from trtkit.graph.equality import difference, judge

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((4, 6)).astype(np.float32)


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)


def moved(values, relative):
    noise = RNG.standard_normal(values.shape)
    noise *= relative * np.linalg.norm(values) / np.linalg.norm(noise)
    return (values.astype(np.float64) + noise).astype(values.dtype)


def test_the_worst_output_of_the_worst_case_counts():
    reference = {"0/a": SCORES, "0/b": SCORES, "1/a": SCORES}
    candidate = {"0/a": SCORES, "0/b": moved(SCORES, 1e-4), "1/a": moved(SCORES, 1e-3)}
    found, where = difference(reference, candidate, {})
    assert found == pytest.approx(1e-3, rel=1e-2) and where == "1/a"
    assert difference(reference, reference, {})[0] == 0.0


def test_a_saturated_softmax_does_not_hide_the_scores():
    sharp = SCORES * 10
    got = sharp.copy()
    got[:, 0] += 1
    exact, off = {"0/p": softmax(sharp)}, {"0/p": softmax(got)}
    assert difference(exact, off, {"p": 1})[0] > 1e-2


@pytest.mark.parametrize(
    "broken",
    [{}, {"0/a": SCORES[:2]}, {"0/a": SCORES.astype(np.float64)}, {"0/a": np.full_like(SCORES, np.nan)}],
    ids=["missing", "another shape", "another type", "NaN"],
)
def test_what_never_passes(broken):
    verdict = judge({"0/a": SCORES}, {"0/a": SCORES}, broken, {})
    assert not verdict.passed and verdict.difference is None and "'a'" in verdict.reason


def test_the_reason_blames_the_one_that_is_not_finite():
    nan = SCORES.copy()
    nan[1, 2] = np.nan
    fine, other = {"0/a": SCORES, "1/a": SCORES}, {"0/a": SCORES, "1/a": nan}
    ours = judge(other, other, fine, {}, cases=("batch 1", "real inputs")).reason
    assert "the source's own output 'a' is not finite on real inputs" in ours and "shape" not in ours
    theirs = judge(fine, fine, other, {}, cases=("batch 1", "real inputs")).reason
    assert "output 'a' is not finite on real inputs, and the source's is" in theirs
    assert "another shape or type" in judge(fine, fine, {"0/a": SCORES}, {}).reason
    assert "no measure" in judge({"0/a": SCORES * 0}, {"0/a": SCORES * 0}, {"0/a": SCORES}, {}).reason
    assert judge(other, other, other, {}).passed  # the very same numbers, NaN among them


def test_the_limit_is_a_floor_or_three_times_what_the_runtime_itself_moves():
    source = {"0/a": SCORES}
    strict = judge(source, source, {"0/a": moved(SCORES, 5e-5)}, {})
    assert strict.limit == 1e-5 and not strict.passed and "5.0e-05" in strict.reason
    loose = judge(source, {"0/a": moved(SCORES, 2e-5)}, {"0/a": moved(SCORES, 5e-5)}, {})
    assert loose.passed and loose.limit == pytest.approx(6e-5, rel=0.02)
    half = judge(source, source, {"0/a": moved(SCORES, 1e-3)}, {}, precision="fp16")
    assert half.passed


def test_integers_and_zeros_are_compared_too():
    zeros = {"0/n": np.zeros((2, 3), np.float32), "0/i": np.arange(4)}
    assert judge(zeros, zeros, zeros, {}).passed
    assert not judge(zeros, zeros, zeros | {"0/n": np.ones((2, 3), np.float32)}, {}).passed
    assert not judge(zeros, zeros, zeros | {"0/i": np.arange(4)[::-1]}, {}).passed
