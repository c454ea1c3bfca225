"""Watches the processors of a measurement: how much of them other processes took. Linux's ``/proc/stat``, no thread."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["CpuMonitor"]

_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # columns of a processor's line: idle, iowait
_GUEST = 8  # guest and guest_nice are contained in user and nice


class CpuMonitor:
    """A :class:`~trtkit.backends.timing.Monitor` of processors: two readings, one at each end.

    Args:
        affinity: the processors; empty for all.
        stat: where the system counts.
    """

    def __init__(self, affinity: tuple[int, ...] = (), stat: Path = _STAT) -> None:
        self._affinity = affinity
        self._stat = stat
        self._foreign: float | None = None

    def __enter__(self) -> Self:
        self._before = self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        after = self._read()
        if self._before is None or after is None:
            return
        (busy_0, own_0, wall_0, count), (busy_1, own_1, wall_1, _) = self._before, after
        available = (wall_1 - wall_0) * count
        if available > 0:
            self._foreign = min(max((busy_1 - busy_0 - (own_1 - own_0)) / available, 0.0), 1.0)

    def seen(self) -> dict[str, Any]:
        """``foreign_cpu``: share of the processors' time that went to others, stolen time included, 0 to 1.

        The system counts in hundredths of a second, so a short measurement has a coarse figure; ``None`` where it does
        not count at all.
        """
        return {"foreign_cpu": self._foreign}

    def _read(self) -> tuple[float, float, float, int] | None:
        """Busy seconds of the processors, this process's own CPU seconds, the wall clock, number of processors."""
        try:
            lines = self._stat.read_text().splitlines()
            ticks = os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, AttributeError):
            return None
        busy, count = 0, 0
        for line in lines:
            name, *columns = line.split()
            number = name.removeprefix("cpu")
            if name == number or not number.isdigit() or (self._affinity and int(number) not in self._affinity):
                continue
            values = [int(column) for column in columns[:_GUEST]]
            busy += sum(values) - sum(values[column] for column in _IDLE)
            count += 1
        return (busy / ticks, time.process_time(), time.monotonic(), count) if count and busy else None
