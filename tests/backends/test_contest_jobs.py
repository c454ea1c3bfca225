"""The worker job that lets two engines run in turn, on a pretended GPU: from CUDA graphs, the faster found."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest

from tests.backends.cuda_stand_in import Device as PretendedDevice
from tests.backends.cuda_stand_in import Runtime, Work
from tests.backends.test_cuda_timed import VirtualTime
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.device import Device
from trtkit.artifacts.model import TensorSpec
from trtkit.backends import contest_jobs, cuda_driver, cuda_timed, registry
from trtkit.backends.base import LoadOptions
from trtkit.backends.cuda_timed import CudaTimed
from trtkit.measurement import contest as contests
from trtkit.measurement import harness
from trtkit.measurement.contest import Contest, ContestRule

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
    answer = contest_jobs.contest(
        ear,
        family="null",  # only the description of the device is asked of it
        plans=[f"/nowhere/{plan}" for plan in plans],
        device=asdict(Device("cuda")),
        settings=BenchSettings(mode, 4, {"x": (4, 256)}, depth=1, spinning=False, warmup_s=0.01).to_json(),
        rule=ContestRule(burst_s=0.02, limit_s=5.0).to_json(),
    )
    assert list(dict.fromkeys(ear.phases)) == ["Loading", "Warming up", "Measuring in turn"]
    assert len(family.options) == 2 and not any(options.on_cpu for options in family.options)
    assert runtime.left == {}
    return Contest.from_json({name: value for name, value in answer.items() if name != "device"})


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
