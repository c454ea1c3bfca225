from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from calibration.search import search


def bowl(target: Mapping[str, float]):  # type: ignore[no-untyped-def]
    """An error with one minimum, in the logarithm of each threshold."""

    def error(amax: Mapping[str, float]) -> float:
        return sum((math.log(amax[name]) - math.log(value)) ** 2 for name, value in target.items())

    return error


def test_finds_the_minimum_of_independent_coordinates() -> None:
    target = {"a": 2.0, "b": 0.5, "c": 1.0}
    found = search({"a": 1.0, "b": 1.0, "c": 1.0}, ["a", "b", "c"], bowl(target))
    assert found.finished
    assert found.error_after < found.error_before
    for name, value in target.items():
        assert found.amax[name] == pytest.approx(value, rel=0.06)  # half of the finest step


def test_never_gets_worse_and_leaves_a_minimum_alone() -> None:
    start = {"a": 1.0, "b": 3.0}
    found = search(start, ["a", "b"], bowl(start))
    assert found.amax == start
    assert found.moved == ()
    assert found.error_after == found.error_before == 0


def test_a_group_keeps_one_threshold() -> None:
    found = search({"a": 1.0, "b": 1.0, "c": 1.0}, ["a", "b", "c"], bowl({"a": 2.0, "b": 2.0}), groups=[["a", "b"]])
    assert found.amax["a"] == found.amax["b"] > 1.5
    assert found.amax["c"] == 1.0


def test_only_ordered_tensors_move() -> None:
    found = search({"a": 1.0, "b": 1.0}, ["a"], bowl({"a": 2.0, "b": 2.0}))
    assert found.moved == ("a",)


def test_time_limit_returns_the_best_so_far() -> None:
    now = [0.0]
    calls = []

    def error(amax: Mapping[str, float]) -> float:
        now[0] += 1.0
        calls.append(dict(amax))
        return bowl({"a": 8.0, "b": 8.0})(amax)  # type: ignore[no-any-return]

    found = search({"a": 1.0, "b": 1.0}, ["a", "b"], error, seconds=3.5, clock=lambda: now[0])
    assert not found.finished
    assert found.evaluations == len(calls) <= 6
    assert found.error_after == min(bowl({"a": 8.0, "b": 8.0})(amax) for amax in calls)


def test_progress_reaches_its_total() -> None:
    seen: list[tuple[int, int]] = []
    search({"a": 1.0, "b": 1.0}, ["a", "b"], bowl({"a": 1.0, "b": 1.0}), progress=lambda d, t: seen.append((d, t)))
    assert seen[-1] == (4, 4)
