"""Readings ahead of their use: a few threads decode while the model runs, and hold no more than a batch or so."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead", "reading_threads"]

T = TypeVar("T")


def reading_threads(parallel: bool) -> int:
    """Half of the processors for readings that may run side by side, at most 4; one thread for a stream."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, max(1, usable // 2)) if parallel else 1


def ahead(calls: Iterator[Callable[[], T]], *, threads: int, window: int) -> Iterator[Callable[[], T]]:
    """Run ``calls`` in threads, up to ``window`` before they are asked for; yield the same number of calls, in order.

    A yielded function returns what the call returned, or raises what it raised. Closing the iterator cancels what has
    not begun. With one thread the calls run one after the other, in order.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="calibration-data")
    pending: deque[Future[T]] = deque()
    try:
        for call in calls:
            pending.append(pool.submit(call))
            if len(pending) > window:
                yield pending.popleft().result
        while pending:
            yield pending.popleft().result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
