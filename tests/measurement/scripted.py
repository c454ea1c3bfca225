"""A clock that only moves when told, a timed path that moves it, and results to judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, repeat
from types import TracebackType
from typing import Any, Self

import numpy as np

from trtkit.artifacts.bench import BenchResult, Conditions, Subject
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import DeviceFacts
from trtkit.artifacts.timeline import Iteration, Timeline


class Clock:
    """Seconds, as a function."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class ScriptedTimed:
    """Iterations of scripted length, one after the other on a device that works while the host does not wait.

    ``log`` is what was called, in order.
    """

    def __init__(self, clock: Clock, times_ms: Iterable[float], *, look_ms: float = 0.0, **facts: Any) -> None:
        self.facts: dict[str, Any] = facts
        self.epoch_monotonic_s = clock.now
        self.log: list[str] = []
        self.in_flight: list[int] = []
        self.most_in_flight = 0
        self.look_ms = look_ms
        self._clock = clock
        self._times: Iterator[float] = iter(times_ms)
        self._free_ms = 0.0
        self._done: dict[int, Iteration] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def issue(self, slot: int) -> None:
        assert slot not in self.in_flight
        self.in_flight.append(slot)
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        now = (self._clock.now - self.epoch_monotonic_s) * 1e3
        start = max(now, self._free_ms)
        end = self._free_ms = start + next(self._times)
        self._done[slot] = Iteration(now, now, start, start, start, end, end, end)
        self.log.append(f"issue {slot}")

    def finish(self, slot: int) -> Iteration:
        assert self.in_flight[0] == slot, "the oldest is finished first"
        self.in_flight.pop(0)
        done = self._done[slot]
        self._clock.now = max(self._clock.now, self.epoch_monotonic_s + done.end_d2h_ms / 1e3)
        self.log.append(f"finish {slot}")
        return done

    def settle(self) -> None:
        assert not self.in_flight
        self.log.append("settle")

    def outputs(self, slot: int) -> dict[str, np.ndarray]:
        return {}

    def set_of(self, slot: int) -> int:
        return 0


def then(*first_ms: float, forever_ms: float) -> Iterator[float]:
    """These times, and then always the same."""
    return chain(first_ms, repeat(forever_ms))


def timeline(
    compute_ms: Iterable[float], *, h2d_ms: float = 0.0, d2h_ms: float = 0.0, enqueue_ms: float = 0.01, images: int = 8
) -> Timeline:
    """Iterations one after the other."""
    rows, now = [], 0.0
    for compute in compute_ms:
        h2d, done = now + h2d_ms, now + h2d_ms + compute
        rows.append(Iteration(now, now + enqueue_ms, now, h2d, h2d, done, done, done + d2h_ms))
        now = done + d2h_ms
    return Timeline(tuple(rows), images, 0.0)


CHECK = {
    "finite": True,
    "not_finite": {},
    "run_matches": True,
    "run_relative_l2": 0.0,
    "run_limit": 1e-2,
    "matches": True,
    "relative_l2": 1e-4,
    "limit": 1e-2,
    "agreement": None,
    "agreement_limit": 0.95,
    "against": "net.onnx in ONNX Runtime",
}


def clean(**changes: Any) -> BenchResult:
    """A measurement on a GPU that nothing can be said against; ``changes`` by part: ``conditions={"provider": …}``."""
    parts = {
        "subject": Subject(
            "net", "a" * 64, "net.plan", "b" * 64, "tensorrt-rtx", "1.6.1", "fp16", macs_per_image=10**9
        ),
        "device": DeviceFacts("cuda:0", "NVIDIA H100 80GB HBM3", max_sm_clock_mhz=1980, pcie="gen5 x16"),
        "settings": BenchSettings("compute-graph", 8),
        "conditions": Conditions(
            "NVIDIA H100 80GB HBM3",
            facts={"graph": True, "input_bytes": 8 * 3 * 224 * 224 * 4, "output_bytes": 8 * 4000},
            warmup={"iterations": 20, "seconds": 0.4, "first_ms": 11.0, "last_ms": 10.0, "steady": True},
            stopped="confident",
            sm_clock_mhz=(1980, 1980, 1950),
            check=CHECK,
        ),
        "timeline": timeline([10.0 + 0.001 * (i % 3) for i in range(300)]),
    }
    whole = {name: value for name, value in changes.items() if name not in parts or not isinstance(value, dict)}
    for name, fields in changes.items():
        if name not in whole:
            parts[name] = replace(parts[name], **fields)  # type: ignore[type-var]
    peak = {"peak_ops_per_s": 989.5e12, "peak_source": "NVIDIA H100 datasheet"}
    return BenchResult(**{**parts, **peak, **whole})
