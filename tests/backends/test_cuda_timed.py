"""Streams, events and graphs of every mode, on a pretended GPU with a virtual clock."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.backends.cuda_stand_in import Device, RaceError, Runtime, Work, settings
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.timeline import Timeline
from trtkit.backends import cuda_bandwidth, cuda_driver, cuda_timed
from trtkit.backends.cuda_timed import CudaTimed
from trtkit.backends.repeated import Repeated
from trtkit.errors import RunError, UsageError
from trtkit.measurement import harness

SET_BYTES = 2 * 4 * 256 * 4
COPY_BYTES = 4 * 256 * 4
SETS = [{"x": np.full((4, 256), value, np.float32)} for value in (1, 2, 3)]


class VirtualTime:
    """In the place of the module ``time``."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def perf_counter(self) -> float:
        return self._device.now_s

    def monotonic(self) -> float:
        return self._device.now_s + 1000.0


class Bench:
    """A pretended GPU in the place of CUDA, and what is timed on it."""

    def __init__(self, patch: pytest.MonkeyPatch, **device: Any) -> None:
        self.device = Device(**device)
        self.runtime = Runtime(self.device)
        self.works: list[Work] = []
        patch.setattr(cuda_driver, "bindings", lambda: self.runtime)
        patch.setattr(cuda_timed, "time", VirtualTime(self.device))
        patch.setattr(cuda_bandwidth, "_BYTES", 2**20)

    def timed(self, chosen: BenchSettings, *, seconds: float = 1e-3, sets: Any = SETS, **work: Any) -> CudaTimed:
        def open_work(stream: int) -> Work:
            self.works.append(Work(self.runtime, stream, seconds, **work))
            return self.works[-1]

        return CudaTimed(open_work, sets, chosen)

    def run(self, chosen: BenchSettings, iterations: int = 100, **work: Any) -> tuple[Timeline, CudaTimed]:
        with self.timed(chosen, **work) as timed:
            warm(timed, chosen)
            timeline = iterate(timed, chosen, iterations)
        return timeline, timed


def warm(timed: CudaTimed, chosen: BenchSettings) -> None:
    timed.issue(0)
    timed.finish(0)
    timed.settle()


def iterate(timed: CudaTimed, chosen: BenchSettings, iterations: int) -> Timeline:
    """As :func:`trtkit.measurement.harness.measure` does it."""
    counter = iter(range(iterations))
    timeline, _ = harness.measure(timed, chosen, clock=lambda: 0.0, until=lambda: next(counter, None) is None)
    return timeline


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(monkeypatch)
    yield made
    assert made.runtime.left == {}, "what CUDA gave was not given back"
    assert not any(work.open for work in made.works)


def slow_copies(monkeypatch: pytest.MonkeyPatch, copy_s: float, back_s: float, **more: Any) -> Bench:
    """A GPU whose copies of one iteration take these times."""
    return Bench(monkeypatch, h2d_bytes_per_s=COPY_BYTES / copy_s, d2h_bytes_per_s=COPY_BYTES / back_s, **more)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_outputs_are_those_of_the_set_that_is_named(bench: Bench, mode: str, depth: int) -> None:
    chosen = settings(mode, depth=depth)
    with bench.timed(chosen) as timed:
        warm(timed, chosen)
        for iteration in range(7):
            slot = iteration % depth
            timed.issue(slot)
            timed.finish(slot)
            value = SETS[timed.set_of(slot)]["x"][0, 0]
            np.testing.assert_array_equal(timed.outputs(slot)["y"], np.full((4, 256), 2 * value, np.float32))


@pytest.mark.parametrize("mode", MODES)
def test_rows_that_repeat_are_fed_as_if_they_were_written_out(bench: Bench, mode: str) -> None:
    rows = np.arange(3 * 256, dtype=np.float32).reshape(3, 256)
    with bench.timed(settings(mode), sets=[{"x": Repeated(rows, 4)}]) as timed:
        timed.issue(0)
        timed.finish(0)
        np.testing.assert_array_equal(timed.outputs(0)["y"], 2 * rows[[0, 1, 2, 0]])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("buffers", [None, 1, 2, 5])
@pytest.mark.parametrize("graph", [True, False])
def test_no_buffer_is_used_in_two_places_without_an_order(
    bench: Bench, mode: str, depth: int, buffers: int | None, graph: bool
) -> None:
    chosen = settings(mode, depth=depth, buffers=buffers, graph=graph)
    timeline, _ = bench.run(chosen, 20)  # the stand-in raises RaceError
    assert len(timeline) >= 20


def test_without_the_waits_the_stand_in_sees_the_race(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver.Cuda, "stream_waits", lambda self, stream, event: None)
    with pytest.raises(RaceError):
        bench.run(settings("overlapped"), 10)


def test_a_harness_that_issues_before_finishing_is_held_back(bench: Bench) -> None:
    chosen = settings("overlapped", depth=3)
    with bench.timed(chosen) as timed:
        timed._users = timed._users[:1]  # as if there were one set for three slots
        timed._buffers = timed._buffers[:1]
        for slot in range(3):
            timed.issue(slot)  # RaceError, if the waits between iterations were missing
        for slot in range(3):
            timed.finish(slot)


@pytest.mark.parametrize("mode", ["compute", "compute-graph"])
def test_compute_is_the_execution_alone(bench: Bench, mode: str) -> None:
    timeline, timed = bench.run(settings(mode), seconds=1e-3)
    summary = timeline.summary()
    assert summary["compute"]["p50_ms"] == pytest.approx(1.0, rel=1e-5)
    assert summary["latency"]["p50_ms"] == pytest.approx(1.0, rel=1e-5)
    assert summary["h2d"]["max_ms"] == summary["d2h"]["max_ms"] == 0
    assert timeline.throughput_images_per_s == pytest.approx(4000, rel=1e-3), "the device is never idle"
    assert "cudaMemcpyAsync" not in bench.runtime.calls
    assert timed.facts["streams"] == 1


@pytest.mark.parametrize("mode", ["compute", "compute-graph"])
def test_a_busy_device_gets_one_event_for_each_execution(bench: Bench, mode: str) -> None:
    chosen = settings(mode, depth=3)
    with bench.timed(chosen, seconds=1e-3) as timed:
        warm(timed, chosen)
        bench.runtime.calls.clear()
        rows = iterate(timed, chosen, 50).rows
    records = bench.runtime.calls.count("cudaEventRecord")
    assert records == len(rows) + 1, "one more, before the first"
    for before, after in itertools.pairwise(rows):
        assert after.start_compute_ms == pytest.approx(before.end_compute_ms, abs=1e-3)
        assert after.end_compute_ms - after.start_compute_ms == pytest.approx(1.0, rel=1e-4)


def test_a_device_that_waited_for_the_host_is_not_charged_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, call_s=200e-6)  # the host needs far longer to start an execution than it takes
    timeline, _ = bench.run(settings("compute"), seconds=10e-6)
    assert timeline.summary()["compute"]["max_ms"] < 0.5, "an execution and the call that starts it"
    assert timeline.throughput_images_per_s < 4 / 600e-6, "what the host took lies between the executions"


def test_launches_that_cost_the_host_more_than_the_device_bound_the_rate(bench: Bench) -> None:
    timeline, _ = bench.run(settings("compute"), seconds=1e-4, host_s=3e-4)
    assert timeline.summary()["enqueue"]["p50_ms"] == pytest.approx(0.3, rel=1e-2)
    assert timeline.throughput_images_per_s == pytest.approx(4 / 3.1e-4, rel=5e-2)


def test_a_graph_spares_the_host(bench: Bench) -> None:
    timeline, timed = bench.run(settings("compute-graph"), seconds=1e-4, host_s=3e-4)
    assert timed.facts["graph"] is True and timed.facts["graph_problem"] is None
    assert timeline.summary()["enqueue"]["p50_ms"] == pytest.approx(0.001, rel=1e-2)
    assert timeline.throughput_images_per_s == pytest.approx(40_000, rel=1e-2)


def test_transfers_take_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = slow_copies(monkeypatch, copy_s=1e-3, back_s=0.5e-3)
    timeline, timed = bench.run(settings("transfers"), seconds=2e-3)
    summary = timeline.summary()
    assert [summary[part]["p50_ms"] for part in ("h2d", "compute", "d2h")] == pytest.approx([1, 2, 0.5], rel=1e-3)
    assert summary["latency"]["p50_ms"] == pytest.approx(3.5, rel=1e-3)
    assert timeline.throughput_images_per_s == pytest.approx(4 / 3.5e-3, rel=1e-3)
    for copy in (*bench.device.busy("h2d"), *bench.device.busy("d2h")):
        assert not [run for run in bench.device.busy("compute") if run[0] < copy[1] and copy[0] < run[1]]
    assert timed.facts["h2d_bytes_per_s"] == pytest.approx(COPY_BYTES / 1e-3, rel=1e-3)
    assert timed.facts["d2h_bytes_per_s"] == pytest.approx(COPY_BYTES / 0.5e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("copy_s", "compute_s", "depth"), [(2e-3, 1e-3, 2), (1e-3, 2e-3, 2), (1e-3, 1e-3, 3), (1e-3, 0.9e-3, 3)]
)
def test_overlapped_reaches_the_slower_of_copy_and_compute(
    monkeypatch: pytest.MonkeyPatch, copy_s: float, compute_s: float, depth: int
) -> None:
    bench = slow_copies(monkeypatch, copy_s, back_s=0.01e-3)
    timeline, timed = bench.run(settings("overlapped", depth=depth), 300, seconds=compute_s)
    assert timeline.throughput_images_per_s == pytest.approx(4 / max(copy_s, compute_s), rel=0.01)
    summary = timeline.summary()
    assert summary["h2d"]["p50_ms"] == pytest.approx(copy_s * 1e3, rel=5e-3)
    assert summary["compute"]["p50_ms"] == pytest.approx(compute_s * 1e3, rel=5e-3)
    assert timed.facts["streams"] == 3
    copies, runs = bench.device.busy("h2d")[20:], bench.device.busy("compute")[20:]
    overlaps = [run for run in runs if any(run[0] < copy[1] and copy[0] < run[1] for copy in copies)]
    assert len(overlaps) > 0.9 * len(runs)


def test_two_in_flight_lose_the_copy_back_and_the_host_when_copy_and_compute_are_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = slow_copies(monkeypatch, 1e-3, back_s=0.1e-3)
    timeline, _ = bench.run(settings("overlapped", depth=2), 300, seconds=1e-3)
    assert timeline.throughput_images_per_s == pytest.approx(4 * 2 / 2.1e-3, rel=0.02)


def test_sets_are_rotated_by_the_size_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for l2_bytes, wanted in ((0, 1), (SET_BYTES // 8, 1), (SET_BYTES // 2, 2), (SET_BYTES, 4), (100 * SET_BYTES, 8)):
        bench = Bench(monkeypatch, l2_bytes=l2_bytes)
        _, timed = bench.run(settings("compute"), 10)
        assert (timed.facts["buffers"], timed.facts["buffer_bytes"]) == (wanted, wanted * SET_BYTES), l2_bytes
        names = [ran.operation.name for ran in bench.device.ran if ran.operation.engine == "compute"]
        assert names[:10] == [f"execution of set {index % wanted}" for index in range(10)]
    with pytest.raises(UsageError, match="0 buffers"):
        bench.run(settings("compute", buffers=0), 10)


def test_every_buffer_set_has_its_own_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, l2_bytes=SET_BYTES)
    bench.run(settings("compute-graph"), 10)
    assert bench.runtime.calls.count("cudaGraphInstantiate") == bench.runtime.calls.count("cudaGraphDestroy") == 4
    assert bench.runtime.calls.count("cudaGraphExecDestroy") == 4


@pytest.mark.parametrize("mode", ["transfers", "overlapped"])
def test_copy_modes_have_graphs_unless_told_otherwise(bench: Bench, mode: str) -> None:
    assert bench.run(settings(mode), 5)[1].facts["graph"] is True
    assert bench.run(settings(mode, graph=False), 5)[1].facts["graph"] is False
    assert bench.run(settings("compute"), 5)[1].facts["graph"] is False


@pytest.mark.parametrize("words", ["the plan has a loop", "sync"])
def test_what_cannot_be_captured_is_launched_plainly(bench: Bench, words: str) -> None:
    timeline, timed = bench.run(settings("compute-graph"), uncapturable=words)
    assert timed.facts["graph"] is False
    problem = words if words != "sync" else "cudaErrorStreamCaptureInvalidated"
    assert problem in timed.facts["graph_problem"]
    assert len(timeline) >= 100 and "cudaGraphLaunch" not in bench.runtime.calls


def test_a_launch_that_fails_inside_a_capture_is_a_problem_of_the_graph(bench: Bench) -> None:
    chosen = settings("compute-graph")
    with bench.timed(chosen, refuse=2) as timed:  # one in warm-up, one before the capture, then none
        timed.issue(0)
        timed.finish(0)
        timed.settle()
        assert "enqueue returned False" in timed.facts["graph_problem"]
        with pytest.raises(RunError, match="enqueue returned False"):
            timed.issue(0)


def test_who_captures_graphs_alone_is_left_to_it(bench: Bench) -> None:
    with bench.timed(settings("compute-graph")) as timed:
        bench.works[-1].own_graphs = "onnxruntime"
        timed.settle()
        assert timed.facts["graph"] is True and timed.facts["graph_by"] == "onnxruntime"
    assert "cudaStreamBeginCapture" not in bench.runtime.calls


def test_one_set_of_addresses_is_one_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, l2_bytes=100 * SET_BYTES)
    monkeypatch.setattr(Work, "one_set", True)
    assert bench.run(settings("compute"), 5)[1].facts["buffers"] == 1


def test_facts_say_what_the_memory_is_used_for(bench: Bench) -> None:
    with bench.timed(settings("overlapped")) as timed:
        timed.issue(0)
        timed.finish(0)
        facts = timed.facts
        assert facts["input_bytes"] == facts["output_bytes"] == COPY_BYTES
        assert facts["device_bytes"] == 2 * SET_BYTES and facts["buffers"] == 2
        assert facts["wait"] == "spin" and facts["profile"] == 0


def test_waiting_spins_or_blocks_as_chosen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    flags: list[int] = []
    played = Runtime._cudaEventCreateWithFlags

    def noted(self: Runtime, chosen: int) -> Any:
        flags.append(chosen)
        return played(self, chosen)

    monkeypatch.setattr(Runtime, "_cudaEventCreateWithFlags", noted)
    _, timed = bench.run(settings("compute", spin=False), 3)
    assert timed.facts["wait"] == "blocking"
    assert flags[:4] == [bench.runtime.cudaEventBlockingSync] * 4


def test_times_are_on_the_clock_of_the_machine(bench: Bench) -> None:
    chosen = settings("compute")
    with bench.timed(chosen) as timed:
        warm(timed, chosen)
        bench.device.sleep(60.0)
        before = bench.device.now_s + 1000.0
        timed.issue(0)
        row = timed.finish(0)
        after = bench.device.now_s + 1000.0
    start, end = (timed.epoch_monotonic_s + ms / 1e3 for ms in (row.start_compute_ms, row.end_compute_ms))
    assert before - 1e-4 <= start <= end <= after + 1e-4
    assert before - 1e-4 <= timed.epoch_monotonic_s + row.start_enqueue_ms / 1e3 <= start + 1e-4
    assert end - start == pytest.approx(1e-3, rel=1e-4), "a minute after the epoch, durations are still exact"


@pytest.mark.parametrize(
    ("call", "mode", "said"),
    [
        ("cudaMalloc", "compute", "The device memory is used up: cudaMalloc of 4.0 KiB failed"),
        ("cudaHostAlloc", "transfers", "The host has no memory left that can be pinned"),
        ("cudaEventRecord", "compute", "cudaEventRecord failed with cudaErrorMemoryAllocation"),
    ],
)
def test_memory_that_runs_out_is_told_apart_and_nothing_is_left(bench: Bench, call: str, mode: str, said: str) -> None:
    bench.runtime.fail[call] = (0, "cudaErrorMemoryAllocation")
    with pytest.raises(RunError, match=said) as caught, bench.timed(settings(mode)):
        raise AssertionError("unreachable")
    assert "batch" in caught.value.hint


@pytest.mark.parametrize("mode", MODES)
def test_whatever_call_fails_everything_is_given_back(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    probe = Bench(monkeypatch)
    probe.run(settings(mode), 5)
    ends = ("Destroy", "Free", "cudaGetLastError", "cudaGetErrorString")
    for call in sorted({name for name in probe.runtime.calls if not any(end in name for end in ends)}):
        for skip in (0, 1, 3):
            bench = Bench(monkeypatch)
            bench.runtime.fail[call] = (skip, "cudaErrorInvalidValue")
            try:
                _, timed = bench.run(settings(mode), 5)
            except RunError as error:
                assert "cudaErrorInvalidValue" in error.message
            else:
                assert "cudaErrorInvalidValue" in str(timed.facts["graph_problem"]) or skip, (call, skip)
            assert bench.runtime.left == {} and not any(work.open for work in bench.works), (call, skip)


def test_an_error_that_poisons_the_process_says_so(bench: Bench) -> None:
    bench.runtime.fail["cudaEventSynchronize"] = (8, "cudaErrorIllegalAddress")
    with pytest.raises(RunError, match="This process can do nothing more on the GPU"):
        bench.run(settings("compute"), 5)


def test_an_error_while_capturing_that_poisons_is_no_graph_problem(bench: Bench) -> None:
    bench.runtime.fail["cudaStreamEndCapture"] = (0, "cudaErrorLaunchFailure")
    with pytest.raises(RunError, match="can do nothing more"):
        bench.run(settings("compute-graph"), 5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "No value for input x"),
        ({"x": np.zeros((4, 255), np.float32)}, "takes x float32 4×256"),
        ({"x": np.zeros((4, 256), np.uint8)}, r"Input x is uint8 \(4, 256\)"),
    ],
)
def test_inputs_have_the_type_and_shape_that_the_plan_takes(bench: Bench, values: Any, said: str) -> None:
    with pytest.raises(RunError, match=said), bench.timed(settings("compute"), sets=[values]):
        raise AssertionError("unreachable")


def test_the_harness_drives_it(bench: Bench) -> None:
    chosen = settings("overlapped", warmup_s=0.05, duration_s=0.2, max_duration_s=1.0)
    with bench.timed(chosen) as timed:
        warmup = harness.warm_up(timed, chosen, clock=lambda: bench.device.now_s)
        timeline, stopped = harness.measure(timed, chosen, clock=lambda: bench.device.now_s)
    assert stopped == "confident" and warmup["steady"]
    assert 150 < len(timeline) < 250
    within = timeline.between(timed.epoch_monotonic_s, timed.epoch_monotonic_s + 10)
    assert len(within) == len(timeline)
