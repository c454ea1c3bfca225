"""The functions of ``cuda.bindings.runtime`` that trtkit calls, played on a :class:`Device`."""

from __future__ import annotations

import ctypes
import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any

import pytest

from tests.backends.cuda_stand_in.device import Device, Event, Operation, Stream

OWNED = ("stream", "event", "graph", "exec")


class Runtime:
    """Stands where the module stands.

    Args:
        device: what is played on.
        fail: function → the enum's name of an error that its next calls return, ``(skip, name)`` after so many calls.

    Attributes:
        calls: names of the functions called, in order.
    """

    def __init__(self, device: Device, fail: dict[str, tuple[int, str]] | None = None) -> None:
        self._real = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
        self.device, self.fail, self.calls = device, dict(fail or {}), []
        self._things: dict[str, dict[int, Any]] = {kind: {} for kind in OWNED}
        self._next = 1000

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)  # AttributeError for a name that the real module has not
        played: Callable[..., tuple[Any, ...]] | None = getattr(type(self), f"_{name}", None)
        if played is not None:
            return functools.partial(self._call, name, played, inspect.signature(real))
        if callable(real) and not isinstance(real, type):
            raise NotImplementedError(f"the stand-in does not play {name}")
        return real

    def _call(self, name: str, played: Any, signature: inspect.Signature, *arguments: Any) -> tuple[Any, ...]:
        signature.bind(*arguments)  # TypeError for a wrong number of arguments
        self.calls.append(name)
        self.device.sleep(self.device.call_s)
        skip, error = self.fail.get(name, (0, ""))
        if error and skip == 0:
            if name == "cudaStreamEndCapture":
                self.stream(arguments[0]).capturing = None  # a capture ends, well or not
            outputs = 1 if name in _GIVES_ONE else 0
            return (self._real.cudaError_t.__members__[error], *(None for _ in range(outputs)))
        if error:
            self.fail[name] = (skip - 1, error)
        answer = played(self, *arguments)
        if isinstance(answer, self._real.cudaError_t):
            return (answer, *(None for _ in range(1 if name in _GIVES_ONE else 0)))
        return (self._real.cudaError_t.cudaSuccess, *answer)

    def _error(self, name: str) -> Any:
        return self._real.cudaError_t.__members__[name]

    def _make(self, kind: str, handle_type: str, thing: Any) -> tuple[Any]:
        self._next += 1
        self._things[kind][self._next] = thing
        return (getattr(self._real, handle_type)(self._next),)

    def _of(self, kind: str, handle: Any) -> Any:
        return self._things[kind][int(handle)]  # KeyError: destroyed or never made

    def stream(self, handle: Any) -> Stream:
        return self._of("stream", handle)

    @property
    def streams(self) -> Collection[int]:
        """Handles of the streams that there are."""
        return self._things["stream"].keys()

    @property
    def left(self) -> dict[str, int]:
        """How many of each kind were made and never given back."""
        kinds = [kind for kind, _ in self.device.blocks.values()]
        counts = {kind: len(things) for kind, things in self._things.items()}
        return {name: n for name, n in {**counts, **{k: kinds.count(k) for k in set(kinds)}}.items() if n}

    def kernel(self, handle: Any, name: str, seconds: float, reads: Any, writes: Any, effect: Any) -> None:
        """What an engine's execution does: one operation on the compute engine."""
        self.device.put(self.stream(handle), Operation(name, "compute", seconds, reads, writes, effect))

    # The runtime's functions, by their names with an underscore before.

    def _cudaSetDevice(self, device: int) -> Any:
        return () if device == 0 else self._error("cudaErrorInvalidDevice")

    def _cudaDeviceSynchronize(self) -> Any:
        if any(stream.capturing is not None for stream in self._things["stream"].values()):
            return self._error("cudaErrorStreamCaptureUnsupported")
        for stream in self._things["stream"].values():
            self.device.host_waits(stream.end_s, stream.clock)
        return ()

    def _cudaGetLastError(self) -> Any:
        return ()

    def _cudaGetErrorString(self, error: Any) -> Any:
        return self._real.cudaGetErrorString(error)[1:]

    def _cudaStreamCreateWithFlags(self, flags: int) -> Any:
        assert flags == self._real.cudaStreamNonBlocking
        return self._make("stream", "cudaStream_t", Stream(f"stream {len(self._things['stream'])}"))

    def _cudaStreamDestroy(self, stream: Any) -> Any:
        del self._things["stream"][int(stream)]
        return ()

    def _cudaStreamSynchronize(self, stream: Any) -> Any:
        found = self.stream(stream)
        if found.capturing is not None:
            found.broken = True
            return self._error("cudaErrorStreamCaptureUnsupported")
        self.device.host_waits(found.end_s, found.clock)
        return ()

    def _cudaStreamWaitEvent(self, stream: Any, event: Any, flags: int) -> Any:
        self.device.wait(self.stream(stream), self._of("event", event))
        return ()

    def _cudaEventCreateWithFlags(self, flags: int) -> Any:
        assert flags in (self._real.cudaEventDefault, self._real.cudaEventBlockingSync)
        return self._make("event", "cudaEvent_t", Event())

    def _cudaEventDestroy(self, event: Any) -> Any:
        del self._things["event"][int(event)]
        return ()

    def _cudaEventRecord(self, event: Any, stream: Any) -> Any:
        self.device.record(self._of("event", event), self.stream(stream))
        return ()

    def _cudaEventSynchronize(self, event: Any) -> Any:
        found = self._of("event", event)
        if found.time_s is not None:
            self.device.host_waits(found.time_s, found.clock)
        return ()

    def _cudaEventQuery(self, event: Any) -> Any:
        found = self._of("event", event)
        if found.time_s is not None and found.time_s > self.device.now_s:
            return self._error("cudaErrorNotReady")
        return ()

    def _cudaEventElapsedTime(self, start: Any, end: Any) -> Any:
        first, last = self._of("event", start).time_s, self._of("event", end).time_s
        if first is None or last is None:
            return self._error("cudaErrorInvalidResourceHandle")
        if max(first, last) > self.device.now_s:
            return self._error("cudaErrorNotReady")
        return (ctypes.c_float((last - first) * 1e3).value,)  # a float of 24 bits, as the real one

    def _cudaMalloc(self, size: int) -> Any:
        address = self.device.allocate("device", size)
        return self._error("cudaErrorMemoryAllocation") if address is None else (address,)

    def _cudaFree(self, address: int) -> Any:
        self.device.free("device", address)
        return ()

    def _cudaHostAlloc(self, size: int, flags: int) -> Any:
        address = self.device.allocate("pinned", size)
        return self._error("cudaErrorMemoryAllocation") if address is None else (address,)

    def _cudaFreeHost(self, address: int) -> Any:
        self.device.free("pinned", address)
        return ()

    def _cudaMemGetInfo(self) -> Any:
        return self.device.room["device"], self.device.memory_bytes

    def _cudaDeviceGetAttribute(self, attribute: Any, device: int) -> Any:
        assert attribute == self._real.cudaDeviceAttr.cudaDevAttrL2CacheSize
        return (self.device.l2_bytes,)

    def _cudaDeviceGetPCIBusId(self, length: int, device: int) -> Any:
        return (b"0000:3b:00.0".ljust(length, b"\0"),)

    def _cudaGetDeviceProperties(self, device: int) -> Any:
        return (self._real.cudaDeviceProp(),)

    def _cudaMemcpyAsync(self, target: int, source: int, size: int, kind: Any, stream: Any) -> Any:
        engine = "h2d" if kind == self._real.cudaMemcpyKind.cudaMemcpyHostToDevice else "d2h"
        seconds = size / self.device.speed[engine]
        self.device.put(
            self.stream(stream),
            Operation(
                f"copy {engine}", engine, seconds, [(source, size)], [(target, size)],
                lambda: ctypes.memmove(target, source, size),
            ),
        )  # fmt: skip
        return ()

    def _cudaMemcpy(self, target: int, source: int, size: int, kind: Any) -> Any:
        self.device.touch("copy now", reads=[(source, size)], writes=[(target, size)])
        ctypes.memmove(target, source, size)
        return ()

    def _cudaStreamBeginCapture(self, stream: Any, mode: Any) -> Any:
        assert mode == self._real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.stream(stream).capturing = []
        return ()

    def _cudaStreamEndCapture(self, stream: Any) -> Any:
        found = self.stream(stream)
        operations, found.capturing, broken = found.capturing, None, found.broken
        found.broken = False
        return (
            self._error("cudaErrorStreamCaptureInvalidated")
            if broken
            else self._make("graph", "cudaGraph_t", operations)
        )

    def _cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        return self._make("exec", "cudaGraphExec_t", self._of("graph", graph))

    def _cudaGraphDestroy(self, graph: Any) -> Any:
        del self._things["graph"][int(graph)]
        return ()

    def _cudaGraphUpload(self, graph: Any, stream: Any) -> Any:
        self._of("exec", graph)
        return ()

    def _cudaGraphLaunch(self, graph: Any, stream: Any) -> Any:
        for operation in self._of("exec", graph):
            self.device.put(self.stream(stream), operation)
        return ()

    def _cudaGraphExecDestroy(self, graph: Any) -> Any:
        del self._things["exec"][int(graph)]
        return ()


_GIVES_ONE = {
    "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaEventElapsedTime", "cudaMalloc", "cudaHostAlloc",
    "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaDeviceGetAttribute", "cudaDeviceGetPCIBusId",
    "cudaGetDeviceProperties",
}  # fmt: skip
