"""A TensorRT engine under the clock: real code of trtkit between the stand-ins of TensorRT and of CUDA."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.cuda_stand_in import Device, Runtime
from tests.backends.test_cuda_timed import VirtualTime, iterate, warm
from tests.backends.trt_api import RTX, TENSORRT_10, TENSORRT_11
from tests.backends.trt_stand_in.module import fill
from tests.backends.trt_stand_in.state import STATE
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.backends import cuda_bandwidth, cuda_driver, cuda_timed
from trtkit.backends.timing import TimedRunner
from trtkit.backends.trt import TrtBackend
from trtkit.backends.trt_log import LogBook
from trtkit.backends.trt_rtx import TrtRtxBackend
from trtkit.backends.trt_runner import TrtRunner
from trtkit.errors import RunError, UsageError

PROFILE = {"x": [[1, 3], [2, 3], [4, 3]]}
SETS = [{"x": np.full((3, 3), value, np.float32)} for value in (1, 2, 3)]


class Trt:
    """A loaded engine, ``y = 2 x``, on a pretended GPU."""

    def __init__(self, patch: pytest.MonkeyPatch, recorded: str) -> None:
        self.module: dict[str, Any] = {}
        fill(self.module, recorded)
        self.trt = type("Trt", (), {name: staticmethod(value) for name, value in self.module.items()})
        self.recorded, self.device = recorded, Device(l2_bytes=36)
        self.runtime = Runtime(self.device)
        self.begin({})
        patch.setattr(STATE, "kernel", self._kernel)
        patch.setattr(cuda_driver, "bindings", lambda: self.runtime)
        patch.setattr(cuda_timed, "time", VirtualTime(self.device))
        patch.setattr(cuda_bandwidth, "_BYTES", 2**16)
        self.addresses: list[int] = []

    def begin(self, script: dict[str, Any]) -> None:
        STATE.begin(script)

    def _kernel(self, stream: int, reads: Any, writes: Any, effect: Any) -> None:
        self.addresses.append(reads[0][0])
        self.runtime.kernel(stream, "engine", 1e-3, reads, writes, effect)

    def runner(self, cache: Path | None = None, tensors: Any = None) -> TrtRunner:
        book = LogBook()
        logger = book.logger(self.trt)
        tensors = tensors or [("x", "INPUT", "FLOAT", [-1, 3]), ("y", "OUTPUT", "FLOAT", [-1, 3])]
        engine = self.module["ICudaEngine"](logger, tensors, PROFILE)
        backend = TrtRtxBackend() if self.recorded == RTX else TrtBackend()
        contexts = backend._contexts(self.trt, engine, cache)
        return TrtRunner(self.trt, engine, contexts, book, "Pretended GPU")


@pytest.fixture(params=[TENSORRT_10, TENSORRT_11, RTX])
def trt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trt]:
    made = Trt(monkeypatch, request.param)
    yield made
    assert made.runtime.left == {}


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch) -> Trt:
    return Trt(monkeypatch, RTX)


def chosen(mode: str = "compute", **more: Any) -> BenchSettings:
    return BenchSettings(**{"mode": mode, "batch": 3, "shapes": {"x": (3, 3)}, **more})


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_executes_the_engine(trt: Trt, mode: str) -> None:
    runner = trt.runner()
    assert isinstance(runner, TimedRunner) and mode in runner.modes
    settings = chosen(mode)
    with runner, runner.timed(SETS, settings) as timed:
        warm(timed, settings)
        timeline = iterate(timed, settings, 10)
        for slot in range(2):
            value = SETS[timed.set_of(slot)]["x"]
            np.testing.assert_array_equal(timed.outputs(slot)["y"], 2 * value)
        assert timed.facts["graph"] is (mode != "compute") and timed.facts["graph_problem"] is None
    assert timeline.summary()["compute"]["p50_ms"] == pytest.approx(1.0, rel=1e-2)
    assert timed.facts["input_bytes"] == timed.facts["output_bytes"] == 36
    assert timed.facts["profile"] == 0 and timed.facts["profile_ranges"] == PROFILE
    assert timed.facts["aux_streams"] == 0
    assert len(set(trt.addresses)) == timed.facts["buffers"] == 2, "each buffer set has its own address"


def test_the_smallest_profile_that_holds_the_shapes_is_taken(trt: Trt) -> None:
    more = [{"x": [[1, 3], [1, 3], [3, 3]]}, {"x": [[4, 3], [8, 3], [64, 3]]}]
    runner = trt.runner()
    for batch, wanted in ((3, 1), (4, 0), (32, 2)):
        trt.begin({"profiles": more})
        sets = [{"x": np.zeros((batch, 3), np.float32)}]
        with runner, runner.timed(sets, chosen(batch=batch, shapes={"x": (batch, 3)})) as timed:
            assert timed.facts["profile"] == wanted and timed.facts["profiles"] == 3


@pytest.mark.parametrize(
    ("script", "shapes", "error", "said"),
    [
        ({}, {"x": (5, 3)}, RunError, r"No optimization profile of the plan holds x \[5, 3\].*x \[1, 3\] … \[4, 3\]"),
        ({}, {"x": (3, 4)}, RunError, r"Input x float32 d0×3 does not take the shape \[3, 4\]"),
        ({}, {}, RunError, "does not take the shape"),
        ({"context": "none"}, None, RunError, "No execution context could be made: createExecutionContext: Requested"),
        ({"refuse": "address"}, None, RunError, "The address of tensor x was refused"),
        ({"refuse": "profile", "profiles": [{"x": [[1, 3]] * 2 + [[3, 3]]}]}, None, RunError, "profile 1 was refused"),
        ({"loop": True}, None, RunError, r"Output y has a shape \(-1, 3\) that depends on the values"),
        ({"execute": "out_of_memory"}, None, RunError, "enqueue returned False: .*out of memory"),
    ],
)
def test_refusals_are_errors_in_the_vendors_words(
    trt: Trt, script: dict[str, Any], shapes: Any, error: type[Exception], said: str
) -> None:
    settings = chosen() if shapes is None else chosen(shapes=shapes)
    runner = trt.runner()
    trt.begin(script)
    with pytest.raises(error, match=said) as caught, runner, runner.timed(SETS, settings) as timed:
        timed.issue(0)
    assert caught.value.hint.startswith("Lower the batch size") is ("memory" in caught.value.message)


def test_a_launch_refused_in_a_capture_is_a_fact_and_its_words_are_not_told_twice(trt: Trt) -> None:
    settings = chosen("compute-graph")
    runner = trt.runner()
    with runner, runner.timed(SETS, settings) as timed:
        timed.issue(0)
        timed.finish(0)
        work, launch, launches = timed._work, timed._work.launch, iter([False, True])

        def refused_once() -> None:
            if next(launches, False):
                STATE.script = {"execute": "out_of_memory"}
            launch()

        work.launch = refused_once
        timed.settle()
        assert "out of memory" in timed.facts["graph_problem"] and timed.facts["graph"] is False
        STATE.script = {"refuse": "address"}
        work._selected = None
        with pytest.raises(RunError, match="The address of tensor x was refused: TensorRT gives no reason"):
            timed.issue(0)


def test_aux_streams_cannot_be_lowered_at_run_time(trt: Trt) -> None:
    runner = trt.runner()
    trt.begin({"aux_streams": 3})
    with pytest.raises(UsageError, match="built for 3 auxiliary streams"), runner:
        runner.timed(SETS, chosen(aux_streams=1)).__enter__()
    with runner, runner.timed(SETS, chosen(aux_streams=3)) as timed:
        assert timed.facts["aux_streams"] == 3


def test_layers_are_timed_by_the_vendors_profiler(trt: Trt) -> None:
    runner = trt.runner()
    with runner:
        found = runner.layer_times(SETS[0], chosen(), warmup=2, iterations=3)
    assert found == [[("conv + relu", 0.25), ("softmax", 0.5)]] * 3
    trt.begin({"refuse": "report"})
    with pytest.raises(RunError, match="not reported"), runner:
        runner.layer_times(SETS[0], chosen(), warmup=0, iterations=1)


def test_rtx_compiles_for_the_shape_before_it_is_timed(rtx: Trt) -> None:
    runner = rtx.runner()
    with runner, runner.timed(SETS, chosen()) as timed:
        assert STATE.record["runtime_config"]["strategies"] == ["EAGER", None]
        assert timed.facts["kernel_specialization"] == "eager"


def test_rtx_may_capture_graphs_itself_and_then_nobody_else_does(rtx: Trt) -> None:
    settings = chosen("compute-graph", engine_graphs=True)
    runner = rtx.runner()
    with runner, runner.timed(SETS, settings) as timed:
        warm(timed, settings)
        assert STATE.record["runtime_config"]["strategies"] == ["EAGER", "WHOLE_GRAPH_CAPTURE"]
        assert timed.facts["graph"] is True and timed.facts["graph_by"] == "tensorrt-rtx"
    assert "cudaStreamBeginCapture" not in rtx.runtime.calls


def test_an_rtx_without_these_strategies_works_or_says_so(rtx: Trt) -> None:
    class Older(rtx.module["IRuntimeConfig"]):  # type: ignore[misc, name-defined]
        def __getattribute__(self, name: str) -> Any:
            if name in ("cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy"):
                raise AttributeError(name)
            return super().__getattribute__(name)

        def _summary(self) -> dict[str, Any]:
            return {}

    rtx.module["IRuntimeConfig"] = Older
    runner = rtx.runner()
    with runner, runner.timed(SETS, chosen()) as timed:
        assert timed.facts["kernel_specialization"] is None
    with pytest.raises(UsageError, match=r"TensorRT-RTX 1\.7\.1\.116 captures no CUDA graphs by itself"), runner:
        runner.timed(SETS, chosen(engine_graphs=True)).__enter__()


def test_tensorrt_has_no_graphs_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Trt(monkeypatch, TENSORRT_11).runner()
    with pytest.raises(UsageError, match="TensorRT captures no CUDA graphs by itself"), runner:
        runner.timed(SETS, chosen(engine_graphs=True)).__enter__()


def test_rtx_is_not_asked_whether_it_can_be_captured_but_tried(rtx: Trt) -> None:
    """TensorRT-RTX 1.6.1 on Hopper says no, and captures and replays well."""
    settings = chosen("compute-graph")
    runner = rtx.runner()
    rtx.begin({"capturable": False})
    with runner, runner.timed(SETS, settings) as timed:
        warm(timed, settings)
        assert (timed.facts["graph"], timed.facts["graph_problem"]) == (True, None)


def test_the_runtime_cache_is_read_before_and_written_after(rtx: Trt, tmp_path: Path) -> None:
    cache = tmp_path / "kernels"
    cache.write_text('["old"]')
    runner = rtx.runner(cache)
    with runner, runner.timed(SETS, chosen()) as timed:
        assert timed.facts["runtime_cache"] is True
        assert STATE.record["runtime_config"]["kernels"] == ["old"]
    assert json.loads(cache.read_text()) == ["conv + relu, batch 3", "old"]


def test_a_fixed_shape_needs_no_profile(trt: Trt) -> None:
    tensors = [("x", "INPUT", "FLOAT", [3, 3]), ("y", "OUTPUT", "FLOAT", [3, 3])]
    runner = trt.runner(tensors=tensors)
    with runner, runner.timed(SETS, chosen(shapes={})) as timed:
        assert timed.facts["profile_ranges"] == {} and timed.facts["input_bytes"] == 36
