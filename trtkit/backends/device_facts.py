"""What the device of a measurement is: the GPU as CUDA and NVML describe it, or the processor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trtkit import environment
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device, DeviceFacts
from trtkit.backends import cuda
from trtkit.backends.cuda_driver import Cuda
from trtkit.backends.nvml import Nvml
from trtkit.errors import TrtkitError

__all__ = ["describe", "processors_beside_gpu"]


def describe(device: Device, settings: BenchSettings) -> DeviceFacts:
    """Look at the device in this process, a worker that sees the GPU in question as its first.

    What cannot be found out is ``None``; a GPU is described from the driver alone where ``cuda-bindings`` or NVML is
    missing.
    """
    affinity = tuple(settings.affinity) or _allowed()
    if device.kind == "cpu":
        return DeviceFacts(
            device=str(device),
            name=environment.cpu_name(),
            memory_bytes=environment.describe().memory_bytes,
            threads=settings.threads or len(affinity) or os.cpu_count(),
            affinity=affinity,
        )
    return _gpu(device, affinity)


def _gpu(device: Device, affinity: tuple[int, ...]) -> DeviceFacts:
    found = cuda.probe()
    gpu = found.gpus[0] if found.gpus else None
    pci_bus, uuid = _names()
    with Nvml(pci_bus, uuid) as nvml:
        return DeviceFacts(
            device=str(device),
            name=gpu.name if gpu else nvml.text("Name") or "unknown GPU",
            compute_capability=gpu.compute_capability if gpu else None,
            memory_bytes=gpu.memory_bytes if gpu else None,
            uuid=uuid,
            pci_bus=pci_bus,
            pcie=_link(nvml.get("CurrPcieLinkGeneration"), nvml.get("CurrPcieLinkWidth")),
            pcie_max=_link(nvml.get("MaxPcieLinkGeneration"), nvml.get("MaxPcieLinkWidth")),
            power_limit_w=nvml.power_limit_w(),
            max_sm_clock_mhz=nvml.max_clock_mhz("SM"),
            driver=nvml.driver() or found.driver,
            cuda=found.cuda,
            affinity=affinity,
            numa_node=_numa_node(pci_bus),
        )


def _names() -> tuple[str | None, str | None]:
    """PCI address and UUID of the GPU."""
    try:
        with Cuda() as device:
            return device.pci_bus(), _uuid(device.properties())
    except TrtkitError:
        return None, None


def _uuid(properties: Any) -> str:
    digits = bytes(properties.uuid.bytes).hex()
    return f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _link(generation: int | None, width: int | None) -> str | None:
    return None if generation is None or width is None else f"gen{generation} x{width}"


def _numa_node(pci_bus: str | None) -> int | None:
    try:
        node = int(Path(f"/sys/bus/pci/devices/{(pci_bus or '').lower()}/numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None  # -1: the machine has one node, or the firmware does not say


def _allowed() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def processors_beside_gpu(root: Path = Path("/sys/bus/pci/devices")) -> tuple[int, ...]:
    """Those of this process's processors that are nearest to the first GPU it sees; empty where that is unknown.

    A thread that is pinned to them also gets its memory from the node beside the GPU: Linux allocates where it is first
    touched.
    """
    pci_bus, _ = _names()
    try:
        text = (root / (pci_bus or "none").lower() / "local_cpulist").read_text().strip()
        near = {number for part in text.split(",") if part for number in _span(part)}
    except (OSError, ValueError):
        return ()
    return tuple(number for number in _allowed() if number in near)


def _span(text: str) -> range:
    low, _, high = text.partition("-")
    return range(int(low), int(high or low) + 1)
