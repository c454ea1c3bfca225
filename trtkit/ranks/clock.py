"""Whether processes share one monotonic clock, and how far the clocks of two machines are apart."""

from __future__ import annotations

import contextlib
import time
import uuid
from pathlib import Path

__all__ = ["Pings", "identity", "machine"]

_PARTS = (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/timens_offsets"))


def identity() -> str:
    """Equal on processes that share a monotonic clock: the kernel's boot and its time namespace."""
    found = []
    for part in _PARTS:
        with contextlib.suppress(OSError):
            found.append(part.read_text().strip())
    return "\n".join(found) or f"unknown {time.monotonic()}"


def machine() -> str:
    """Equal on processes of one running machine, whatever it is called: the kernel's boot, else a network card's."""
    with contextlib.suppress(OSError):
        return _PARTS[0].read_text().strip()
    return f"{uuid.getnode():012x}"


class Pings:
    """The difference of two clocks from messages there and back: the shortest way bounds it best (Cristian 1989).

    Attributes:
        offset_s: the other clock minus this one, in seconds; 0 before the first ping.
        error_s: bound of its error: half the fastest round trip.
    """

    def __init__(self) -> None:
        self.offset_s, self.error_s = 0.0, 0.0
        self._fastest: float | None = None

    def add(self, sent_s: float, theirs_s: float, arrived_s: float) -> None:
        """One ping: sent and arrived by this clock, answered at ``theirs_s`` by the other."""
        trip = arrived_s - sent_s
        if self._fastest is None or trip < self._fastest:
            self._fastest = trip
            self.error_s, self.offset_s = trip / 2, theirs_s - (sent_s + arrived_s) / 2
