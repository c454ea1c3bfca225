"""The timed path of the seam: how a loaded plan is executed again and again under a clock. Imports no vendor.

The loop itself (warm-up, stopping rule) is :mod:`trtkit.measurement.harness`, the same for every family; a family only
starts an iteration and reads its times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.timeline import Iteration
from trtkit.backends.repeated import Samples

__all__ = ["Monitor", "Timed", "TimedRunner"]


class Timed(Protocol):
    """One shape of a loaded plan in one mode, buffers allocated; a context manager, which frees them on leaving.

    Iteration k uses input set ``k % buffers``. Slots are 0 .. depth − 1; a slot is issued, then finished, then free.
    """

    epoch_monotonic_s: float
    """``time.monotonic()`` at 0 ms of the iterations' times."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """See :attr:`trtkit.artifacts.bench.Conditions.facts`; complete after the first iteration."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def issue(self, slot: int) -> None:
        """Start one iteration; may return before it is done.

        Raises:
            RunError: the runtime refused it (``enqueue`` returned False is a refusal) or failed.
        """

    def finish(self, slot: int) -> Iteration:
        """Wait for the iteration that was issued in this slot, and return its times.

        Raises:
            RunError: it failed on the device.
        """

    def settle(self) -> None:
        """Called once when warm-up is over, nothing in flight: capture graphs here, if the mode has them.

        A graph that cannot be captured is a fact (``graph_problem``), not an error; the plain launch is used then.
        """

    def outputs(self, slot: int) -> dict[str, np.ndarray]:
        """The outputs of the slot's last finished iteration on the host, for the check; copies where needed."""

    def set_of(self, slot: int) -> int:
        """Which input set the slot's last iteration used."""


@runtime_checkable
class TimedRunner(Protocol):
    """What a :class:`~trtkit.backends.base.Runner` also is, if it can be benchmarked."""

    modes: tuple[str, ...]
    """The modes of :data:`trtkit.artifacts.bench_settings.MODES` that it has here, in that order."""

    def timed(self, sets: Sequence[Mapping[str, Samples]], settings: BenchSettings) -> Timed:
        """Prepare ``settings.mode``; ``sets`` are the input sets (input name → array of the settings' shapes).

        Raises:
            RunError: device or host memory ran out, or the shapes are outside the plan's profiles.
        """


class Monitor(Protocol):
    """Watches a device during a measurement; a context manager that samples in a thread of its own."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def seen(self) -> dict[str, Any]:
        """Fields of :class:`trtkit.artifacts.bench.Conditions`: clocks, power, throttle reasons, foreign work."""
