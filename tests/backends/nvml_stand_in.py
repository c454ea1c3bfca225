"""A stand-in of ``pynvml``: names, constants and errors are the real module's, answers are scripted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

PCI_BUS = "0000:3b:00.0"


class Pynvml:
    """Stands where the module stands.

    Args:
        answers: function name without ``nvmlDeviceGet`` → its answer, or a list of answers, the last for ever. What is
            not there raises NVML's ``NOT_SUPPORTED``.
        there: whether the library can be loaded.
        known: the GPU's PCI address as NVML knows it.
    """

    def __init__(self, answers: dict[str, Any] | None = None, *, there: bool = True, known: str = PCI_BUS) -> None:
        self._real = pytest.importorskip("pynvml")
        self.answers, self.there, self.known = dict(answers or {}), there, known
        self.open = 0
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)  # AttributeError for a name that the real module has not
        if not name.startswith("nvmlDeviceGet"):
            return real
        return lambda *arguments: self._answer(name.removeprefix("nvmlDeviceGet"), *arguments)

    def _answer(self, name: str, *arguments: Any) -> Any:
        assert self.open == 1, f"{name} is asked of a library that was not started"
        self.asked.append(name)
        key = name if len(arguments) < 2 else f"{name} {arguments[1]}"
        if key not in self.answers:
            raise self._real.NVMLError(self._real.NVML_ERROR_NOT_SUPPORTED)
        value = self.answers[key]
        if isinstance(value, list):
            return value.pop(0) if len(value) > 1 else value[0]
        return value

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.there:
            raise self._real.NVMLError(self._real.NVML_ERROR_LIBRARY_NOT_FOUND)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetHandleByPciBusId(self, name: bytes) -> str:  # noqa: N802
        if name.decode() != self.known:
            raise self._real.NVMLError(self._real.NVML_ERROR_NOT_FOUND)
        return "handle"

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.159.04"


def processes(*pids: int) -> list[Any]:
    """One answer that lists these processes."""
    return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in pids]
