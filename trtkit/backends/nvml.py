"""NVML's view of one GPU: clocks, power, limits, processes. What it does not tell is ``None``; it never raises.

A GPU is found by its PCI address or its UUID, because NVML does not know ``CUDA_VISIBLE_DEVICES``. A part of a
partitioned GPU (MIG) has no clocks and no power of its own: the whole GPU is asked.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

__all__ = ["LIMITS", "Nvml"]

LIMITS: dict[int, str] = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""Bits of NVML's clock event reasons, under the names of ``nvidia-smi --query-gpu=clocks_event_reasons.…`` (nvml.h)."""


class Nvml:
    """One GPU in NVML; a context manager.

    Args:
        pci_bus: such as ``0000:3b:00.0``.
        uuid: such as ``GPU-…``, tried when the address is unknown to NVML.

    Attributes:
        problem: why nothing is known, a sentence; ``None`` when something is.
    """

    def __init__(self, pci_bus: str | None, uuid: str | None = None) -> None:
        self.problem: str | None = None
        self._wanted = (pci_bus, uuid)
        self._nvml: Any = None
        self._handle: Any = None

    def __enter__(self) -> Self:
        try:
            nvml = importlib.import_module("pynvml")
            nvml.nvmlInit()
        except Exception as error:  # NVML raises its own classes, and the package may be absent
            self.problem = f"NVML does not start: {error}"
            return self
        self._nvml = nvml
        pci_bus, uuid = self._wanted
        for find, name in ((nvml.nvmlDeviceGetHandleByPciBusId, pci_bus), (nvml.nvmlDeviceGetHandleByUUID, uuid)):
            if name is not None and self._handle is None:
                self._handle = self._ask(find, name.encode())
        if self._handle is None:
            self.problem = f"NVML does not know the GPU {pci_bus or uuid}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._nvml is not None:
            self._ask(self._nvml.nvmlShutdown)
        self._handle = None

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception:  # not supported, no permission, lost: all of them are "unknown"
            return None

    def get(self, name: str, *arguments: Any) -> Any:
        """The answer of ``nvmlDeviceGet{name}``; ``None`` where this GPU, driver or user gets none."""
        function = getattr(self._nvml, f"nvmlDeviceGet{name}", None)
        return None if self._handle is None or function is None else self._ask(function, self._handle, *arguments)

    def clock_mhz(self, which: str) -> int | None:
        """The clock now: ``SM`` or ``MEM``."""
        return None if self._handle is None else self.get("ClockInfo", getattr(self._nvml, f"NVML_CLOCK_{which}"))

    def max_clock_mhz(self, which: str) -> int | None:
        """The highest clock: ``SM`` or ``MEM``."""
        return None if self._handle is None else self.get("MaxClockInfo", getattr(self._nvml, f"NVML_CLOCK_{which}"))

    def power_w(self) -> float | None:
        """Board power in watts: averaged by the driver over a second on recent GPUs."""
        milliwatts = self.get("PowerUsage")
        return None if milliwatts is None else milliwatts / 1e3

    def energy_j(self) -> float | None:
        """Energy that the board has taken since the driver was loaded, in joules (Volta and newer)."""
        millijoules = self.get("TotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1e3

    def power_limit_w(self) -> float | None:
        """Power limit in force, in watts."""
        milliwatts = self.get("EnforcedPowerLimit")
        return None if milliwatts is None else milliwatts / 1e3

    def temperature_c(self) -> int | None:
        """Of the GPU's core, in °C."""
        if self._handle is None:
            return None
        found: int | None = self.get("Temperature", self._nvml.NVML_TEMPERATURE_GPU)
        return found

    def limits(self) -> tuple[str, ...] | None:
        """What holds the clocks back now, in the names of :data:`LIMITS`."""
        bits = self.get("CurrentClocksEventReasons")
        if bits is None:
            bits = self.get("CurrentClocksThrottleReasons")  # its name before driver 535
        return None if bits is None else tuple(name for bit, name in LIMITS.items() if bits & bit)

    def compute_pids(self) -> tuple[int, ...] | None:
        """Process identifiers of compute work on the GPU, as NVML numbers them (the host's, also in a container)."""
        found = self.get("ComputeRunningProcesses")
        return None if found is None else tuple(int(process.pid) for process in found)

    def partitioned(self) -> bool:
        """Whether the GPU is divided into MIG instances."""
        mode = self.get("MigMode")
        return bool(mode and mode[0])

    def text(self, name: str) -> str | None:
        """An answer that is text, such as ``Name``."""
        found = self.get(name)
        return found.decode(errors="replace") if isinstance(found, bytes) else found

    def driver(self) -> str | None:
        """Version of the driver."""
        found = None if self._nvml is None else self._ask(self._nvml.nvmlSystemGetDriverVersion)
        return found.decode(errors="replace") if isinstance(found, bytes) else found
