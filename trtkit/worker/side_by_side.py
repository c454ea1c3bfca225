"""Jobs in workers of their own, several at a time, and all of them ended together when the time is up or at Ctrl-C."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from trtkit.errors import RunError, TrtkitError
from trtkit.worker import Log, Progress, Worker, WorkerResult
from trtkit.worker.launch import answer_of

__all__ = ["Crew", "Job", "side_by_side", "spare_processors"]

_SLICE_S = 0.2  # an endless wait takes no Ctrl-C on Windows, and would not see that the time is up


def spare_processors(most: int) -> int:
    """How many single-threaded jobs may go side by side: half of the processors that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(most, count // 2)


class Crew:
    """Workers that threads start and one other thread can end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: set[Worker] = set()
        self.stopped = False

    def run(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        what: str,
        died: type[TrtkitError] = RunError,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        on_event: Callable[[Progress | Log], None] | None = None,
    ) -> WorkerResult:
        """As :func:`trtkit.worker.run`, until :meth:`stop`: then the worker is killed, and no other begins.

        Raises:
            TrtkitError, WorkerCrashError: as there.
        """
        with self._lock:
            if self.stopped:
                raise died(f"{what[:1].upper()}{what[1:]} was not begun.", hint="Give it more time.")
            process = Worker(function, arguments, what=what, died=died, env=env)
            self._busy.add(process)
        try:
            with process:
                return answer_of(process, timeout_s=timeout_s, on_event=on_event)
        finally:
            with self._lock:
                self._busy.discard(process)

    def stop(self) -> None:
        """Kill every worker that is busy; those who wait for one get its error."""
        with self._lock:
            self.stopped = True
            for process in self._busy:
                process.expire(0.0)  # unlike kill, which waits and reaps, this may come from another thread


Job = Callable[[Crew], None]
"""Runs its workers by :meth:`Crew.run`."""


def side_by_side(
    jobs: Iterable[tuple[str, Job]],
    width: int,
    left_s: Callable[[], float],
    done: Callable[[int], None] = lambda count: None,
) -> dict[str, TrtkitError | None]:
    """Do jobs, so many at a time.

    Args:
        jobs: each with its name; taken one by one in this thread, while the earlier ones are under way.
        width: most jobs at a time.
        left_s: the seconds that are left; at 0 everything is ended.
        done: is told in this thread how many jobs are over.

    Returns:
        Name → ``None``, or the error it ended with. What was not over in time is not in it.

    Raises:
        KeyboardInterrupt, WorkerCrashError: passed on after all workers are gone.
    """
    crew, under_way = Crew(), dict[str, Future[None]]()
    pool = ThreadPoolExecutor(width, thread_name_prefix="side-by-side")
    over: set[Future[None]] = set()

    def look(timeout_s: float) -> bool:
        """Wait until a job is over; whether there is time for more."""
        nonlocal over
        finished, _ = wait(set(under_way.values()) - over, timeout_s, return_when=FIRST_COMPLETED)
        if finished:
            over |= finished
            done(len(over))
        return left_s() > 0

    try:
        in_time = left_s() > 0
        for name, job in jobs if in_time else ():
            under_way[name] = pool.submit(job, crew)
            in_time = look(0.0)
            if not in_time:
                break
        while in_time and len(over) < len(under_way):
            in_time = look(_SLICE_S)
    finally:  # where all is over nothing is left to be ended
        crew.stop()
        pool.shutdown(cancel_futures=True)
    found: dict[str, TrtkitError | None] = {}
    for name, future in under_way.items():
        if future in over:
            error = future.exception()
            if error is not None and not isinstance(error, TrtkitError):
                raise error
            found[name] = error
    return found
