"""Is there memory for an attempt? What is free on the machine, and when an estimate makes an attempt pointless."""

from __future__ import annotations

import contextlib
from pathlib import Path

from trtkit.units import bytes_text

__all__ = ["ENOUGH", "host_available_bytes", "too_large"]

ENOUGH = {"cuda": 1.5, "cpu": 0.8}
"""Largest estimate that is tried, as a multiple of the memory that is free. On a GPU a wrong attempt fails by itself
and harms nobody, and an engine may fuse away half of what the estimate counts; on the host the system kills processes,
others' too, so there a fifth is left alone."""

_MEMINFO = Path("/proc/meminfo")
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def host_available_bytes() -> int | None:
    """Memory that a process could take now without swapping, control group included; ``None`` where unknown."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    for limit, used in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
            found.append(max(int(limit.read_text()) - int(used.read_text()), 0))
    return min(found, default=None)


def too_large(estimate_bytes: int | None, available_bytes: int | None, kind: str) -> str | None:
    """Why an attempt is not worth making, a clause; ``None`` if it is, or if nothing is known.

    Args:
        estimate_bytes: what weights and activations need.
        available_bytes: what is free on the device (``cuda``) or on the machine (``cpu``).
        kind: which of the two it is.
    """
    if estimate_bytes is None or available_bytes is None or estimate_bytes <= ENOUGH[kind] * available_bytes:
        return None
    where = "on the device" if kind == "cuda" else "on this machine"
    return (
        f"it needs about {bytes_text(estimate_bytes)} for weights and activations, and {bytes_text(available_bytes)} "
        f"are free {where}"
    )
