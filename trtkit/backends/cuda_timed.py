"""Iterations on a GPU under the device's own clock, in every mode: see :data:`trtkit.artifacts.bench_settings.MODES`.

Which stream does what:

* ``compute``, ``compute-graph``: one stream; an event before and after each execution. While an execution is under way
  when the next is started, one event is the end of the one and the start of the other: an event takes the device more
  than a microsecond, which counts when an execution takes a hundred.
* ``transfers``: one stream, so that copy, execution and copy follow each other, also across iterations.
* ``overlapped``: a stream each for copying in, executing and copying out. Execution k waits for copy-in k, copy-out k
  for execution k; the copy into a buffer set waits for the execution that last read it, and an execution for the copy
  that last read its outputs.

The times are trtexec's: pairs of events around the copies in, the execution and the copies out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.timeline import Iteration
from trtkit.backends.cuda_bandwidth import bandwidths
from trtkit.backends.cuda_driver import Cuda
from trtkit.backends.cuda_work import COPYING, BufferSet, OpenWork, allocate, byte_size, set_count
from trtkit.backends.repeated import Samples
from trtkit.errors import RunError

__all__ = ["CudaTimed"]


@dataclass
class _Slot:
    """Events of the iteration in a slot: the same object where the end of one part is the start of the next."""

    start_h2d: Any
    end_h2d: Any
    start_compute: Any
    end_compute: Any
    start_d2h: Any
    end_d2h: Any
    own_start: Any = None
    index: int = 0
    in_flight: bool = False
    start_enqueue_ms: float = 0.0
    end_enqueue_ms: float = 0.0


class CudaTimed:
    """See :class:`trtkit.backends.timing.Timed`; everything on the device is made on entering and freed on leaving.

    Args:
        open_work: makes what is executed, for the stream that it is given.
        sets: input sets.
        settings: the mode and what else was chosen.
    """

    def __init__(self, open_work: OpenWork, sets: Sequence[Mapping[str, Samples]], settings: BenchSettings) -> None:
        self.facts: dict[str, Any] = {}
        self.epoch_monotonic_s = 0.0
        self._open_work, self._sets, self._settings = open_work, sets, settings
        self._copies = settings.mode in COPYING
        self._split = settings.mode == "overlapped"
        self._wants_graph = settings.mode == "compute-graph" or (self._copies and settings.graph)
        self._graphs: list[Any] = []
        self._issued = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._cuda = cuda = stack.enter_context(Cuda())
            self._compute = cuda.stream()
            self._in = cuda.stream() if self._split else self._compute
            self._out = cuda.stream() if self._split else self._compute
            if self._copies:
                self.facts |= bandwidths()
            self._work = stack.enter_context(self._open_work(int(self._compute)))
            self._buffers = self._allocate()
            self._slots = [self._slot() for _ in range(max(self._settings.depth, 1))]
            self._users: list[_Slot | None] = [None] * len(self._buffers)
            # An end is read as the start of the next iteration too, so it may be recorded anew only once that is done.
            self._ends = [cuda.event(spin=self._settings.spin) for _ in range(len(self._slots) + 1)]
            self._anchor()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._cuda.synchronize()  # nothing may be in flight when the plan and the buffers go
        except RunError:
            if error is None:
                raise
        finally:
            self._stack.__exit__(kind, error, trace)

    def _allocate(self) -> list[BufferSet]:
        work, settings = self._work, self._settings
        inputs, outputs = byte_size(work.inputs), byte_size(work.outputs)
        l2_bytes = self._cuda.l2_bytes()
        count = 1 if work.one_set else set_count(settings, inputs + outputs, l2_bytes)
        buffers = allocate(self._cuda, work, self._sets, count, copies=self._copies)
        self.facts |= {
            "graph": False,
            "graph_problem": None,
            "streams": 3 if self._split else 1,
            "buffers": count,
            "depth": settings.depth,
            "wait": "spin" if settings.spin else "blocking",
            "input_bytes": inputs,
            "output_bytes": outputs,
            "buffer_bytes": count * (inputs + outputs),
            "l2_bytes": l2_bytes,
            **work.facts,
        }
        return buffers

    def _slot(self) -> _Slot:
        def event() -> Any:
            return self._cuda.event(spin=self._settings.spin)

        if self._split:
            return _Slot(*(event() for _ in range(6)))
        start = event()
        if not self._copies:
            return _Slot(start, start, start, start, start, start, own_start=start)  # its events are chosen each time
        end, begin, done = event(), event(), event()
        return _Slot(begin, start, start, end, end, done)

    def _anchor(self) -> None:
        """Tie the device's clock to the host's: the tightest of several events that the host saw happen."""
        cuda, best = self._cuda, float("inf")
        for _ in range(8):
            event = cuda.event()
            before = time.perf_counter()
            cuda.record(event, self._compute)
            cuda.wait(event)
            after, monotonic = time.perf_counter(), time.monotonic()
            if after - before < best:
                best, self._epoch, self._epoch_counter = after - before, event, (before + after) / 2
                self.epoch_monotonic_s = monotonic - (after - before) / 2
        self.facts["epoch_uncertainty_ms"] = best / 2 * 1e3

    def issue(self, slot: int) -> None:
        """See :meth:`trtkit.backends.timing.Timed.issue`."""
        cuda, place = self._cuda, self._slots[slot]
        index = self._issued % len(self._buffers)
        buffers, user = self._buffers[index], self._users[index]
        if self._split and user is not None and user.in_flight:
            cuda.stream_waits(self._in, user.end_compute)
            cuda.stream_waits(self._compute, user.end_d2h)
        graph = self._graphs[index] if self._graphs else None
        if graph is None:
            self._work.select(index)
        if self._copies:
            cuda.record(place.start_h2d, self._in)
            for device, host, size in buffers.copies_in:
                cuda.copy_in(device, host, size, self._in)
            if self._split:
                cuda.record(place.end_h2d, self._in)
                cuda.stream_waits(self._compute, place.end_h2d)
        if not self._copies:
            self._join(place)
        else:
            cuda.record(place.start_compute, self._compute)
        started = time.perf_counter()
        if graph is None:
            self._work.launch()
        else:
            cuda.launch(graph, self._compute)
        ended = time.perf_counter()
        cuda.record(place.end_compute, self._compute)
        if self._copies:
            if self._split:
                cuda.stream_waits(self._out, place.end_compute)
                cuda.record(place.start_d2h, self._out)
            for device, host, size in buffers.copies_out:
                cuda.copy_out(host, device, size, self._out)
            cuda.record(place.end_d2h, self._out)
        place.start_enqueue_ms = (started - self._epoch_counter) * 1e3
        place.end_enqueue_ms = (ended - self._epoch_counter) * 1e3
        place.index, place.in_flight = index, True
        self._users[index] = place
        self._issued += 1

    def _join(self, place: _Slot) -> None:
        """Choose an iteration's events, without copies: it starts where the one before ends, if that is under way."""
        before, end = self._ends[self._issued % len(self._ends) - 1], self._ends[self._issued % len(self._ends)]
        start = before
        if self._cuda.happened(before):
            start = place.own_start
            self._cuda.record(start, self._compute)
        place.start_h2d = place.end_h2d = place.start_compute = start
        place.end_compute = place.start_d2h = place.end_d2h = end

    def finish(self, slot: int) -> Iteration:
        """See :meth:`trtkit.backends.timing.Timed.finish`."""
        cuda, place = self._cuda, self._slots[slot]
        cuda.wait(place.end_d2h)
        place.in_flight = False
        # Parts are measured between their own two events: a float of many seconds since the start is too coarse.
        start_h2d = cuda.elapsed_ms(self._epoch, place.start_h2d)
        end_h2d = start_h2d + self._between(place.start_h2d, place.end_h2d)
        start_compute = end_h2d if not self._split else cuda.elapsed_ms(self._epoch, place.start_compute)
        end_compute = start_compute + self._between(place.start_compute, place.end_compute)
        start_d2h = end_compute if not self._split else cuda.elapsed_ms(self._epoch, place.start_d2h)
        end_d2h = start_d2h + self._between(place.start_d2h, place.end_d2h)
        if "device_bytes" not in self.facts:
            self._note_memory()
        enqueue = (place.start_enqueue_ms, place.end_enqueue_ms)
        return Iteration(*enqueue, start_h2d, end_h2d, start_compute, end_compute, start_d2h, end_d2h)

    def _between(self, start: Any, end: Any) -> float:
        return 0.0 if start is end else self._cuda.elapsed_ms(start, end)

    def _note_memory(self) -> None:
        free, total = self._cuda.memory()
        self.facts["device_bytes"] = total - free

    def settle(self) -> None:
        """See :meth:`trtkit.backends.timing.Timed.settle`: one graph for each buffer set."""
        if not self._wants_graph:
            return
        if self._work.own_graphs is not None:
            self.facts |= {"graph": True, "graph_by": self._work.own_graphs}
            return
        problem = self._capture_all()
        self.facts |= {"graph": problem is None, "graph_problem": problem}
        self._note_memory()

    def _capture_all(self) -> str | None:
        """Why no graphs were made, or ``None``. All sets have one or none, so that all iterations are alike."""
        cuda, graphs = self._cuda, []
        for index in range(len(self._buffers)):
            self._work.select(index)
            self._work.launch()
            cuda.drain(self._compute)
            problem = self._work.why_no_capture()
            if problem is not None:
                return problem
            try:
                graphs.append(cuda.capture(self._compute, self._work.launch))
                cuda.launch(graphs[-1], self._compute)
            except RunError as error:
                if cuda.poisoned:
                    raise
                return error.message
            cuda.drain(self._compute)
        self._graphs = graphs
        return None

    def outputs(self, slot: int) -> dict[str, np.ndarray]:
        """See :meth:`trtkit.backends.timing.Timed.outputs`."""
        buffers = self._buffers[self._slots[slot].index]
        found = {spec.name: np.empty(tuple(map(int, spec.shape)), spec.dtype) for spec in self._work.outputs}
        self._cuda.synchronize()
        for name, values in found.items():
            if buffers.pinned:
                values.reshape(-1).view(np.uint8)[:] = buffers.pinned[name].bytes[: values.nbytes]
            else:
                self._cuda.download(values, buffers.device[name])
        return found

    def set_of(self, slot: int) -> int:
        """See :meth:`trtkit.backends.timing.Timed.set_of`."""
        return self._slots[slot].index % len(self._sets)
