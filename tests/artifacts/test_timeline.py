"""Timelines by hand: latency is a sum, throughput a wall, windows hold whole iterations only."""

from __future__ import annotations

import json

import numpy as np
import pytest

from trtkit.artifacts.timeline import COLUMNS, Iteration, Timeline

# Two overlapping iterations: the second copies in while the first computes.
FIRST = Iteration(0.0, 0.5, 1.0, 3.0, 3.0, 13.0, 13.0, 14.0)
SECOND = Iteration(1.0, 1.25, 3.0, 6.0, 13.0, 21.0, 21.0, 24.0)
BOTH = Timeline((FIRST, SECOND), 8, 1000.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h2d_ms", [2.0, 3.0]),
        ("compute_ms", [10.0, 8.0]),
        ("d2h_ms", [1.0, 3.0]),
        ("enqueue_ms", [0.5, 0.25]),
        ("latency_ms", [13.0, 14.0]),  # not the 23 ms that the second took from end to end
        ("start_h2d_ms", [1.0, 3.0]),
    ],
)
def test_columns(name: str, expected: list[float]) -> None:
    np.testing.assert_array_equal(BOTH.column(name), expected)


def test_throughput_is_images_over_the_wall_from_first_copy_to_last() -> None:
    assert BOTH.wall_s == pytest.approx(0.023)
    assert BOTH.throughput_images_per_s == pytest.approx(16 / 0.023)
    assert len(BOTH) == 2


def test_the_summary_holds_every_figure() -> None:
    found = BOTH.summary()
    assert found["count"] == 2
    assert found["images_per_iteration"] == 8
    assert found["latency"]["p50_ms"] == 13.0  # trtexec's percentile: the lower of two
    assert found["latency"]["p99_ms"] == 14.0
    assert found["compute"]["mean_ms"] == 9.0
    assert found["compute"]["cov"] == pytest.approx(1 / 9)
    assert found["compute"]["min_ms"] == 8.0 and found["compute"]["max_ms"] == 10.0
    assert found["median_compute_interval_ms"] is None
    json.dumps(found)


def test_nothing_was_measured() -> None:
    empty = Timeline((), 8, 0.0)
    assert empty.wall_s == 0.0
    assert empty.throughput_images_per_s is None
    assert empty.summary()["latency"] is None
    assert len(empty.column("latency_ms")) == 0
    assert Timeline.from_json(empty.to_json()) == empty


@pytest.mark.parametrize(
    ("start_s", "end_s", "kept"),
    [
        (1000.0, 1001.0, (FIRST, SECOND)),
        (1000.0, 1000.020, (FIRST,)),
        (1000.002, 1001.0, (SECOND,)),
        (1000.002, 1000.020, ()),
        (999.0, 1000.0, ()),
    ],
)
def test_a_window_of_the_common_clock_keeps_whole_iterations(
    start_s: float, end_s: float, kept: tuple[Iteration, ...]
) -> None:
    assert BOTH.between(start_s, end_s) == Timeline(kept, 8, 1000.0)


def test_json_keeps_a_tenth_of_a_microsecond() -> None:
    assert Timeline.from_json(json.loads(json.dumps(BOTH.to_json()))) == BOTH
    fine = Timeline((Iteration(*(index + 0.123456789 for index in range(8))),), 1, 5.5)
    again = Timeline.from_json(fine.to_json())
    np.testing.assert_allclose(again.rows, fine.rows, atol=5e-5)
    assert list(fine.to_json()["columns"]) == list(COLUMNS)


def test_columns_of_different_lengths_are_refused() -> None:
    broken = BOTH.to_json()
    broken["columns"]["end_d2h_ms"].pop()
    with pytest.raises(ValueError, match="zip"):
        Timeline.from_json(broken)
