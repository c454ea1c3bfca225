"""The parent's side: start a worker, pass its events on, and say what happened when it dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trtkit.errors import RunError, TrtkitError, from_wire
from trtkit.units import bytes_text, seconds_text
from trtkit.worker.protocol import Log, Progress, decode, encode

__all__ = ["WorkerCrashError", "WorkerResult", "run"]

_LOG_LINES_KEPT = 40


class WorkerCrashError(RuntimeError):
    """A bug in trtkit, found inside a worker; the message is the worker's traceback."""


@dataclass(frozen=True)
class WorkerResult:
    """What a worker answered.

    Attributes:
        value: the job's JSON-ready return value.
        seconds: wall time of the job inside the worker, without the start of its process.
        peak_rss_bytes: largest resident set of the worker; ``None`` where the system does not tell.
        log: the last lines it logged or wrote to standard error, oldest first.
    """

    value: Any
    seconds: float
    peak_rss_bytes: int | None
    log: tuple[str, ...]


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
    process = _start(env)
    log: deque[str] = deque(maxlen=_LOG_LINES_KEPT)
    drain = threading.Thread(target=_drain, args=(process.stderr, log), daemon=True)
    drain.start()
    timed_out = threading.Event()
    timer = None
    if timeout_s is not None:
        timer = threading.Timer(timeout_s, _expire, (process, timed_out))
        timer.daemon = True
        timer.start()
    answer: dict[str, Any] | None = None
    try:
        answer = _converse(process, {"function": function, "arguments": dict(arguments)}, log, on_event)
    finally:
        if timer is not None:
            timer.cancel()
        if answer is None:
            # Nothing will be asked of it any more, whatever the reason; a worker that died is only reaped here.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.2)
            _kill(process)
        process.wait()
        drain.join(timeout=2)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
    if answer is None:
        how = f"did not finish within {seconds_text(timeout_s)}" if timed_out.is_set() else _death(process.returncode)
        raise died(
            f"The worker process of {what} {how}.",
            hint="Read the last log lines; if memory ran out, free some, or use a smaller maximum batch.",
            log=tuple(log),
        )
    return _judge(answer, what, died, tuple(log))


def _start(env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    # The worker sees exactly the modules that this process sees, wherever it was started (-P keeps the folder out).
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    group: dict[str, Any] = (
        {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        if sys.platform == "win32"
        else {"start_new_session": True}  # Ctrl-C reaches the parent alone, which then ends the worker
    )
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "trtkit.worker.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(env or {})},
        **group,
    )


def _converse(
    process: subprocess.Popen[bytes],
    request: dict[str, Any],
    log: deque[str],
    on_event: Callable[[Progress | Log], None] | None,
) -> dict[str, Any] | None:
    """Send the request and read events until the answer; ``None`` when the stream ends without one."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(encode(request))
        process.stdin.flush()
    except BrokenPipeError:
        return None
    for line in process.stdout:
        message = decode(line)
        event = message.pop("event")
        if event == "progress":
            if on_event is not None:
                on_event(Progress(**message))
        elif event == "log":
            log.append(message["text"])
            if on_event is not None:
                on_event(Log(**message))
        else:
            return {"event": event, **message}
    return None


def _judge(answer: dict[str, Any], what: str, died: type[TrtkitError], log: tuple[str, ...]) -> WorkerResult:
    if answer["event"] == "error":
        error = from_wire(answer["error"])
        error.log = error.log or log
        raise error
    if answer["event"] == "out_of_memory":
        raise died(
            f"Host memory ran out in {what} (peak {bytes_text(answer['peak_rss_bytes'])}). {answer['text']}".rstrip(),
            hint="Free memory, or use a smaller model or maximum batch.",
            log=log,
        )
    if answer["event"] == "full":
        raise died(
            f"The disk is full in {what}: {answer['text']}.", hint="Free space, or choose another folder.", log=log
        )
    if answer["event"] == "crash":
        raise WorkerCrashError(f"{what}: a bug in trtkit, met in its worker process\n{answer['traceback']}")
    return WorkerResult(answer["value"], answer["seconds"], answer["peak_rss_bytes"], log)


def _drain(stream: IO[bytes] | None, log: deque[str]) -> None:
    if stream is not None:
        with contextlib.suppress(ValueError, OSError):
            for line in stream:
                log.append(line.decode(errors="replace").rstrip())


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)  # start_new_session made it the leader of a group of its own


def _expire(process: subprocess.Popen[bytes], timed_out: threading.Event) -> None:
    timed_out.set()
    _kill(process)


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code} and no answer"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = {
        "SIGKILL": "most likely by the operating system because memory ran out",
        "SIGSEGV": "a memory error inside the vendor's library",
        "SIGBUS": "a memory error inside the vendor's library, or a full disk",
        "SIGABRT": "the vendor's library gave up",
        "SIGILL": "this CPU lacks an instruction that the vendor's library uses",
    }.get(name, "from outside")
    return f"was killed by {name} ({why})"
