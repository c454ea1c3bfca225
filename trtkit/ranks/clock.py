"""Whether processes share one monotonic clock, and how far the clocks of two machines are apart."""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Drift", "Pings", "drift", "identity", "machine"]

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
        at_s: when it was made, by this clock; ``None`` before the first ping.
    """

    def __init__(self) -> None:
        self.offset_s, self.error_s = 0.0, 0.0
        self.at_s: float | None = None
        self._fastest: float | None = None

    def add(self, sent_s: float, theirs_s: float, arrived_s: float) -> None:
        """One ping: sent and arrived by this clock, answered at ``theirs_s`` by the other."""
        trip = arrived_s - sent_s
        if self._fastest is None or trip < self._fastest:
            self._fastest, self.at_s = trip, arrived_s
            self.error_s, self.offset_s = trip / 2, theirs_s - (sent_s + arrived_s) / 2


@dataclass(frozen=True)
class Drift:
    """How two clocks moved against each other between two estimates.

    Attributes:
        seconds: the later difference minus the earlier one; ``None`` if it is not known.
        error_s: bound of its error: the two estimates' own, added.
    """

    seconds: float | None
    error_s: float = 0.0


def drift(before: Pings, after: Pings) -> Drift:
    """From the first estimate to the second."""
    if before.at_s is None or after.at_s is None:
        return Drift(None)
    return Drift(after.offset_s - before.offset_s, before.error_s + after.error_s)
