"""The look at the CUDA driver, against a driver library that is played."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trtkit.backends import cuda


class Driver:
    """``libcuda`` with two GPUs, or with the given fault."""

    names = (b"NVIDIA H200", b"NVIDIA L4")
    attributes = ({75: 9, 76: 0}, {75: 8, 76: 9})

    def __init__(self, init: int = 0, count: int = 2) -> None:
        self._init, self._count = init, count

    def cuInit(self, flags: int) -> int:  # noqa: N802 (the driver's names)
        return self._init

    def cuGetErrorString(self, code: int, text: Any) -> int:  # noqa: N802
        if code == 100:
            text._obj.value = b"no CUDA-capable device is detected"
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 12080
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self._count
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = self.names[device.value]
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = self.attributes[device.value][attribute]
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, device: Any) -> int:  # noqa: N802
        size._obj.value = (device.value + 1) * 2**34
        return 0


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], cuda.CudaProbe]]:
    """Probe with the given driver library; an exception is what loading it raises."""

    def with_driver(driver: Any) -> cuda.CudaProbe:
        def load(name: str) -> Any:
            assert name == ("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
            if isinstance(driver, Exception):
                raise driver
            return driver

        monkeypatch.setattr(ctypes, "CDLL", load)
        monkeypatch.setattr(cuda, "_driver_version", lambda: "570.1")
        cuda.probe.cache_clear()
        return cuda.probe()

    yield with_driver
    cuda.probe.cache_clear()


def test_every_gpu_is_described(probe: Callable[[Any], cuda.CudaProbe]) -> None:
    found = probe(Driver())
    assert found.problem is None and (found.driver, found.cuda) == ("570.1", "12.8")
    assert [(g.index, g.name, g.compute_capability, g.memory_bytes) for g in found.gpus] == [
        (0, "NVIDIA H200", "9.0", 2**34),
        (1, "NVIDIA L4", "8.9", 2**35),
    ]
    assert cuda.probe() is found, "the driver is asked once a process"


@pytest.mark.parametrize(
    ("driver", "problem"),
    [
        (OSError("libcuda.so.1: cannot open"), "the NVIDIA driver is not installed on this machine"),
        (Driver(init=100), "the driver says 'no CUDA-capable device is detected' (error 100)"),
        (Driver(init=999), "the driver says 'unknown error' (error 999)"),
        (Driver(count=0), "the driver shows none to this process"),
    ],
)
def test_why_there_is_no_gpu(probe: Callable[[Any], cuda.CudaProbe], driver: Any, problem: str) -> None:
    found = probe(driver)
    assert found.gpus == () and found.problem == f"no CUDA device: {problem}"


def test_the_runtime_of_every_wheel_is_exposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, library in (
        ("cu13", "libcudart.so.13"),
        ("cuda_runtime", "libcudart.so.12"),
        ("cudnn", "libcudnn.so.9"),
    ):
        (tmp_path / "nvidia" / folder / "lib").mkdir(parents=True)
        (tmp_path / "nvidia" / folder / "lib" / library).touch()
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), str(tmp_path / "missing")])
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/opt/cuda{os.pathsep}")
    cuda.expose_runtime()
    cuda.expose_runtime()
    folders = os.environ["LD_LIBRARY_PATH"].split(os.pathsep)
    assert folders[0] == "/opt/cuda", "what the user set comes first"
    assert sorted(folders[1:]) == [str(tmp_path / "nvidia" / name / "lib") for name in ("cu13", "cuda_runtime")]
