"""The pretended GPU: two copy engines and one compute engine, streams in order, time that only passes when asked to.

Two things are worked out for each operation. *When* it runs: after its stream, the events waited for, the host's call
and its engine are free. And *what it must come after* whatever the speeds are, as vector clocks; two operations that
touch the same memory, one of them writing, without such an order are a race, however the times fell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

Span = tuple[int, int]
"""Address and size of memory."""
Clock = dict[str, int]
"""Thread of execution (``host`` or a stream) → number of its last operation that has certainly happened before."""


class RaceError(AssertionError):
    """Memory is used in two places without an order between them."""


@dataclass
class Operation:
    """What is put into a stream."""

    name: str
    engine: str
    seconds: float
    reads: Sequence[Span]
    writes: Sequence[Span]
    effect: Callable[[], None]


@dataclass
class Ran:
    operation: Operation
    stream: str
    number: int
    after: Clock
    start_s: float
    end_s: float


@dataclass
class Stream:
    name: str
    end_s: float = 0.0
    clock: Clock = field(default_factory=dict)
    capturing: list[Operation] | None = None
    broken: bool = False


@dataclass
class Event:
    time_s: float | None = None
    clock: Clock = field(default_factory=dict)


class Device:
    """See the module.

    Args:
        h2d_bytes_per_s, d2h_bytes_per_s: speed of the copy engines.
        call_s: what every call of the runtime costs the host.
        wake_s: from an event to the host's going on.
        memory_bytes, pinned_bytes: what can be allocated.
    """

    def __init__(
        self,
        *,
        h2d_bytes_per_s: float = 50e9,
        d2h_bytes_per_s: float = 50e9,
        call_s: float = 1e-6,
        wake_s: float = 5e-6,
        memory_bytes: int = 2**34,
        pinned_bytes: int = 2**34,
        l2_bytes: int = 0,
    ) -> None:
        self.speed = {"h2d": h2d_bytes_per_s, "d2h": d2h_bytes_per_s}
        self.call_s, self.wake_s, self.l2_bytes = call_s, wake_s, l2_bytes
        self.room = {"device": memory_bytes, "pinned": pinned_bytes}
        self.memory_bytes = memory_bytes
        self.now_s = 100.0
        self.blocks: dict[int, tuple[str, np.ndarray]] = {}
        self.engines = {"h2d": 0.0, "compute": 0.0, "d2h": 0.0}
        self.host: Clock = {}
        self.ran: list[Ran] = []
        self._host_number = 0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def allocate(self, kind: str, size: int) -> int | None:
        """Real host memory in the place of the device's, so that results can be looked at; ``None``: there is none."""
        if size > self.room[kind]:
            return None
        self.room[kind] -= size
        block = np.zeros(max(size, 1), np.uint8)
        self.blocks[block.ctypes.data] = (kind, block)
        return int(block.ctypes.data)

    def free(self, kind: str, address: int) -> None:
        found, block = self.blocks.pop(address)  # KeyError: freed twice, or never allocated
        assert found == kind
        self.room[kind] += block.size

    def put(self, stream: Stream, operation: Operation) -> None:
        """Into the stream, or into the graph that is being captured from it."""
        if stream.capturing is not None:
            stream.capturing.append(operation)
            return
        start = max(self.now_s, stream.end_s, self.engines[operation.engine])
        stream.end_s = self.engines[operation.engine] = start + operation.seconds
        number = stream.clock.get(stream.name, 0) + 1
        after = _merged(stream.clock, self.host)
        self._check(operation, after)
        stream.clock = {**after, stream.name: number}
        operation.effect()
        self.ran.append(Ran(operation, stream.name, number, after, start, stream.end_s))

    def touch(self, name: str, reads: Sequence[Span] = (), writes: Sequence[Span] = ()) -> None:
        """The host itself uses memory."""
        operation = Operation(name, "host", 0.0, reads, writes, lambda: None)
        self._check(operation, self.host)
        self._host_number += 1
        after = dict(self.host)
        self.host["host"] = self._host_number
        self.ran.append(Ran(operation, "host", self._host_number, after, self.now_s, self.now_s))

    def record(self, event: Event, stream: Stream) -> None:
        event.time_s, event.clock = max(self.now_s, stream.end_s), _merged(stream.clock, self.host)

    def wait(self, stream: Stream, event: Event) -> None:
        if event.time_s is not None:  # an event that was never recorded holds nobody up
            stream.end_s, stream.clock = max(stream.end_s, event.time_s), _merged(stream.clock, event.clock)

    def host_waits(self, end_s: float, clock: Clock) -> None:
        self.now_s = max(self.now_s, end_s + self.wake_s)
        self.host = _merged(self.host, clock)

    def _check(self, operation: Operation, after: Clock) -> None:
        for other in reversed(self.ran[-400:]):
            if other.number <= after.get(other.stream, 0):
                continue
            clash = (
                _touch(operation.writes, other.operation.writes)
                or _touch(operation.writes, other.operation.reads)
                or _touch(operation.reads, other.operation.writes)
            )
            if clash:
                raise RaceError(f"{operation.name} uses memory of {other.operation.name} in {other.stream}, unordered")

    def busy(self, engine: str) -> list[tuple[float, float]]:
        """When an engine worked."""
        return [(ran.start_s, ran.end_s) for ran in self.ran if ran.operation.engine == engine]


def _merged(one: Clock, other: Clock) -> Clock:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}


def _touch(some: Sequence[Span], others: Sequence[Span]) -> bool:
    return any(a < b + size_b and b < a + size_a for a, size_a in some for b, size_b in others)
