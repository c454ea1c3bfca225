"""The worker job that lets two engines run in turn, on a pretended GPU: from CUDA graphs, the faster found."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest

from tests.backends.cuda_stand_in import Device as PretendedDevice
from tests.backends.cuda_stand_in import Runtime, Work
from tests.backends.test_cuda_timed import VirtualTime
from tests.backends.test_trt_timed import Trt, rtx
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.device import Device
from trtkit.artifacts.model import TensorSpec
from trtkit.backends import bench_setup, contest_jobs, cuda_driver, cuda_timed, registry
from trtkit.backends.base import LoadOptions
from trtkit.backends.cuda_timed import CudaTimed
from trtkit.backends.trt_runner import TrtRunner
from trtkit.measurement import contest as contests
from trtkit.measurement import harness
from trtkit.measurement.contest import Contest, ContestRule

__all__ = ["rtx"]
"""A fixture that is shared."""

SECONDS = {"slow.plan": 1.2e-3, "fast.plan": 1e-3, "twin.plan": 1e-3}


class Engine:
    """A loaded plan whose executions take what :data:`SECONDS` says of its file."""

    modes = tuple(MODES)
    where = "Pretended GPU"

    def __init__(self, runtime: Runtime, name: str) -> None:
        self.inputs = (TensorSpec("x", "float32", ("N", 256)),)
        self.outputs = (TensorSpec("y", "float32", ("N", 256)),)
        self._runtime, self._name = runtime, name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": 2 * feeds["x"]}

    def timed(self, sets: Sequence[Mapping[str, np.ndarray]], settings: BenchSettings) -> CudaTimed:
        return CudaTimed(lambda stream: Work(self._runtime, stream, SECONDS[self._name]), sets, settings)


class Family:
    """In the place of an engine family."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self.options = runtime, list[LoadOptions]()

    def load(self, plan: Any, options: LoadOptions) -> Engine:
        self.options.append(options)
        return Engine(self._runtime, plan.name)


class Ear:
    """A reporter that keeps the phases that it hears of."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    def progress(self, phase: str, step: int, steps: int | None, parent: str | None = None) -> None:
        self.phases.append(phase)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """One pretended GPU with one virtual clock for the whole job."""
    made = Runtime(PretendedDevice(l2_bytes=4096))
    clock = VirtualTime(made.device)
    monkeypatch.setattr(cuda_driver, "bindings", lambda: made)
    monkeypatch.setattr(cuda_timed, "time", clock)
    for module, name, real in ((harness, "warm_up", harness.warm_up), (contest_jobs, "alternate", contests.alternate)):
        monkeypatch.setattr(module, name, functools.partial(real, clock=clock.monotonic))
    return made


def held(monkeypatch: pytest.MonkeyPatch, runtime: Runtime, *plans: str, mode: str = "compute-graph") -> Contest:
    family, ear = Family(runtime), Ear()
    monkeypatch.setattr(registry, "get", lambda name: family)
    draws: list[int] = []
    real = bench_setup.input_sets
    monkeypatch.setattr(bench_setup, "input_sets", lambda *given: draws.append(1) or real(*given))
    kernels = [f"/nowhere/{plan}.kernels" for plan in plans]
    answer = contest_jobs.contest(
        ear,
        family="anything",
        plans=[f"/nowhere/{plan}" for plan in plans],
        device=asdict(Device("cuda")),
        settings=BenchSettings(mode, 4, {"x": (4, 256)}, depth=1, spinning=False, warmup_s=0.01).to_json(),
        rule=ContestRule(burst_s=0.02, limit_s=5.0).to_json(),
        runtime_caches=kernels,
    )
    assert list(dict.fromkeys(ear.phases)) == ["Loading", "Warming up", "Measuring in turn"]
    assert [str(options.runtime_cache) for options in family.options] == kernels
    assert draws == [1], "both are fed the same"
    assert not any(options.on_cpu for options in family.options)
    assert runtime.left == {}
    return Contest.from_json(answer)


def test_the_faster_of_two_engines_is_found_from_their_graphs(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime
) -> None:
    found = held(monkeypatch, runtime, "slow.plan", "fast.plan")
    assert found.faster and found.gain == pytest.approx(1.2, rel=1e-3)
    assert (found.first_ms, found.second_ms) == (pytest.approx(1.2, rel=2e-3), pytest.approx(1.0, rel=2e-3))
    assert found.stopped in ("confident", "decided") and found.rounds == ContestRule().rounds
    graphs = runtime.calls.count("cudaGraphInstantiate")
    assert graphs >= 2, "both have graphs of their own"
    assert runtime.calls.count("cudaGraphLaunch") > 20 * found.rounds


def test_the_slower_of_two_engines_does_not_win(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> None:
    found = held(monkeypatch, runtime, "fast.plan", "slow.plan")
    assert not found.faster and found.gain == pytest.approx(1 / 1.2, rel=1e-3)
    assert found.reversed.faster


@pytest.mark.parametrize("mode", ["compute", "compute-graph"])
def test_of_two_equal_engines_neither_is_faster(monkeypatch: pytest.MonkeyPatch, runtime: Runtime, mode: str) -> None:
    found = held(monkeypatch, runtime, "fast.plan", "twin.plan", mode=mode)
    assert not found.faster and not found.reversed.faster
    assert found.gain == pytest.approx(1.0, rel=1e-3)
    assert ("cudaGraphLaunch" in runtime.calls) is (mode == "compute-graph")


def test_kernels_are_compiled_and_kept_before_the_contest(
    monkeypatch: pytest.MonkeyPatch, rtx: Trt, tmp_path: Path
) -> None:
    """Real code of trtkit between the stand-ins of TensorRT-RTX and of CUDA."""
    cache, options, sets = tmp_path / "a.kernels", list[LoadOptions](), list[Any]()

    class Rtx:
        def load(self, plan: Path, given: LoadOptions) -> TrtRunner:
            options.append(given)
            return rtx.runner(given.runtime_cache)

    timed = TrtRunner.timed
    monkeypatch.setattr(TrtRunner, "timed", lambda self, given, how: sets.append(given) or timed(self, given, how))
    monkeypatch.setattr(registry, "get", lambda name: Rtx())
    ear = Ear()
    answer = contest_jobs.compile_kernels(
        ear,
        family="tensorrt-rtx",
        plan="/nowhere/a.plan",
        device=asdict(Device("cuda")),
        settings=BenchSettings("compute-graph", 3, {"x": (3, 3)}, depth=1).to_json(),
        runtime_cache=str(cache),
    )
    assert answer == {"iterations": 2} and set(ear.phases) == {"Compiling kernels"}
    assert json.loads(cache.read_text()) == ["conv + relu, batch 3"], "written when the engine is closed"
    assert len(sets[0]) == 1 and len(rtx.addresses) == 2 and rtx.runtime.left == {}
    assert options[0].runtime_cache == cache and not options[0].on_cpu
    assert "cudaGraphInstantiate" not in rtx.runtime.calls, "nothing is captured"
