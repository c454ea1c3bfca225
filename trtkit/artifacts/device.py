"""What is measured on: the names that people type (``cpu``, ``cuda:1``, ``all``) and the facts of the device found."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trtkit.errors import UsageError

__all__ = ["Device", "DeviceFacts", "parse_devices", "processors", "share", "worker_env"]


_CPU_PART = re.compile(r"^cpu:(\d+)/([1-9]\d*)$")


@dataclass(frozen=True, order=True)
class Device:
    """One place to execute.

    Attributes:
        kind: ``cuda`` or ``cpu``.
        index: CUDA's ordinal in PCI bus order, among the GPUs that this process may see; of a CPU, which of its parts.
        parts: into how many equal parts a CPU's cores are divided; 1 is all of them.
    """

    kind: Literal["cuda", "cpu"]
    index: int = 0
    parts: int = 1

    def __str__(self) -> str:
        if self.kind == "cuda":
            return f"cuda:{self.index}"
        return "cpu" if self.parts == 1 else f"cpu:{self.index}/{self.parts}"


@dataclass(frozen=True)
class DeviceFacts:
    """What a device is, as far as it could be found out; unknown is ``None``.

    Attributes:
        device: its name on the command line, ``cuda:0``.
        name: ``NVIDIA H200``, or the processor's name.
        compute_capability: ``9.0``; ``None`` for a CPU.
        memory_bytes: of the device (the machine's for a CPU).
        uuid, pci_bus: how the driver names it.
        pcie: link in force, such as ``gen5 x16``, and ``pcie_max`` the best that it can do.
        power_limit_w: enforced power limit in watts.
        max_sm_clock_mhz: highest SM clock in MHz.
        driver, cuda: driver version and the CUDA version that it supports.
        threads: intra-op threads used (CPU).
        affinity: processors that the measurement was pinned to (CPU, and the host side of a GPU).
        numa_node: memory node next to the device.
    """

    device: str
    name: str
    compute_capability: str | None = None
    memory_bytes: int | None = None
    uuid: str | None = None
    pci_bus: str | None = None
    pcie: str | None = None
    pcie_max: str | None = None
    power_limit_w: float | None = None
    max_sm_clock_mhz: int | None = None
    driver: str | None = None
    cuda: str | None = None
    threads: int | None = None
    affinity: tuple[int, ...] = ()
    numa_node: int | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {**asdict(self), "affinity": list(self.affinity)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DeviceFacts:
        """The inverse of :meth:`to_json`."""
        return cls(**{**value, "affinity": tuple(value["affinity"])})


def parse_devices(text: str, *, gpus: int) -> tuple[Device, ...]:
    """``cpu``, ``cuda:0``, ``0``, ``0,1,cpu``, ``cpu*2`` (the cores in two halves), ``all`` (every GPU, else the CPU).

    Args:
        text: what was typed.
        gpus: number of GPUs that the driver shows.

    Raises:
        UsageError: an unknown word, a repeated device, or a GPU that is not there.
    """
    typed = [word.strip().lower() for word in text.split(",") if word.strip()]
    if typed == ["all"]:
        return tuple(Device("cuda", index) for index in range(gpus)) or (Device("cpu"),)
    found: list[Device] = []
    for word in (part for entry in typed for part in _parts_of_cpu(entry)):
        number = word.removeprefix("cuda:").removeprefix("gpu:")
        if word == "cpu":
            device = Device("cpu")
        elif match := _CPU_PART.match(word):
            device = Device("cpu", int(match[1]), int(match[2]))
        elif word in ("cuda", "gpu"):
            device = Device("cuda", 0)
        elif number.isascii() and number.isdigit():
            device = Device("cuda", int(number))
        else:
            raise UsageError(
                f"{word!r} is no device.",
                hint="Give cpu, cuda:N (or just N), a list such as 0,1,cpu, all, or cpu*N (N workers share the cores).",
            )
        if device.kind == "cpu" and device.index >= device.parts:
            raise UsageError(
                f"{device} is none of {device.parts} parts.",
                hint=f"Parts are cpu:0/{device.parts} to cpu:{device.parts - 1}/{device.parts}.",
            )
        if device.kind == "cuda" and device.index >= gpus:
            shown = "no CUDA device" if gpus == 0 else f"{gpus} CUDA device{'s' * (gpus > 1)}, 0 to {gpus - 1}"
            raise UsageError(
                f"There is no {device}: the driver shows {shown} to this process.",
                hint="Run trtkit doctor; --device cpu always works.",
            )
        if device in found:
            raise UsageError(f"{device} is named twice in {text!r}.", hint="Name each device once.")
        found.append(device)
    if not found:
        raise UsageError("No device was named.", hint="Give cpu, cuda:N, a list such as 0,1,cpu, or all.")
    return tuple(found)


def _parts_of_cpu(word: str) -> list[str]:
    """``cpu*2`` → ``cpu:0/2``, ``cpu:1/2``; any other word is itself."""
    kind, star, count = word.partition("*")
    if kind != "cpu" or not star or not (count.isascii() and count.isdigit() and int(count)):
        return [word]
    return [str(Device("cpu", index, int(count))) for index in range(int(count))]


def worker_env(device: Device, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment of a worker that shall see this device and no other: inside it, the GPU is number 0.

    Args:
        device: one of :func:`parse_devices`.
        environ: where the user's own ``CUDA_VISIBLE_DEVICES`` stands; its entries (numbers or UUIDs) are what a
            device's index counts.
    """
    if device.kind == "cpu":
        return {}
    visible = [entry.strip() for entry in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    chosen = visible[device.index] if device.index < len(visible) else str(device.index)
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": chosen}


def processors(device: Device) -> tuple[int, ...]:
    """The processors that a CPU device is made of: all that this process may use, or this part's equal share of them.

    Empty for a GPU, and where the system has no notion of it. Where there are fewer processors than parts, parts share.
    """
    if device.kind != "cpu" or not hasattr(os, "sched_getaffinity"):
        return ()
    return share(device, sorted(os.sched_getaffinity(0)))


def share(device: Device, usable: Sequence[int]) -> tuple[int, ...]:
    """The part that a CPU device is of ``usable`` processors, in ascending order; see :func:`processors`."""
    low = device.index * len(usable) // device.parts
    high = (device.index + 1) * len(usable) // device.parts
    return tuple(usable[low : max(high, low + 1)])
