from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.errors import UsageError

IMAGE = ShapeRange((1, 3, 8, 8), (4, 3, 8, 8), (16, 3, 8, 8))
FIXED = ShapeRange((2,), (2,), (2,))


@st.composite
def shape_ranges(draw: st.DrawFn) -> ShapeRange:
    triples = draw(st.lists(st.lists(st.integers(1, 10**6), min_size=3, max_size=3).map(sorted), max_size=5))
    return ShapeRange(*(tuple(triple[which] for triple in triples) for which in range(3)))


@given(st.dictionaries(st.text(min_size=1), shape_ranges(), max_size=3))
def test_json_round_trip(ranges: dict[str, ShapeRange]) -> None:
    profile = OptimizationProfile(ranges)
    assert OptimizationProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


def test_nouns_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        IMAGE.minimum = (1,)  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        OptimizationProfile({}).ranges = {}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("shapes", "pattern"),
    [
        (((1, 2), (1,), (1, 2)), "different numbers of dimensions"),
        (((0, 2), (1, 2), (1, 2)), "a size below 1"),
        (((4,), (2,), (8,)), "dimension 0 goes 4, 2, 8"),
        (((1, 4), (1, 8), (1, 6)), "dimension 1 goes 4, 8, 6"),
    ],
)
def test_impossible_ranges(shapes: tuple[tuple[int, ...], ...], pattern: str) -> None:
    with pytest.raises(UsageError, match=pattern) as caught:
        ShapeRange(*shapes)
    assert caught.value.hint


def test_texts() -> None:
    assert IMAGE.text == "1x3x8x8:4x3x8x8:16x3x8x8"
    assert FIXED.text == "2"
    assert ShapeRange((), (), ()).text == "scalar"
    assert OptimizationProfile({"x": IMAGE, "k": FIXED}).text == "x 1x3x8x8:4x3x8x8:16x3x8x8, k 2"


def test_contains() -> None:
    profile = OptimizationProfile({"x": IMAGE})
    assert profile.contains("x", (1, 3, 8, 8)) and profile.contains("x", (16, 3, 8, 8))
    assert not profile.contains("x", (17, 3, 8, 8))
    assert not profile.contains("x", (1, 3, 8))
    assert not profile.contains("y", (1, 3, 8, 8))
    assert IMAGE.is_fixed is False and FIXED.is_fixed is True


def test_shapes_at_a_batch_size() -> None:
    profile = OptimizationProfile({"x": IMAGE, "k": FIXED})
    assert profile.batches == (1, 4, 16)
    assert profile.shapes_at(7) == {"x": (7, 3, 8, 8), "k": (2,)}
    for batch in (0, 17):
        with pytest.raises(UsageError, match=f"Batch size {batch} is outside the profile of input 'x', .* 1 to 16"):
            profile.shapes_at(batch)


def test_other_dimensions_take_their_optimum() -> None:
    wide = ShapeRange((1, 3, 4), (2, 3, 32), (8, 3, 64))
    assert OptimizationProfile({"x": wide}).shapes_at(5) == {"x": (5, 3, 32)}


def test_without_a_batch_axis_every_batch_gives_the_fixed_shapes() -> None:
    profile = OptimizationProfile({"k": FIXED, "scalar": ShapeRange((), (), ())})
    assert profile.batches is None
    assert profile.shapes_at(64) == {"k": (2,), "scalar": ()}


def test_a_pinned_batch_axis_is_still_one() -> None:
    pinned = ShapeRange((8, 3), (8, 3), (8, 3))
    profile = OptimizationProfile({"x": pinned}, ("x",))
    assert profile.batches == (8, 8, 8)
    assert profile.shapes_at(8) == {"x": (8, 3)}
    with pytest.raises(UsageError, match="allows 8 to 8"):
        profile.shapes_at(4)
    assert OptimizationProfile.from_json(profile.to_json()) == profile


def test_batches_are_those_that_all_inputs_allow() -> None:
    narrow = ShapeRange((2, 5), (6, 5), (12, 5))
    assert OptimizationProfile({"x": IMAGE, "z": narrow}).batches == (2, 4, 12)
    far = ShapeRange((100, 5), (100, 5), (200, 5))
    assert OptimizationProfile({"x": IMAGE, "z": far}).batches is None


@pytest.mark.parametrize(
    ("low", "high", "few"),
    [
        (1, 1, (1,)),
        (1, 128, (1, 3)),
        (2, 2, (2,)),
        (4, 64, (4,)),
        (8, 8, (8,)),
        (64, 4096, (1, 3)),
        (8192, 8192, (1, 3)),
    ],
)
def test_a_few_samples_stand_for_a_range_that_begins_far_above(low: int, high: int, few: tuple[int, ...]) -> None:
    profile = OptimizationProfile({"x": ShapeRange((low, 3), (high, 3), (high, 3)), "k": FIXED}, ("x",))
    assert profile.few_batches == few
    assert profile.shapes_beyond(3) == {"x": (3, 3), "k": (2,)}
    assert OptimizationProfile({"k": FIXED}).few_batches == ()
