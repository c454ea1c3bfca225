"""trtkit.metrics against plain Python loops, and at the edges: zeros, empty, NaN, infinity, ties, float16."""

from __future__ import annotations

import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trtkit import metrics, tensor_blocks
from trtkit.metrics import TensorDifference, compare

FINITE = st.floats(-1e6, 1e6, width=32)


@st.composite
def pairs(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=5))
    make = hnp.arrays(np.float32, shape, elements=FINITE)
    return draw(make), draw(make)


def flat(array):
    return [float(value) for value in array.reshape(-1)]


@given(pairs(), st.floats(0, 1), st.floats(0, 10))
@settings(max_examples=150, deadline=None)
def test_equals_plain_loops(pair, rtol, atol):
    reference, candidate = pair
    r, c = flat(reference), flat(candidate)
    found = compare(reference, candidate, rtol=rtol, atol=atol)
    errors = [abs(b - a) for a, b in zip(r, c, strict=True)]
    relative = [e / abs(a) for e, a in zip(errors, r, strict=True) if a != 0]
    noise, signal = sum(e * e for e in errors), sum(a * a for a in r)
    assert found.max_abs == max(errors)
    assert found.max_rel == (max(relative) if relative else None)
    assert found.mean_rel == (pytest.approx(sum(relative) / len(relative)) if relative else None)
    assert found.mismatched_elements == sum(e > atol + rtol * abs(a) for e, a in zip(errors, r, strict=True))
    assert found.passed == (found.mismatched_elements == 0)
    assert found.exact == (r == c)
    if signal and noise:
        assert found.relative_l2 == pytest.approx(math.sqrt(noise / signal))
        assert found.sqnr_db == pytest.approx(10 * math.log10(signal / noise), abs=1e-6)
    if signal and any(c):
        dot = sum(a * b for a, b in zip(r, c, strict=True))
        assert found.cosine == pytest.approx(dot / math.sqrt(signal * sum(b * b for b in c)), abs=1e-9)


@given(pairs(), st.floats(0, 1), st.floats(0, 10))
@settings(max_examples=150, deadline=None)
def test_smallest_passing_tolerances_pass_and_smaller_ones_do_not(pair, rtol, atol):
    reference, candidate = pair
    found = compare(reference, candidate, rtol=rtol, atol=atol)
    if found.smallest_passing_rtol is None:
        assert not compare(reference, candidate, rtol=1e30, atol=atol).passed
    else:
        assert compare(reference, candidate, rtol=found.smallest_passing_rtol, atol=atol).passed
    pure = compare(reference, candidate, rtol=rtol, atol=0.0).smallest_passing_rtol
    if pure:
        assert not compare(reference, candidate, rtol=pure * 0.999999, atol=0.0).passed
    assert found.smallest_passing_atol is not None
    assert compare(reference, candidate, rtol=rtol, atol=found.smallest_passing_atol).passed
    if found.smallest_passing_atol > 1e-3:
        assert not compare(reference, candidate, rtol=rtol, atol=found.smallest_passing_atol * 0.99).passed


def test_a_known_pair():
    found = compare(np.array([3.0, 4.0, 0.0]), np.array([3.0, 4.5, 0.0]), rtol=0.1, atol=0.05)
    assert found.max_abs == 0.5
    assert found.max_rel == 0.125
    assert found.mean_rel == 0.0625
    assert found.relative_l2 == pytest.approx(0.1)
    assert found.sqnr_db == pytest.approx(20.0)
    assert found.mismatched_elements == 1
    assert found.smallest_passing_rtol == pytest.approx(0.1125)
    assert found.smallest_passing_atol == pytest.approx(0.1)


def test_equal_tensors_are_exact_and_have_no_sqnr():
    found = compare(np.ones((2, 3), np.float32), np.ones((2, 3), np.float32), rtol=0, atol=0)
    assert found.exact and found.passed
    assert (found.max_abs, found.relative_l2, found.cosine, found.sqnr_db) == (0.0, 0.0, 1.0, None)
    assert (found.smallest_passing_rtol, found.smallest_passing_atol) == (0.0, 0.0)


def test_zeros():
    both = compare(np.zeros(4), np.zeros(4), rtol=0, atol=0)
    assert both.exact and both.cosine == 1.0 and both.relative_l2 == 0.0 and both.max_rel is None
    one = compare(np.zeros(4), np.ones(4), rtol=1, atol=0)
    assert (one.cosine, one.relative_l2, one.sqnr_db, one.max_rel) == (None, None, None, None)
    assert one.mismatched_elements == 4
    assert one.smallest_passing_rtol is None
    assert one.smallest_passing_atol == 1.0


def test_empty():
    found = compare(np.zeros((0, 10)), np.zeros((0, 10)), rtol=0, atol=0)
    assert found.passed and found.exact and found.elements == 0
    assert (found.max_abs, found.cosine, found.top1_agreement, found.centred_sqnr_db) == (None, None, None, None)


def test_centred_sqnr_takes_away_what_the_images_share():
    reference = np.array([[100.0, 1.0], [102.0, -1.0]])
    candidate = reference + np.array([[0.1, 0.0], [0.0, 0.0]])
    found = compare(reference, candidate, rtol=0, atol=1)
    # Deviations from the mean image: −1, 1, 1, −1; the error is 0.1 once.
    assert found.centred_sqnr_db == pytest.approx(10 * math.log10(4 / 0.01))
    assert found.sqnr_db == pytest.approx(10 * math.log10((100**2 + 102**2 + 2) / 0.01))
    assert compare(reference[:1], candidate[:1], rtol=0, atol=1).centred_sqnr_db is None


def test_a_candidate_that_gives_every_image_the_same_answer_has_a_bad_centred_sqnr():
    reference = 50 + np.random.default_rng(0).normal(size=(8, 20))
    lazy = np.broadcast_to(reference.mean(axis=0), reference.shape)
    found = compare(reference, lazy, rtol=0, atol=0)
    assert found.sqnr_db > 30
    assert found.centred_sqnr_db == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("reference", "candidate", "agreement"),
    [
        ([[1, 2, 3], [3, 2, 1]], [[1, 2, 9], [3, 2, 1]], 1.0),
        ([[1, 2, 3], [3, 2, 1]], [[9, 2, 3], [3, 2, 1]], 0.5),
        ([[5, 5, 1]], [[1, 2, 0]], 1.0),  # either of the tied classes is right
        ([[5, 5, 1]], [[1, 2, 3]], 0.0),
        ([[1, 5, 1]], [[4, 4, 0]], 0.0),  # the candidate's tie is broken towards the first
    ],
)
def test_top1_agreement(reference, candidate, agreement):
    found = compare(np.array(reference, np.float32), np.array(candidate, np.float32), rtol=0, atol=0)
    assert found.top1_agreement == agreement


@pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 3, 4)])
def test_top1_needs_a_batch_of_classes(shape):
    assert compare(np.ones(shape), np.ones(shape), rtol=0, atol=0).top1_agreement is None


def test_nan_and_infinity_are_counted_and_never_pass():
    reference = np.array([1.0, np.nan, np.inf, 4.0, 5.0])
    candidate = np.array([1.0, 2.0, 3.0, np.nan, -np.inf])
    found = compare(reference, candidate, rtol=1e6, atol=1e6)
    assert (found.nan_count_reference, found.inf_count_reference) == (1, 1)
    assert (found.nan_count_candidate, found.inf_count_candidate) == (1, 1)
    assert found.mismatched_elements == 4
    assert found.compared_elements == 1
    assert not found.passed and not found.exact
    assert found.max_abs is None and found.cosine is None and found.smallest_passing_atol is None


def test_equal_infinities_and_nans_match():
    values = np.array([[1.0, np.inf, -np.inf, np.nan], [1.0, 2.0, 3.0, 4.0]])
    found = compare(values, values.copy(), rtol=0, atol=0)
    assert found.passed and found.exact and found.top1_agreement == 1.0
    assert found.compared_elements == 5
    assert not compare(np.array([np.inf]), np.array([-np.inf]), rtol=1, atol=1).passed


def test_float16_is_compared_in_float64():
    found = compare(np.full(100_000, 300.0), np.full(100_000, 301.0, np.float16), rtol=0, atol=1)
    assert found.relative_l2 == pytest.approx(1 / 300)
    assert found.passed


def test_extreme_magnitudes_do_not_overflow_or_vanish():
    for scale in (1e-200, 1e200):
        found = compare(np.array([scale, scale]), np.array([scale, 1.1 * scale]), rtol=0, atol=0)
        assert found.relative_l2 == pytest.approx(0.1 / math.sqrt(2))
        assert found.sqnr_db == pytest.approx(10 * math.log10(200))


def test_integers():
    found = compare(np.array([1, 2**60]), np.array([1, 2**60 + 1]), rtol=1e-9, atol=0)
    assert not found.exact
    assert compare(np.array([1, 5]), np.array([1, 7]), rtol=0, atol=1).max_abs == 2.0
    assert compare(np.array([True, False]), np.array([True, True]), rtol=0, atol=0).mismatched_elements == 1


def test_equal_values_are_counted():
    found = compare(np.array([7, 1, 2, 900]), np.array([7, 1, 2, 901]), rtol=0.1, atol=0.0)
    assert found.passed  # 901 is within a tenth of 900
    assert found.equal_fraction == 0.75
    nans = np.array([np.nan, np.inf, 1.0, 2.0])
    assert compare(nans, np.array([np.nan, np.inf, 1.0, np.nan]), rtol=0.0, atol=0.0).equal_fraction == 0.75
    big = np.array([2**62, 2**62 + 1])  # one and the same in float64
    assert compare(big, big[::-1].copy(), rtol=0.0, atol=0.0).equal_fraction == 0.0
    assert compare(np.zeros(0), np.zeros(0), rtol=0.0, atol=0.0).equal_fraction is None


@pytest.mark.parametrize(
    ("reference", "candidate", "kwargs", "message"),
    [
        (np.ones(3), np.ones((3, 1)), {}, "shapes differ"),
        (np.ones(3), np.ones(3, np.int64), {}, "kinds of types differ"),
        (np.ones(3, np.complex64), np.ones(3, np.complex64), {}, "complex64"),
        (np.array(["a"]), np.array(["a"]), {}, "can be compared"),
        (np.ones(3), np.ones(3), {"rtol": -1.0}, "rtol is -1.0"),
        (np.ones(3), np.ones(3), {"atol": math.nan}, "atol is nan"),
    ],
)
def test_what_cannot_be_compared(reference, candidate, kwargs, message):
    with pytest.raises(ValueError, match=message):
        compare(reference, candidate, **{"rtol": 0.0, "atol": 0.0, **kwargs})


@given(
    hnp.arrays(np.float64, (3, 3), elements=st.floats(allow_nan=True, allow_infinity=True)),
    hnp.arrays(np.float64, (3, 3), elements=st.floats(allow_nan=True, allow_infinity=True)),
)
@settings(max_examples=200, deadline=None)
def test_json_holds_no_nan_and_round_trips(reference, candidate):
    found = compare(reference, candidate, rtol=1e-3, atol=1e-3)
    text = json.dumps(found.as_json(), allow_nan=False)
    assert TensorDifference.from_json(json.loads(text)) == found


AWKWARD = st.one_of(FINITE, st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e-38, 3e38]))


@given(
    hnp.arrays(np.float32, (6, 5), elements=AWKWARD), hnp.arrays(np.float32, (6, 5), elements=AWKWARD), st.booleans()
)
@settings(max_examples=100, deadline=None)
def test_parts_add_up_to_the_whole(reference, candidate, alike):
    with np.errstate(all="ignore"):
        candidate = reference + candidate * np.float32(1e-3) if alike else candidate
    whole = compare(reference, candidate, rtol=0.01, atol=0.1).as_json()
    with pytest.MonkeyPatch.context() as patch:
        for module in (metrics, tensor_blocks):
            patch.setattr(module, "BLOCK", 7)
        parts = compare(reference, candidate, rtol=0.01, atol=0.1).as_json()
    for name, value in whole.items():
        assert parts[name] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)), name


@given(
    hnp.arrays(np.float32, (6, 5), elements=AWKWARD), hnp.arrays(np.float32, (6, 5), elements=AWKWARD), st.booleans()
)
@settings(max_examples=100, deadline=None)
def test_nearness_is_two_figures_of_the_comparison(reference, candidate, alike):
    candidate = reference.copy() if alike else candidate
    whole = compare(reference, candidate, rtol=0.0, atol=0.0)
    error, equal = metrics.nearness(reference, candidate)
    assert error == (None if whole.relative_l2 is None else pytest.approx(whole.relative_l2, rel=1e-9))
    assert equal == whole.equal_fraction
    integers = np.array([1, 2, 3]), np.array([1, 2, 4])
    assert metrics.nearness(*integers)[1] == pytest.approx(2 / 3)
    assert metrics.nearness(np.zeros(0, np.float32), np.zeros(0, np.float32)) == (0.0, None)


def test_a_large_output_takes_little_memory():
    reference = np.random.default_rng(0).standard_normal((4, 1 << 20), dtype=np.float32)
    tracemalloc.start()
    try:
        found = compare(reference, reference * np.float32(1.001), rtol=0.0, atol=0.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.relative_l2 == pytest.approx(1e-3, rel=1e-3)
    assert peak < 64 << 20, "16 MB on each side"
