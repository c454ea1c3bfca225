"""Watching a GPU during a measurement: a thread asks NVML for clocks, power, limits and foreign work.

It takes six short calls every 50 ms, outside of Python's lock; the share of the run's time that it spent is told as
``busy_fraction``, and processes are listed once a second only.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trtkit.artifacts.device import Device
from trtkit.backends.cuda_driver import Cuda
from trtkit.backends.nvml import Nvml
from trtkit.errors import TrtkitError

__all__ = ["NvmlMonitor", "foreign"]

_INTERVAL_S = 0.05
_PROCESSES_EVERY = 20
_STEPS = 5  # of the energy counter: with fewer, the moment of the first and the last is too uncertain
_PARTITIONED = "the GPU is partitioned (MIG): its processes cannot be told apart"
_UNSEEN = "process identifiers are the host's, not this container's: foreign processes are only counted"


class NvmlMonitor:
    """See :class:`trtkit.backends.timing.Monitor`. Without NVML it sees nothing, and says why.

    Args:
        device: the GPU's name to people; in a worker it is always the first that CUDA shows.
        interval_s: time between samples.
        pci_bus: its address, if it is known already.
    """

    def __init__(self, device: Device, *, interval_s: float = _INTERVAL_S, pci_bus: str | None = None) -> None:
        self._device, self._interval_s, self._pci_bus = device, interval_s, pci_bus
        self._stop = threading.Event()
        names = ("sm_clock_mhz", "memory_clock_mhz", "power_w", "temperature_c")
        self._samples: dict[str, list[Any]] = {name: [] for name in names}
        self._energy: list[tuple[float, float]] = []  # (seconds, joules), where the counter had moved on
        self._limits: dict[str, int] = {}
        self._count = self._limit_samples = 0
        self._foreign: set[str] = set()
        self._problems: list[str] = []
        self._busy_s = self._wall_s = 0.0

    def __enter__(self) -> Self:
        self._nvml = Nvml(self._pci_bus or self._address())
        self._nvml.__enter__()
        if self._nvml.problem is not None:
            self._problems.append(self._nvml.problem)
            return self
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="nvml-monitor", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._nvml.problem is None:
            self._stop.set()
            self._thread.join()
            self._wall_s = time.monotonic() - self._started
        self._nvml.__exit__(kind, error, trace)

    def seen(self) -> dict[str, Any]:
        """See :meth:`trtkit.backends.timing.Monitor.seen`; call it after leaving."""
        fractions = {name: count / self._limit_samples for name, count in sorted(self._limits.items())}
        return {
            **{name: tuple(values) for name, values in self._samples.items()},
            "throttle_reasons": fractions,
            "foreign_processes": tuple(sorted(self._foreign)),
            **_used(self._energy),
            "monitor": {
                "samples": self._count,
                "interval_s": self._interval_s,
                "busy_fraction": self._busy_s / self._wall_s if self._wall_s else None,
                "problem": "; ".join(dict.fromkeys(self._problems)) or None,
            },
        }

    def _address(self) -> str | None:
        try:
            with Cuda() as cuda:
                return cuda.pci_bus()
        except TrtkitError as error:
            self._problems.append(error.message)
            return None

    def _watch(self) -> None:
        while True:
            before = time.perf_counter()
            self._sample()
            spent = time.perf_counter() - before
            self._busy_s += spent
            if self._stop.wait(max(self._interval_s - spent, 0.0)):
                return

    def _sample(self) -> None:
        nvml = self._nvml
        values = (nvml.clock_mhz("SM"), nvml.clock_mhz("MEM"), nvml.power_w(), nvml.temperature_c())
        for taken, value in zip(self._samples.values(), values, strict=True):
            if value is not None:
                taken.append(value)
        joules = nvml.energy_j()
        if joules is not None and (not self._energy or joules != self._energy[-1][1]):
            self._energy.append((time.monotonic(), joules))
        limits = nvml.limits()
        if limits is not None:
            self._limit_samples += 1
            for name in limits:
                self._limits[name] = self._limits.get(name, 0) + 1
        if self._count % _PROCESSES_EVERY == 0:
            self._look_at_processes()
        self._count += 1

    def _look_at_processes(self) -> None:
        if self._nvml.partitioned():
            self._problems.append(_PARTITIONED)
            return
        pids = self._nvml.compute_pids()
        if pids is None:
            self._problems.append("NVML does not list the processes on the GPU")
            return
        found, counted = foreign(pids, own=_family(os.getpid()))
        if counted:
            self._problems.append(_UNSEEN)
        self._foreign.update(found)


def _used(energy: Sequence[tuple[float, float]]) -> dict[str, float]:
    """``energy_j`` and ``energy_s``: joules from the counter's first step to its last, and the seconds in between.

    The first entry is no step: the counter may have stood there for a while. Two steps are too few to tell.
    """
    steps = energy[1:]
    if len(steps) < _STEPS:
        return {}
    return {"energy_j": steps[-1][1] - steps[0][1], "energy_s": steps[-1][0] - steps[0][0]}


def foreign(pids: tuple[int, ...], *, own: frozenset[int]) -> tuple[tuple[str, ...], bool]:
    """Work of others among a GPU's processes, ``name (pid)`` each, and whether they could only be counted.

    A process that uses a GPU is listed itself. Where it is not, the numbers are those of another namespace: then one of
    the list is ours, and the others are foreign, without names.
    """
    if own & set(pids):
        return tuple(f"{_name(pid)} ({pid})" for pid in pids if pid not in own), False
    if len(pids) > 1:
        count = len(pids) - 1
        return (f"{count} process{'es' * (count > 1)} of unknown name",), True
    return (), False


def _family(pid: int) -> frozenset[int]:
    """A process, its ancestors, and its descendants, as far as the system tells."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:  # "pid (name) state ppid …", and the name may hold spaces and brackets
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
    parents.setdefault(pid, os.getppid())
    return frozenset({*_lineage(pid, parents), *(other for other in parents if pid in _lineage(other, parents))})


def _lineage(pid: int, parents: dict[int, int]) -> tuple[int, ...]:
    """A process and its ancestors, without the system's first."""
    found: list[int] = []
    while pid > 1 and pid not in found:
        found.append(pid)
        pid = parents.get(pid, 0)
    return tuple(found)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() or "process"
    except OSError:
        return "process"
