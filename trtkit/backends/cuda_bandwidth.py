"""How fast pinned memory is copied to and from the device: the ceiling of the modes that copy."""

from __future__ import annotations

from collections.abc import Callable

from trtkit.backends.cuda_driver import Cuda
from trtkit.stats import percentile

__all__ = ["bandwidths"]

_BYTES = 64 * 2**20
_COPIES = 10


def bandwidths() -> dict[str, float]:
    """``h2d_bytes_per_s`` and ``d2h_bytes_per_s``: medians of ten copies of 64 MiB, one direction at a time.

    Raises:
        RunError: there is no memory for it.
    """
    with Cuda() as cuda:
        stream = cuda.stream()
        start, end = cuda.event(), cuda.event()
        device, host = cuda.device_memory(_BYTES), cuda.pinned_memory(_BYTES).address

        def rate(copy: Callable[[], None]) -> float:
            times = []
            for _ in range(_COPIES + 2):  # the first two wake the link up, which saves power when idle
                cuda.record(start, stream)
                copy()
                cuda.record(end, stream)
                cuda.wait(end)
                times.append(cuda.elapsed_ms(start, end))
            return _BYTES / (percentile(times[2:], 50) / 1e3)

        return {
            "h2d_bytes_per_s": rate(lambda: cuda.copy_in(device, host, _BYTES, stream)),
            "d2h_bytes_per_s": rate(lambda: cuda.copy_out(host, device, _BYTES, stream)),
        }
