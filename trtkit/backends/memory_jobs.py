"""Worker jobs: how much memory is free on the GPU. The CUDA driver is asked, so that only visible GPUs count."""

from __future__ import annotations

import ctypes
import sys

from trtkit.worker.protocol import Reporter

__all__ = ["free_device_bytes"]


def free_device_bytes(report: Reporter, *, index: int = 0) -> int | None:
    """Free bytes of a CUDA device; ``None`` where the driver does not tell.

    Args:
        report: of the worker; not used.
        index: CUDA's ordinal among the devices that this worker sees.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), index):
        return None
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return None
    try:
        if driver.cuCtxSetCurrent(context) or driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)):
            return None
        return int(free.value)
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)
