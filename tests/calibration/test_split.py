"""The split: disjoint by content, complete, as large as asked for, and decided by content and seed alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.split import check_disjoint, split
from trtkit.errors import CalibrationError, UsageError

IDS = [f"content {index}" for index in range(100)]


@given(
    ids=st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=40).filter(lambda ids: len(set(ids)) > 1),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 5),
)
def test_every_sample_is_on_one_side_and_equal_content_on_the_same(ids: list[str], share: float, seed: int) -> None:
    if max(1, round(share * len(ids))) >= len(ids):
        return
    calibration, held_out = split(ids, share, seed)
    assert sorted((*calibration, *held_out)) == list(range(len(ids)))
    assert list(calibration) == sorted(calibration)
    assert list(held_out) == sorted(held_out)
    assert calibration
    assert held_out
    assert not {ids[i] for i in calibration} & {ids[i] for i in held_out}
    check_disjoint([ids[i] for i in calibration], [ids[i] for i in held_out])


@pytest.mark.parametrize(("holdout", "size"), [(0.25, 25), (0.001, 1), (7, 7), (7.0, 7), (99, 99), (0, 0), (0.0, 0)])
def test_without_duplicates_the_size_is_exact(holdout: float, size: int) -> None:
    calibration, held_out = split(IDS, holdout)
    assert (len(calibration), len(held_out)) == (100 - size, size)


def test_order_does_not_matter_and_the_seed_does() -> None:
    def chosen(ids: list[str], seed: int) -> set[str]:
        return {ids[index] for index in split(ids, 0.3, seed)[1]}

    assert chosen(IDS, 0) == chosen(IDS[::-1], 0)
    assert chosen(IDS, 0) != chosen(IDS, 1)


def test_too_large_groups_are_not_torn_apart() -> None:
    calibration, held_out = split(["a"] * 5 + ["b"] * 3, 1)
    assert held_out == (5, 6, 7)
    assert calibration == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("holdout", [-1, -0.5, 1.5, float("nan"), float("inf")])
def test_nonsense_is_refused(holdout: float) -> None:
    with pytest.raises(UsageError, match="holdout"):
        split(IDS, holdout)


@pytest.mark.parametrize(("ids", "holdout"), [(IDS, 100), (IDS, 1000), (["a"] * 10, 0.5), (["a"], 0.5), ([], 0.5)])
def test_an_empty_side_is_refused(ids: list[str], holdout: float) -> None:
    with pytest.raises(CalibrationError, match=rf"There (is|are) {len(ids)} sample.* held out, nothing is left"):
        split(ids, holdout)


def test_shared_content_of_two_data_sets_is_named() -> None:
    with pytest.raises(CalibrationError, match=r"1 of 2 held-out samples .* y\.png"):
        check_disjoint(["a", "b"], ["c", "b"], ["x.png", "y.png"])
    check_disjoint(["a", "b"], ["c", "d"])
