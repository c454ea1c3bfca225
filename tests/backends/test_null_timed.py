"""The scripted device does what its script says, in every mode, to the microsecond."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.measurement.scripted import Clock
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.backends.null_timed import FAILURES, VARIABLE, NullMonitor, NullScript, NullTimed
from trtkit.errors import RunError, UsageError
from trtkit.measurement import harness

SETS = [{"x": np.full((4, 3), index, np.float32)} for index in range(3)]


def run(feeds: Any) -> dict[str, np.ndarray]:
    return {"y": np.zeros((len(feeds["x"]), 2), np.float32)}


def timed(mode: str = "compute", *, batch: int = 4, clock: Clock | None = None, **script: Any) -> NullTimed:
    clock = clock or Clock()
    chosen = BenchSettings(mode, batch, warmup_s=0.0, duration_s=1.0, max_duration_s=2.0)
    return NullTimed(SETS, chosen, run, NullScript(**script), clock, clock.sleep)


@pytest.mark.parametrize("mode", MODES)
def test_times_are_the_scripts(mode: str) -> None:
    clock = Clock()
    null = timed(mode, clock=clock, compute_ms=2.0, image_ms=0.5, h2d_ms=3.0, d2h_ms=1.0)
    chosen = BenchSettings(mode, 4, duration_s=1.0, depth=2)
    timeline, stopped = harness.measure(null, chosen, clock)
    assert stopped == "confident"
    copies = mode in ("transfers", "overlapped")
    np.testing.assert_allclose(timeline.column("compute_ms"), 4.0)
    np.testing.assert_allclose(timeline.column("h2d_ms"), 3.0 if copies else 0.0)
    np.testing.assert_allclose(timeline.column("d2h_ms"), 1.0 if copies else 0.0)
    np.testing.assert_allclose(timeline.column("enqueue_ms"), 0.02)
    each_ms = {"compute": 4.0, "compute-graph": 4.0, "transfers": 8.0, "overlapped": 4.0}[mode]
    np.testing.assert_allclose(np.diff(timeline.column("start_compute_ms"))[3:], each_ms, rtol=1e-6)


def test_input_sets_are_rotated() -> None:
    null, used = timed(), []
    for _ in range(5):
        null.issue(0)
        null.finish(0)
        used.append(null.set_of(0))
    assert used == [0, 1, 2, 0, 1]
    assert null.facts["buffers"] == 3
    assert null.facts["input_bytes"] == 48


def test_the_first_iterations_compile() -> None:
    clock = Clock()
    null = timed(clock=clock, warmup_ms=(500.0, 300.0))
    found = harness.warm_up(null, BenchSettings("compute", 4, warmup_s=0.0), clock)
    assert found["first_ms"] == pytest.approx(501.04)
    assert found["iterations"] == 4 + 2


def test_noise_is_seeded_and_as_large_as_scripted() -> None:
    found = []
    for _ in range(2):
        clock = Clock()
        timeline, _ = harness.measure(
            timed(clock=clock, noise=0.1, compute_ms=1.0, image_ms=0.0), BenchSettings("compute", 4), clock
        )
        found.append(timeline.column("compute_ms"))
    np.testing.assert_allclose(*found, rtol=1e-9)  # apart from the rounding of the clock
    assert found[0].std() / found[0].mean() == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("reason", FAILURES)
@pytest.mark.parametrize("when", ["prepared", "run"])
def test_it_fails_from_the_scripted_batch_on(reason: str, when: str) -> None:
    script = {"fail_from_batch": 8, "fail_as": reason, "fail_when": when}
    timed(batch=7, **script).issue(0)
    with pytest.raises(RunError) as caught:
        timed(batch=8, **script).issue(0)
    assert FAILURES[reason] in caught.value.message


def test_graphs_are_captured_where_the_mode_has_them() -> None:
    for mode, graph in (("compute", False), ("compute-graph", True), ("transfers", True), ("overlapped", True)):
        null = timed(mode)
        null.settle()
        assert null.facts["graph"] is graph
    refused = timed("compute-graph", graph_problem="it synchronizes")
    refused.settle()
    assert refused.facts["graph"] is False
    assert refused.facts["graph_problem"] == "it synchronizes"


@pytest.mark.parametrize(("outputs", "value"), [("zeros", 0.0), ("wrong", 1.0), ("nan", np.nan)])
def test_outputs_are_as_scripted(outputs: str, value: float) -> None:
    null = timed(outputs=outputs)
    null.issue(1)
    null.finish(1)
    np.testing.assert_array_equal(null.outputs(1)["y"], np.full((4, 2), value, np.float32))


def test_the_monitor_saw_what_the_script_says() -> None:
    seen = {"throttle_reasons": {"hw_slowdown": 0.5}, "sm_clock_mhz": [1000]}
    with NullMonitor(NullScript(seen=seen)) as monitor:
        pass
    assert monitor.seen() == seen


def test_the_script_is_read_from_the_environment() -> None:
    assert NullScript.of({}) == NullScript()
    text = json.dumps({"compute_ms": 5, "warmup_ms": [1, 2]})
    assert NullScript.of({VARIABLE: text}) == NullScript(compute_ms=5, warmup_ms=(1, 2))


@pytest.mark.parametrize("text", ["{", "[]", '{"colour": 1}', '{"warmup_ms": 3}'])
def test_nonsense_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(UsageError, match=VARIABLE) as caught:
        NullScript.of({VARIABLE: text})
    assert "fail_from_batch" in caught.value.hint
