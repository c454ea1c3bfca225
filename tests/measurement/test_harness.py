"""The loop under a scripted clock: when warm-up ends, how many are in flight, when measuring stops and why."""

from __future__ import annotations

import gc
from itertools import chain, cycle, repeat

import numpy as np
import pytest

from tests.measurement.scripted import Clock, ScriptedTimed, then
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.errors import RunError
from trtkit.measurement import harness


def settings(**changes: float) -> BenchSettings:
    return BenchSettings("compute", 4, **{"depth": 1, **changes})  # type: ignore[arg-type]


def test_warm_up_lasts_as_long_as_asked_where_nothing_is_compiled() -> None:
    clock = Clock()
    found = harness.warm_up(ScriptedTimed(clock, repeat(10.0)), settings(warmup_s=0.2), clock)
    assert found["iterations"] == 20 + 1  # and one after settling
    assert found["seconds"] == pytest.approx(0.21)
    assert found["first_ms"] == pytest.approx(10.0)
    assert found["steady"] is True


def test_warm_up_goes_on_until_the_compiler_is_done() -> None:
    clock = Clock()
    timed = ScriptedTimed(clock, then(5000.0, 3000.0, 800.0, forever_ms=10.0))
    found = harness.warm_up(timed, settings(warmup_s=0.2), clock)
    assert found["iterations"] == 5 + 1  # two steady ones end it: the least warm-up had passed long before
    assert found["first_ms"] == pytest.approx(5000.0)
    assert found["last_ms"] == pytest.approx(10.0)


def test_one_disturbed_iteration_does_not_prolong_warm_up() -> None:
    clock = Clock()
    found = harness.warm_up(ScriptedTimed(clock, then(10.0, 35.0, forever_ms=10.5)), settings(warmup_s=0.0), clock)
    assert found["iterations"] == 3 + 1


def test_warm_up_of_a_first_iteration_alone_is_never_steady() -> None:
    clock = Clock()
    found = harness.warm_up(ScriptedTimed(clock, repeat(900.0)), settings(warmup_s=0.2), clock)
    assert found["iterations"] == 2 + 1


def test_warm_up_that_never_becomes_steady_is_cut_off_and_says_so() -> None:
    clock = Clock()
    ever_faster = (1000.0 * 0.75**n for n in range(1000))
    found = harness.warm_up(ScriptedTimed(clock, ever_faster), settings(warmup_s=0.2), clock, cap_s=3.5)
    assert found["steady"] is False
    assert 3.5 <= found["seconds"] < 4.5


@pytest.mark.parametrize("compiling", [(), (4000.0, 2000.0, 900.0)], ids=["nothing compiled", "compiled"])
def test_a_busy_machine_does_not_look_like_a_compiler(compiling: tuple[float, ...]) -> None:
    """Iterations of 20 µs, most of them disturbed: hardly one is near the fastest of thousands."""
    clock = Clock()
    rng = np.random.default_rng(0)
    times = chain(compiling, (0.02 * float(np.exp(rng.exponential(1.5))) for _ in range(10**6)))
    found = harness.warm_up(ScriptedTimed(clock, times), settings(warmup_s=0.2), clock)
    assert found["steady"] is True
    assert found["seconds"] - sum(compiling) / 1e3 < 0.3
    assert found["last_ms"] < 20 or not compiling


def test_settling_comes_after_warm_up_and_every_graph_is_launched_once() -> None:
    clock = Clock()
    timed = ScriptedTimed(clock, repeat(100.0), graph=True, buffers=5)
    found = harness.warm_up(timed, settings(warmup_s=0.25, depth=2), clock)
    assert timed.log.count("settle") == 1
    after = timed.log[timed.log.index("settle") + 1 :]
    assert after == ["issue 0", "finish 0", "issue 1", "finish 1"] * 2 + ["issue 0", "finish 0"]
    assert found["iterations"] == 3 + 5


def test_measuring_stops_when_the_median_is_known() -> None:
    clock = Clock()
    timeline, stopped = harness.measure(ScriptedTimed(clock, repeat(10.0)), settings(duration_s=3.0), clock)
    assert stopped == "confident"
    assert len(timeline) == 300
    assert timeline.wall_s == pytest.approx(3.0)
    assert timeline.throughput_images_per_s == pytest.approx(400.0)


def test_measuring_goes_on_while_the_median_is_not_known() -> None:
    clock = Clock()
    rng = np.random.default_rng(0)
    times = (10.0 * (1 + 0.1 * rng.standard_normal()) for _ in range(10**6))
    chosen = settings(duration_s=1.0, max_duration_s=100.0, confidence=0.01)
    timeline, stopped = harness.measure(ScriptedTimed(clock, times), chosen, clock)
    assert stopped == "confident"
    assert 1.0 < timeline.wall_s < 60.0
    width = harness.median_width(timeline.column("compute_ms"))
    assert width is not None
    assert width <= 0.01
    early = timeline.column("compute_ms")[: len(timeline) // 3]
    assert harness.median_width(early) > 0.01  # type: ignore[operator]


def test_measuring_ends_at_the_longest_duration_whatever_is_known() -> None:
    clock = Clock()
    chosen = settings(duration_s=1.0, max_duration_s=4.0, confidence=0.001)
    timeline, stopped = harness.measure(ScriptedTimed(clock, cycle([8.0, 12.0])), chosen, clock)
    assert stopped == "max-duration"
    assert timeline.wall_s == pytest.approx(4.0, abs=0.02)


def test_the_least_number_of_iterations_outlasts_the_least_duration() -> None:
    clock = Clock()
    chosen = settings(duration_s=1.0, min_iterations=10, max_duration_s=30.0)
    timeline, stopped = harness.measure(ScriptedTimed(clock, repeat(500.0)), chosen, clock)
    assert stopped == "confident"
    assert len(timeline) == 10


def test_fewer_than_six_iterations_are_never_confident() -> None:
    clock = Clock()
    chosen = settings(duration_s=1.0, min_iterations=1, max_duration_s=7.0)
    timeline, stopped = harness.measure(ScriptedTimed(clock, repeat(2000.0)), chosen, clock)
    assert (stopped, len(timeline)) == ("max-duration", 4)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_as_many_are_in_flight_as_asked_and_all_are_finished_in_order(depth: int) -> None:
    clock = Clock()
    timed = ScriptedTimed(clock, repeat(10.0))
    timeline, _ = harness.measure(timed, settings(duration_s=1.0, depth=depth), clock)
    assert timed.most_in_flight == depth
    assert not timed.in_flight
    assert len(timeline) == sum(entry.startswith("issue") for entry in timed.log)
    ends = timeline.column("end_compute_ms")
    assert (np.diff(ends) > 0).all()
    np.testing.assert_allclose(np.diff(ends), 10.0)  # the device never waited for the host


def test_until_replaces_the_rule() -> None:
    clock = Clock()
    timeline, stopped = harness.measure(
        ScriptedTimed(clock, repeat(10.0)),
        settings(duration_s=0.1, max_duration_s=0.2),
        clock,
        until=lambda: clock.now >= 107.0,
    )
    assert stopped == "fixed"
    assert len(timeline) == 700


def test_progress_is_told_about_four_times_a_second() -> None:
    clock = Clock()
    told: list[tuple[float, int]] = []
    harness.measure(
        ScriptedTimed(clock, repeat(1.0)), settings(duration_s=3.0), clock, progress=lambda s, n: told.append((s, n))
    )
    assert 10 <= len(told) <= 13
    assert told == sorted(told)


def test_looking_at_the_samples_takes_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    looks: list[float] = []

    def slow_look(times: np.ndarray, chosen: BenchSettings) -> bool:
        looks.append(clock.now)
        clock.now += 0.01
        return False

    monkeypatch.setattr(harness, "confident", slow_look)
    harness.measure(ScriptedTimed(clock, repeat(1.0)), settings(duration_s=1.0, max_duration_s=61.0), clock)
    assert 0 < len(looks) * 0.01 / 60 <= 0.003


def test_the_garbage_collector_is_off_while_measuring_and_on_again_whatever_happens() -> None:
    clock, seen = Clock(), []

    class Failing(ScriptedTimed):
        def finish(self, slot: int):  # type: ignore[no-untyped-def]
            seen.append(gc.isenabled())
            if len(seen) == 3:
                raise RunError("enqueue returned False", hint="Lower the batch.")
            return super().finish(slot)

    assert gc.isenabled()
    with pytest.raises(RunError, match="enqueue"):
        harness.measure(Failing(clock, repeat(10.0)), settings(), clock)
    assert seen == [False] * 3
    assert gc.isenabled()


def test_confidence_is_the_intervals_width_over_the_median() -> None:
    values = np.sort(np.random.default_rng(0).normal(100, 1, 400))
    # Ranks 200 ∓ 1.96·10, rounded outwards, as the module's text says.
    assert harness.median_width(values) == pytest.approx((values[220] - values[180]) / values[199])
    assert harness.median_width(values[:5]) is None
    assert harness.median_width(np.zeros(50)) is None
    assert harness.confident(np.full(9, 1.0), settings(min_iterations=10)) is False
    assert harness.confident(np.full(10, 1.0), settings(min_iterations=10)) is True
