"""The parent's side for one job: start a worker, pass its events on, return its answer or say what happened."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from typing import Any

from trtkit.errors import RunError, TrtkitError
from trtkit.worker.answer import WorkerResult
from trtkit.worker.process import Worker
from trtkit.worker.protocol import Log, Message, Progress

__all__ = ["answer_of", "run"]


def run(
    function: str,
    arguments: Mapping[str, Any],
    *,
    what: str,
    died: type[TrtkitError] = RunError,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    on_event: Callable[[Progress | Log], None] | None = None,
) -> WorkerResult:
    """Run ``function(reporter, **arguments)`` in a new process and wait for its answer.

    Args:
        function: ``package.module:name``; imported in the worker only.
        arguments: JSON-ready keyword arguments.
        what: the job in words, for messages: ``the TensorRT-RTX build of googlenet``.
        died: the error class for a worker that dies or takes too long.
        env: environment variables on top of this process's own.
        timeout_s: wall time in seconds after which the worker is killed; ``None`` waits for ever.
        on_event: called in this thread for each progress and log event.

    Raises:
        TrtkitError: the job's own error, or ``died`` when the worker was killed, crashed or timed out.
        WorkerCrashError: the job met a bug.
        KeyboardInterrupt: passed on after the worker is gone.
    """
    with Worker(function, arguments, what=what, died=died, env=env) as process:
        return answer_of(process, timeout_s=timeout_s, on_event=on_event)


def answer_of(
    process: Worker, *, timeout_s: float | None = None, on_event: Callable[[Progress | Log], None] | None = None
) -> WorkerResult:
    """Wait for the answer of a worker that was started before; see :func:`run`."""
    if timeout_s is not None:
        process.expire(timeout_s)
    while True:
        try:
            _, event = process.inbox.get(timeout=0.5)  # in slices: an endless wait takes no Ctrl-C on Windows
        except queue.Empty:
            continue
        if event is None:
            return process.answer()
        if on_event is not None and not isinstance(event, Message):
            on_event(event)
