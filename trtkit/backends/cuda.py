"""The CUDA driver, asked directly: which GPUs are here, and does CUDA start at all?

TensorRT must not be asked: without a driver its runtime object exists and the next call on it is a segmentation fault.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from trtkit.backends.base import Gpu

__all__ = ["CudaProbe", "expose_runtime", "probe"]

_COMPUTE_CAPABILITY_MAJOR = 75  # CUdevice_attribute, CUDA driver API
_COMPUTE_CAPABILITY_MINOR = 76


@dataclass(frozen=True)
class CudaProbe:
    """What the CUDA driver says.

    Attributes:
        gpus: the devices that this process may use, in CUDA's order.
        driver: the driver's version, ``580.159.04``; ``None`` without one.
        cuda: highest CUDA version that the driver supports, ``13.0``; ``None`` without a driver.
        problem: why there is no usable device, a sentence; ``None`` when there is one.
    """

    gpus: tuple[Gpu, ...]
    driver: str | None
    cuda: str | None
    problem: str | None


@functools.cache
def probe() -> CudaProbe:
    """Ask the driver once in this process. Never raises."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return CudaProbe((), None, None, "no CUDA device: the NVIDIA driver is not installed on this machine")
    code = driver.cuInit(0)
    if code != 0:
        said = ctypes.c_char_p()
        driver.cuGetErrorString(code, ctypes.byref(said))
        words = (said.value or b"unknown error").decode(errors="replace")
        return CudaProbe((), _driver_version(), None, f"no CUDA device: the driver says {words!r} (error {code})")
    version = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    gpus = tuple(_describe(driver, index) for index in range(count.value))
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    problem = None if gpus else "no CUDA device: the driver shows none to this process"
    return CudaProbe(gpus, _driver_version(), cuda, problem)


def expose_runtime() -> None:
    """Let Polygraphy find the CUDA runtime library of pip's wheels, in this process and before it first uses CUDA.

    Its own search (0.53) reads ``LD_LIBRARY_PATH`` and knows the folder of CUDA 12's wheel, ``nvidia/cuda_runtime``,
    but not ``nvidia/cu13`` of CUDA 13's. The variable is for that search alone: the system's loader read it long ago.
    """
    wheels = (path.parent for entry in sys.path if entry for path in Path(entry).glob("nvidia/*/lib/libcudart.so*"))
    known = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(dict.fromkeys([*known, *map(str, wheels)]))


def _describe(driver: ctypes.CDLL, index: int) -> Gpu:
    device = ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), index)
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), device)
    major, minor = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, device)
    memory = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(index, name.value.decode(errors="replace"), f"{major.value}.{minor.value}", memory.value)


def _driver_version() -> str | None:
    """From NVML, which alone knows it; ``None`` where NVML is not there."""
    with contextlib.suppress(Exception):  # NVML raises its own classes, and the package may be absent
        import pynvml

        pynvml.nvmlInit()
        try:
            version = pynvml.nvmlSystemGetDriverVersion()
        finally:
            pynvml.nvmlShutdown()
        return version.decode() if isinstance(version, bytes) else str(version)
    return None
