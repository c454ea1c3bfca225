"""Scaling results: figures by hand, through JSON and back, images in a window against a slow count."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.measurement.scripted import clean, timeline
from trtkit.artifacts.finding import Finding, Verdict
from trtkit.artifacts.scale import ALONE, TOGETHER, Phase, ScaleResult, Share
from trtkit.artifacts.timeline import Iteration, Timeline
from trtkit.errors import PlanError


def phase(name: str, ms: float, *, start: float = 0.5, seconds: float = 2.0, count: int = 400) -> Phase:
    """Eight images every ``ms`` milliseconds, from second 0."""
    return Phase(name, start, seconds, clean(timeline=timeline([ms] * count)))


def share(device: str, together_ms: float, alone_ms: float | None = None, **more: object) -> Share:
    phases = {TOGETHER: phase(TOGETHER, together_ms)}
    if alone_ms is not None:
        phases |= {name: phase(name, alone_ms) for name in ALONE}
    return Share(device, "NVIDIA H100", "node1", 0, phases, **more)  # type: ignore[arg-type]


def test_the_figures() -> None:
    result = ScaleResult((share("cuda:0", 10.0, 10.0), share("cuda:1", 12.5, 10.0)))
    assert [one.together_images_per_s for one in result.shares] == pytest.approx([800, 640])
    assert result.total_images_per_s == pytest.approx(1440)
    assert result.sum_of_alone_images_per_s == pytest.approx(1600)
    assert result.efficiency == pytest.approx(0.9)
    assert [one.efficiency for one in result.shares] == pytest.approx([1.0, 0.8])
    assert result.valid


def test_a_device_without_a_window_leaves_no_total() -> None:
    result = ScaleResult((share("cuda:0", 10.0, 10.0), Share("cuda:1", None, "node1", 1, problem="it burns")))
    assert (result.total_images_per_s, result.efficiency) == (None, None)
    assert ScaleResult(()).total_images_per_s is None


def test_without_alone_windows_there_is_no_efficiency() -> None:
    result = ScaleResult((share("cuda:0", 10.0), share("cuda:1", 10.0)))
    assert result.total_images_per_s == pytest.approx(1600)
    assert result.efficiency is None


def test_there_and_back_through_json() -> None:
    whole = ScaleResult(
        (share("cuda:0", 10.0, 10.0), Share("cuda:1", None, "node2", 1, problem="silent for 4 s")),
        launcher="mpirun",
        ranks=2,
        clock_error_s=2e-4,
        clock_drift_s=-1e-3,
        clock_drift_error_s=3e-4,
        findings=(Finding("drift", "It drifts.", "Wait.", {"before_images_per_s": 1.0}),),
        problem="rank 1 is lost",
        command=("trtkit", "bench"),
        created="2026-01-01T00:00:00+00:00",
    )
    text = json.dumps(whole.to_json())
    back = ScaleResult.from_json(json.loads(text))
    assert back.to_json() == whole.to_json()
    assert (back.shares[0].phases[TOGETHER].result.timeline.rows) == whole.shares[0].phases[
        TOGETHER
    ].result.timeline.rows
    assert not back.valid


def test_a_result_of_before_the_drift_was_measured_has_none() -> None:
    old = ScaleResult((share("cuda:0", 10.0),), clock_drift_s=0.5).to_json()
    del old["clock_drift_s"], old["clock_drift_error_s"]
    assert ScaleResult.from_json(old).clock_drift_s is None


@pytest.mark.parametrize("change", [{"schema": 2}, {"shares": [{}]}, {"findings": None}])
def test_what_is_newer_or_damaged_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(PlanError) as caught:
        ScaleResult.from_json({**ScaleResult((share("cuda:0", 10.0),)).to_json(), **change})
    assert caught.value.hint


def test_labels_say_no_more_than_is_needed() -> None:
    one, two = share("cuda:0", 10.0), share("cuda:1", 10.0)
    assert [ScaleResult((one, two)).label(each) for each in (one, two)] == ["cuda:0", "cuda:1"]
    far = replace(one, host="node2", rank=1)
    assert ScaleResult((one, far)).label(far) == "node2 cuda:0"
    twin = replace(one, rank=1)
    assert ScaleResult((one, twin)).label(twin) == "rank 1 cuda:0"


def test_an_invalid_measurement_makes_the_whole_invalid() -> None:
    bad = phase(TOGETHER, 10.0)
    bad = replace(bad, result=bad.result.judged(Verdict((Finding("throttled", "Slow.", "Cool."),))))
    assert not ScaleResult((Share("cuda:0", "x", "h", 0, {TOGETHER: bad}),)).valid


@pytest.mark.parametrize(
    ("start", "seconds", "count", "idle"),
    [(0.5, 2.0, 400, 0.0), (-0.5, 2.0, 400, 0.5), (3.0, 2.0, 400, 1.0), (0, 1, 0, 1)],
)
def test_idle_time_is_what_the_iterations_do_not_cover(start: float, seconds: float, count: int, idle: float) -> None:
    assert phase(TOGETHER, 10.0, start=start, seconds=seconds, count=count).idle_s == pytest.approx(idle)


def slow_count(line: Timeline, low: float, high: float) -> float:
    """Images finished in a window, in steps: each iteration's images come evenly between the last end and its own."""
    ends = sorted(row.end_d2h_ms / 1e3 + line.epoch_monotonic_s for row in line.rows)
    previous = min(row.start_h2d_ms for row in line.rows) / 1e3 + line.epoch_monotonic_s
    total = 0.0
    for end in ends:
        overlap = max(min(end, high) - max(previous, low), 0.0)
        if end > previous:
            total += line.images * overlap / (end - previous)
        previous = end
    return total


@pytest.mark.parametrize("seed", range(8))
def test_images_in_a_window_equal_a_slow_count(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, now = [], float(random.uniform(-50, 50))
    for _ in range(60):
        begin = now + float(random.uniform(0, 3))
        copied, end = begin + 0.5, begin + 0.5 + float(random.uniform(0.5, 20))
        rows.append(Iteration(begin, begin, begin, copied, copied, end, end, end + 0.25))
        now = end - float(random.uniform(0, 0.4))  # the next copies in meanwhile
    line = Timeline(tuple(rows), 8, 1000.0)
    for _ in range(20):
        low = 1000.0 + float(random.uniform(-0.2, 0.9))
        high = low + float(random.uniform(0, 0.5))
        assert line.images_between(low, high) == pytest.approx(slow_count(line, low, high), abs=1e-6)
    assert line.images_between(0.0, 1e6) == pytest.approx(60 * 8)
    assert Timeline((), 8, 0.0).images_between(0, 1) == 0
