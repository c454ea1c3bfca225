"""CUDA's runtime API with every answer checked: streams, events, graphs, device and pinned memory of one device.

The one place where ``cuda.bindings`` is imported, and only inside a worker. The runtime API is used rather than the
driver API because it makes the primary context current by itself, the one that TensorRT and ONNX Runtime work in too;
its handles are theirs (a stream goes to them as an ``int``). A :class:`Cuda` owns all it made and frees it on leaving.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np

from trtkit.backends.repeated import Repeated, Samples
from trtkit.errors import BackendUnavailableError, RunError
from trtkit.units import bytes_text

__all__ = ["Cuda", "PinnedBuffer", "bindings"]

_NOT_READY = "cudaErrorNotReady"
_OUT_OF_MEMORY = "cudaErrorMemoryAllocation"
# After these every later CUDA call of the process fails too (CUDA runtime API, cudaError_t: "leaves the process in an
# inconsistent state").
_POISONOUS = {
    *("cudaErrorIllegalAddress", "cudaErrorLaunchFailure", "cudaErrorLaunchTimeout", "cudaErrorHardwareStackError"),
    *(
        "cudaErrorIllegalInstruction",
        "cudaErrorMisalignedAddress",
        "cudaErrorInvalidAddressSpace",
        "cudaErrorInvalidPc",
    ),
    *("cudaErrorAssert", "cudaErrorECCUncorrectable", "cudaErrorNvlinkUncorrectable", "cudaErrorContained"),
    *("cudaErrorMpsClientTerminated", "cudaErrorExternalDevice", "cudaErrorUnknown"),
}


def bindings() -> Any:
    """The module ``cuda.bindings.runtime``.

    Raises:
        BackendUnavailableError: it is not installed, or does not import.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except (ImportError, OSError) as error:
        raise BackendUnavailableError(
            f"Timing on a GPU needs the Python package cuda-bindings, which is missing or damaged: {error}.",
            hint="Run: pip install cuda-bindings (its major version is that of CUDA: 13 for a driver from 580 on).",
        ) from error


class PinnedBuffer:
    """Page-locked host memory; the device copies from and to it without the processor's help.

    Attributes:
        address: of its first byte.
        bytes: the memory as an array of ``uint8``.
    """

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.bytes: np.ndarray = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


class Cuda:
    """Device 0 of this process; a context manager that frees everything it made, last made first.

    Methods raise :class:`~trtkit.errors.RunError` when CUDA refuses. Handles are ``cuda.bindings`` objects; ``int()``
    of a stream is what TensorRT and ONNX Runtime take.
    """

    def __init__(self) -> None:
        self._rt = bindings()
        self._owned: list[tuple[str, Callable[[], tuple[Any, ...]]]] = []
        self.poisoned = False
        """Whether an error was seen after which every call of this process fails."""
        self._capture_mode = self._rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._to_device = self._rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._on_device = self._rt.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._to_host = self._rt.cudaMemcpyKind.cudaMemcpyDeviceToHost

    def __enter__(self) -> Self:
        self._check("cudaSetDevice", self._rt.cudaSetDevice(0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Work in flight may still use what is freed now. The first failure is told, unless an error is under way.
        failure = self._quietly("cudaDeviceSynchronize", self._rt.cudaDeviceSynchronize)
        while self._owned:
            call, free = self._owned.pop()
            failure = self._quietly(call, free) or failure
        if failure is not None and error is None:
            raise failure

    def _quietly(self, call: str, function: Callable[[], tuple[Any, ...]]) -> RunError | None:
        known = self.poisoned
        try:
            self._check(call, function())
        except RunError as error:
            return None if known else error  # once poisoned, every call repeats the error that was told
        return None

    def synchronize(self) -> None:
        """Hold the thread until the device has nothing left to do."""
        self._check("cudaDeviceSynchronize", self._rt.cudaDeviceSynchronize())

    def stream(self) -> Any:
        """A stream that does not wait for the legacy default stream."""
        stream = self._check(
            "cudaStreamCreateWithFlags", self._rt.cudaStreamCreateWithFlags(self._rt.cudaStreamNonBlocking)
        )
        self._owned.append(("cudaStreamDestroy", lambda: self._rt.cudaStreamDestroy(stream)))
        return stream

    def event(self, *, spin: bool = True) -> Any:
        """An event with a timestamp; waiting for it spins, or blocks the thread."""
        flags = self._rt.cudaEventDefault if spin else self._rt.cudaEventBlockingSync
        event = self._check("cudaEventCreateWithFlags", self._rt.cudaEventCreateWithFlags(flags))
        self._owned.append(("cudaEventDestroy", lambda: self._rt.cudaEventDestroy(event)))
        return event

    def device_memory(self, size: int) -> int:
        """Address of ``size`` bytes on the device (at least one is asked for)."""
        address = int(self._check("cudaMalloc", self._rt.cudaMalloc(max(size, 1)), size))
        self._owned.append(("cudaFree", lambda: self._rt.cudaFree(address)))
        return address

    def pinned_memory(self, size: int) -> PinnedBuffer:
        """``size`` bytes of page-locked host memory."""
        flags = self._rt.cudaHostAllocDefault
        address = int(self._check("cudaHostAlloc", self._rt.cudaHostAlloc(max(size, 1), flags), size))
        self._owned.append(("cudaFreeHost", lambda: self._rt.cudaFreeHost(address)))
        return PinnedBuffer(address, size)

    def memory(self) -> tuple[int, int]:
        """Free and total bytes of the device, as the driver sees them, other processes included."""
        free, total = self._check("cudaMemGetInfo", self._rt.cudaMemGetInfo())
        return int(free), int(total)

    def l2_bytes(self) -> int:
        """Size of the device's second-level cache."""
        attribute = self._rt.cudaDeviceAttr.cudaDevAttrL2CacheSize
        return int(self._check("cudaDeviceGetAttribute", self._rt.cudaDeviceGetAttribute(attribute, 0)))

    def properties(self) -> Any:
        """``cudaDeviceProp`` of the device."""
        return self._check("cudaGetDeviceProperties", self._rt.cudaGetDeviceProperties(0))

    def pci_bus(self) -> str:
        """``0000:3b:00.0``, by which NVML and the operating system know the device."""
        found = self._check("cudaDeviceGetPCIBusId", self._rt.cudaDeviceGetPCIBusId(32, 0))
        return bytes(found).split(b"\0")[0].decode()

    def record(self, event: Any, stream: Any) -> None:
        """Let the event happen when the stream gets there."""
        self._check("cudaEventRecord", self._rt.cudaEventRecord(event, stream))

    def stream_waits(self, stream: Any, event: Any) -> None:
        """Let what is given to the stream from now on begin after the event."""
        self._check("cudaStreamWaitEvent", self._rt.cudaStreamWaitEvent(stream, event, 0))

    def wait(self, event: Any) -> None:
        """Hold the thread until the event has happened."""
        self._check("cudaEventSynchronize", self._rt.cudaEventSynchronize(event))

    def happened(self, event: Any) -> bool:
        """Whether an event has happened, without waiting; one that was never recorded counts as happened."""
        answer = self._rt.cudaEventQuery(event)
        if getattr(answer[0], "name", "") == _NOT_READY:
            return False
        self._check("cudaEventQuery", answer)
        return True

    def drain(self, stream: Any) -> None:
        """Hold the thread until the stream is empty."""
        self._check("cudaStreamSynchronize", self._rt.cudaStreamSynchronize(stream))

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Milliseconds between two events that have happened (resolution about half a microsecond)."""
        return float(self._check("cudaEventElapsedTime", self._rt.cudaEventElapsedTime(start, end)))

    def copy_in(self, device: int, host: int, size: int, stream: Any) -> None:
        """Start a copy from pinned host memory to the device."""
        self._check("cudaMemcpyAsync", self._rt.cudaMemcpyAsync(device, host, size, self._to_device, stream))

    def copy_out(self, host: int, device: int, size: int, stream: Any) -> None:
        """Start a copy from the device to pinned host memory."""
        self._check("cudaMemcpyAsync", self._rt.cudaMemcpyAsync(host, device, size, self._to_host, stream))

    def upload(self, device: int, values: Samples) -> None:
        """Copy an array to the device, now; rows that repeat are copied once, and then by the device itself."""
        if isinstance(values, Repeated):
            once = values.rows[: values.count]
            self.upload(device, once)
            filled = once.nbytes
            while filled < values.nbytes:  # whole periods, doubled each time, and in the end what is left
                size = min(filled, values.nbytes - filled)
                self._check("cudaMemcpy", self._rt.cudaMemcpy(device + filled, device, size, self._on_device))
                filled += size
            self.synchronize()  # the host does not wait for a copy on the device
            return
        values = np.ascontiguousarray(values)
        self._check("cudaMemcpy", self._rt.cudaMemcpy(device, values.ctypes.data, values.nbytes, self._to_device))

    def download(self, values: np.ndarray, device: int) -> None:
        """Fill a contiguous array from the device, now."""
        self._check("cudaMemcpy", self._rt.cudaMemcpy(values.ctypes.data, device, values.nbytes, self._to_host))

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """What ``work`` puts into the stream, as an executable graph; nothing of it is executed.

        Raises:
            RunError: the work cannot be captured, or failed; the stream is usable again.
        """
        self._check("cudaStreamBeginCapture", self._rt.cudaStreamBeginCapture(stream, self._capture_mode))
        try:
            work()
        except BaseException:
            broken = self._rt.cudaStreamEndCapture(stream)  # its error, if any, says no more than the one under way
            if not broken[0]:
                self._rt.cudaGraphDestroy(broken[1])
            self._rt.cudaGetLastError()
            raise
        graph = self._check("cudaStreamEndCapture", self._rt.cudaStreamEndCapture(stream))
        try:
            made = self._check("cudaGraphInstantiate", self._rt.cudaGraphInstantiate(graph, 0))
        finally:
            self._check("cudaGraphDestroy", self._rt.cudaGraphDestroy(graph))
        self._owned.append(("cudaGraphExecDestroy", lambda: self._rt.cudaGraphExecDestroy(made)))
        self._check("cudaGraphUpload", self._rt.cudaGraphUpload(made, stream))
        return made

    def launch(self, graph: Any, stream: Any) -> None:
        """Put an executable graph into the stream."""
        self._check("cudaGraphLaunch", self._rt.cudaGraphLaunch(graph, stream))

    def _check(self, call: str, answer: tuple[Any, ...], size: int | None = None) -> Any:
        """What came with success: nothing, one value, or a tuple of several."""
        if answer[0]:  # an IntEnum whose success is 0; this line runs a dozen times an iteration
            raise self._error(call, answer[0], size)
        return answer[1] if len(answer) == 2 else answer[1:]

    def _error(self, call: str, code: Any, size: int | None) -> RunError:
        self._rt.cudaGetLastError()  # so that a library which asks for the last error is not told of ours
        said = self._rt.cudaGetErrorString(code)[1]
        words = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        name = str(getattr(code, "name", code))
        asked = "" if size is None else f" of {bytes_text(size)}"
        what = f"{call}{asked} failed with {name} ({int(code)}): {words}"
        if name == _OUT_OF_MEMORY and call == "cudaHostAlloc":
            return RunError(
                f"The host has no memory left that can be pinned: {what}.",
                hint="Lower the batch size, or choose the mode compute, which pins none.",
            )
        if name == _OUT_OF_MEMORY:
            return RunError(
                f"The device memory is used up: {what}.",
                hint="Lower the batch size, or free device memory: other processes may hold it (nvidia-smi).",
            )
        if name in _POISONOUS:
            self.poisoned = True
            return RunError(
                f"{what}. This process can do nothing more on the GPU.",
                hint="Run it again: every measurement has its own process. If it fails again, suspect the plan.",
            )
        if name == "cudaErrorInsufficientDriver":
            return RunError(
                f"{what}.",
                hint="Update the driver (CUDA 13 needs 580 or newer), or run: pip install 'cuda-bindings<13'.",
            )
        return RunError(f"{what}.", hint="Check the driver and the GPU with trtkit doctor and nvidia-smi.")
