"""What a timed CUDA run executes between its copies, and the buffers it executes on. Imports no vendor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.model import TensorSpec
from trtkit.backends.cuda_driver import Cuda, PinnedBuffer
from trtkit.backends.repeated import Repeated, Samples
from trtkit.errors import RunError, UsageError

__all__ = ["COPYING", "BufferSet", "CudaWork", "OpenWork", "allocate", "byte_size", "set_count"]

COPYING = ("transfers", "overlapped")
"""The modes that copy in and out."""
_MOST_SETS = 8
_CACHES = 4  # sets in rotation exceed this many times the L2 cache, or are _MOST_SETS


class CudaWork(Protocol):
    """A loaded plan with its shapes in force, ready to be started on one stream; a context manager.

    ``inputs`` and ``outputs`` have fixed shapes.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    one_set: bool
    """Whether it works on one set of addresses only."""
    own_graphs: str | None
    """Who captures CUDA graphs by itself, so that nobody else may; ``None`` for nobody."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is worth recording about how it executes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def place(self, index: int, addresses: Mapping[str, int]) -> None:
        """Learn where buffer set ``index`` lies: tensor name → device address."""

    def select(self, index: int) -> None:
        """Let the next launch use a buffer set; outside of the time that counts as enqueue."""

    def launch(self) -> None:
        """Start one execution on the stream.

        Raises:
            RunError: the runtime refused it.
        """

    def why_no_capture(self) -> str | None:
        """Why a launch cannot be captured in a CUDA graph now, a sentence; ``None`` if it may be tried."""


OpenWork = Callable[[int], CudaWork]
"""Makes the work for a stream, given its handle."""


@dataclass
class BufferSet:
    """Memory of one iteration: where each tensor lies on the device, and the pinned memory beside it (copy modes).

    Attributes:
        device: tensor name → address.
        copies_in, copies_out: ``(device address, host address, bytes)`` of each tensor that is copied.
        pinned: output name → host memory.
    """

    device: dict[str, int]
    copies_in: tuple[tuple[int, int, int], ...] = ()
    copies_out: tuple[tuple[int, int, int], ...] = ()
    pinned: dict[str, PinnedBuffer] | None = None


def byte_size(specs: Sequence[TensorSpec]) -> int:
    """Bytes of tensors of fixed shapes."""
    return sum(math.prod(map(int, spec.shape)) * np.dtype(spec.dtype).itemsize for spec in specs)


def set_count(settings: BenchSettings, set_bytes: int, l2_bytes: int) -> int:
    """How many buffer sets are rotated.

    The asked number, if there is one. Else, without copies, as many as exceed four times the L2 cache, at most 8, so
    that inputs are read from memory as in production; one, if that is enough. With copies every input is written anew,
    and one set for each iteration in flight will do. ``overlapped`` has never fewer than that.
    """
    asked = settings.buffers
    if asked is not None and asked < 1:
        raise UsageError(f"{asked} buffers cannot be rotated.", hint="Give 1 or more, or leave it to the device.")
    if settings.mode in COPYING:
        least = settings.depth if settings.mode == "overlapped" else 1
        return max(settings.depth if asked is None else asked, least)
    if asked is not None:
        return asked
    wanted = math.ceil(_CACHES * l2_bytes / max(set_bytes, 1))
    return 1 if wanted <= 1 else min(max(wanted, settings.depth), _MOST_SETS)


def allocate(
    cuda: Cuda, work: CudaWork, sets: Sequence[Mapping[str, Samples]], count: int, *, copies: bool
) -> list[BufferSet]:
    """Allocate buffer sets and fill set i with input set ``i % len(sets)``.

    Raises:
        RunError: memory ran out, or an input has not the type and shape that the work takes.
    """
    if not sets:
        raise UsageError("A benchmark needs at least one set of inputs.", hint="Give synthetic inputs or --data.")
    found = []
    for index in range(count):
        values = sets[index % len(sets)]
        buffers = BufferSet(
            {spec.name: cuda.device_memory(byte_size([spec])) for spec in (*work.inputs, *work.outputs)}
        )
        copies_in, copies_out, pinned = [], [], {}
        for spec in work.inputs:
            array = _checked(values, spec)
            if copies:
                host = cuda.pinned_memory(array.nbytes)
                if isinstance(array, Repeated):
                    array.fill(host.bytes)
                else:
                    host.bytes[:] = array.reshape(-1).view(np.uint8)
                copies_in.append((buffers.device[spec.name], host.address, array.nbytes))
            else:
                cuda.upload(buffers.device[spec.name], array)
        for spec in work.outputs if copies else ():
            pinned[spec.name] = cuda.pinned_memory(byte_size([spec]))
            copies_out.append((buffers.device[spec.name], pinned[spec.name].address, byte_size([spec])))
        buffers.copies_in, buffers.copies_out, buffers.pinned = tuple(copies_in), tuple(copies_out), pinned
        work.place(index, buffers.device)
        found.append(buffers)
    return found


def _checked(values: Mapping[str, Samples], spec: TensorSpec) -> Samples:
    if spec.name not in values:
        raise RunError(f"No value for input {spec.name}.", hint="Feed every input.")
    array = values[spec.name]
    array = array if isinstance(array, Repeated) else np.ascontiguousarray(array)
    if array.dtype != np.dtype(spec.dtype) or array.shape != spec.shape:
        raise RunError(
            f"Input {spec.name} is {array.dtype} {array.shape}; the plan takes {spec.text}.",
            hint="Feed the type and shape that the plan takes.",
        )
    return array
