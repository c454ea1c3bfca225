"""The timed path of the ``null`` family: it waits as long as a script says, and fails as the script says.

Whatever stands above a benchmark (ladder, verdicts, tables, scaling) is tested against it. The script is JSON in the
environment variable ``TRTKIT_NULL_SCRIPT``; see :class:`NullScript`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import Any, Self

import numpy as np

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.timeline import Iteration
from trtkit.backends.repeated import Samples
from trtkit.errors import RunError, UsageError

__all__ = ["FAILURES", "VARIABLE", "NullMonitor", "NullScript", "NullTimed"]

VARIABLE = "TRTKIT_NULL_SCRIPT"

FAILURES: dict[str, str] = {
    "device_memory": "Cuda Runtime (In allocateAsync at device.cpp:1: out of memory)",
    "workspace": "insufficient workspace: the engine needs 4096 bytes of scratch memory and got 1024",
    "profile": "input x has a dimension that is not in the range of optimization profile 0",
    "element_limit": "tensor y has a volume of more than 2^31-1 elements",
    "host_memory": "cudaMallocHost: not enough host memory to pin",
    "other": "the null device is tired",
}
"""What it says when it fails, by reason; ``timeout`` is scripted with ``hang_from_batch``."""


@dataclass(frozen=True)
class NullScript:
    """What a null device does.

    Attributes:
        compute_ms, image_ms: time of a computation: the first plus the second for each image.
        h2d_ms, d2h_ms: time of the copies (modes with copies).
        enqueue_ms: host's time in the call (never longer than what it starts).
        noise: relative standard deviation of the computing time, normal and seeded.
        warmup_ms: times added to the first iterations, as a just-in-time compiler does.
        fail_from_batch, fail_as, fail_when: from which batch size it fails, how (:data:`FAILURES`), and whether while
            it is ``prepared`` or when it is ``run``.
        hang_from_batch, crash_from_batch: from which batch size it never ends, or dies.
        outputs: ``zeros`` (as the runner gives), ``wrong`` or ``nan``.
        graph_problem: why no graph was captured, where the mode has one.
        seen: fields of :class:`trtkit.artifacts.bench.Conditions` that the monitor gives.
        facts: facts of the timed path, on top of its own.
    """

    compute_ms: float = 1.0
    image_ms: float = 0.01
    h2d_ms: float = 0.1
    d2h_ms: float = 0.05
    enqueue_ms: float = 0.02
    noise: float = 0.0
    warmup_ms: tuple[float, ...] = ()
    fail_from_batch: int | None = None
    fail_as: str = "device_memory"
    fail_when: str = "prepared"
    hang_from_batch: int | None = None
    crash_from_batch: int | None = None
    outputs: str = "zeros"
    graph_problem: str | None = None
    seen: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> NullScript:
        """The script in the environment; without one, everything goes well.

        Raises:
            UsageError: it is no JSON object of these names.
        """
        try:
            given = json.loads(environ.get(VARIABLE, "{}"))
            return cls(**{**given, "warmup_ms": tuple(given.get("warmup_ms", ()))})
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{VARIABLE} is no script of the null family: {error}.",
                hint=f"Give a JSON object of: {', '.join(entry.name for entry in fields(cls))}.",
            ) from error


class NullTimed:
    """See :class:`trtkit.backends.timing.Timed`; ``clock`` and ``sleep`` are handed in, so that tests need no waiting.

    Durations are exactly those of the script; iterations of one stream follow each other, and those of ``overlapped``
    copy while the one before computes.
    """

    def __init__(
        self,
        sets: Sequence[Mapping[str, Samples]],
        settings: BenchSettings,
        run: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]],
        script: NullScript,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sets, self._settings, self._run, self._script = sets, settings, run, script
        self._clock, self._sleep = clock, sleep
        self._rng = np.random.default_rng(settings.seed)
        self._count = 0
        self._copied_in = self._computed = self._copied_out = 0.0  # when each stream is free, in ms
        self._issued: dict[int, tuple[Iteration, int]] = {}
        self.epoch_monotonic_s = clock()
        outputs = self._ran(0)
        self.facts: dict[str, Any] = {
            "graph": False,
            "streams": 3 if settings.mode == "overlapped" else 1,
            "buffers": len(sets),
            "input_bytes": sum(array.nbytes for array in sets[0].values()),
            "output_bytes": sum(array.nbytes for array in outputs.values()),
            **script.facts,
        }
        self._fail("prepared")

    def _ran(self, index: int) -> dict[str, np.ndarray]:
        return self._run({name: np.asarray(values) for name, values in self._sets[index].items()})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._issued.clear()

    def issue(self, slot: int) -> None:
        """See :meth:`trtkit.backends.timing.Timed.issue`."""
        self._fail("run")
        now, script, settings = self._now(), self._script, self._settings
        copies = settings.mode in ("transfers", "overlapped")
        factor = max(1 + script.noise * float(self._rng.standard_normal()), 0.1)
        compute = (script.compute_ms + script.image_ms * settings.batch) * factor
        if self._count < len(script.warmup_ms):
            compute += script.warmup_ms[self._count]
        h2d, d2h = (script.h2d_ms, script.d2h_ms) if copies else (0.0, 0.0)
        if settings.mode == "overlapped":
            start_h2d = max(now, self._copied_in)
            start_compute = max(start_h2d + h2d, self._computed)
            start_d2h = max(start_compute + compute, self._copied_out)
        else:
            start_h2d = max(now, self._copied_out)
            start_compute = start_h2d + h2d
            start_d2h = start_compute + compute
        self._copied_in, self._computed, self._copied_out = start_h2d + h2d, start_compute + compute, start_d2h + d2h
        times = Iteration(
            now,
            now + min(script.enqueue_ms, compute),
            start_h2d,
            start_h2d + h2d,
            start_compute,
            start_compute + compute,
            start_d2h,
            start_d2h + d2h,
        )
        self._issued[slot] = times, self._count % len(self._sets)
        self._count += 1

    def finish(self, slot: int) -> Iteration:
        """See :meth:`trtkit.backends.timing.Timed.finish`."""
        times, _ = self._issued[slot]
        left = times.end_d2h_ms - self._now()
        if left > 0:
            self._sleep(left / 1e3)
        return times

    def settle(self) -> None:
        """Say whether a graph was captured, where the mode has one."""
        wanted = self._settings.mode == "compute-graph" or (self._settings.graph and self._settings.mode != "compute")
        self.facts["graph"] = wanted and self._script.graph_problem is None
        if wanted and self._script.graph_problem is not None:
            self.facts["graph_problem"] = self._script.graph_problem

    def outputs(self, slot: int) -> dict[str, np.ndarray]:
        """See :meth:`trtkit.backends.timing.Timed.outputs`."""
        made = self._ran(self.set_of(slot))
        if self._script.outputs == "zeros":
            return made
        value = float("nan") if self._script.outputs == "nan" else 1.0
        return {name: np.full_like(array, value) for name, array in made.items()}

    def set_of(self, slot: int) -> int:
        """See :meth:`trtkit.backends.timing.Timed.set_of`."""
        return self._issued[slot][1]

    def _now(self) -> float:
        return (self._clock() - self.epoch_monotonic_s) * 1e3

    def _fail(self, when: str) -> None:
        script, batch = self._script, self._settings.batch
        if script.crash_from_batch is not None and batch >= script.crash_from_batch:
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGSEGV)
        if script.hang_from_batch is not None and batch >= script.hang_from_batch:
            while True:
                self._sleep(3600)
        if script.fail_when == when and script.fail_from_batch is not None and batch >= script.fail_from_batch:
            raise RunError(f"Executing the plan failed: {FAILURES[script.fail_as]}", hint="Lower the batch size.")


class NullMonitor:
    """A :class:`trtkit.backends.timing.Monitor` that saw what the script says."""

    def __init__(self, script: NullScript) -> None:
        self._script = script

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def seen(self) -> dict[str, Any]:
        """See :meth:`trtkit.backends.timing.Monitor.seen`."""
        return dict(self._script.seen)
