"""One worker process as the parent holds it: started, spoken with both ways, and told from a dead one."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from trtkit.errors import RunError, TrtkitError
from trtkit.worker.answer import WorkerResult, judge, said_of_death
from trtkit.worker.protocol import Log, Message, Progress, decode, encode

__all__ = ["Event", "Inbox", "Worker"]

Event = Progress | Log | Message | None
"""What a worker says; ``None`` is the last one: it has answered or died."""
Inbox = queue.Queue[tuple["Worker", Event]]
"""Where the events of one or many workers arrive, each with its sender."""

_LOG_LINES_KEPT = 40
_CRASHES = [-getattr(signal, name) for name in ("SIGSEGV", "SIGBUS", "SIGILL") if hasattr(signal, name)]
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Worker:
    """A process that runs one job; ended by :meth:`kill` or :meth:`answer`, and as a context manager by the former.

    Args:
        function: ``package.module:name``; imported in the worker only.
        arguments: JSON-ready keyword arguments.
        what: the job in words, for messages: ``the benchmark on cuda:1``.
        died: the error class for a worker that dies.
        env: environment variables on top of this process's own.
        inbox: where its events go, in order, ``None`` last; a new one if not given.
    """

    def __init__(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        what: str,
        died: type[TrtkitError] = RunError,
        env: Mapping[str, str] | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        self.what = what
        self.inbox: Inbox = queue.Queue() if inbox is None else inbox
        self._died = died
        self._log: deque[str] = deque(maxlen=_LOG_LINES_KEPT)
        self._answer: dict[str, Any] | None = None
        self._ended = threading.Event()
        self._expired_after_s: float | None = None
        self._timer: threading.Timer | None = None
        self._process = _start(env)
        self._drain = threading.Thread(target=_drain, args=(self._process.stderr, self._log), daemon=True)
        self._drain.start()
        self.send({"function": function, "arguments": dict(arguments)})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has answered or died."""
        return self._ended.is_set()

    @property
    def suspended(self) -> bool:
        """Whether somebody has stopped it (SIGSTOP); ``False`` where the system does not tell."""
        with contextlib.suppress(OSError, IndexError):
            # 1234 (a name that may hold anything) T …
            return Path(f"/proc/{self.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in (
                "T",
                "t",
            )
        return False

    def send(self, message: Mapping[str, Any]) -> None:
        """Tell the job something (it reads it by ``report.receive()``); nothing happens if the worker is gone."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError, OSError):
            self._process.stdin.write(encode(dict(message)))
            self._process.stdin.flush()

    def expire(self, after_s: float) -> None:
        """Kill it unless it has ended within this many seconds from now."""

        def end() -> None:
            self._expired_after_s = after_s
            self._signal()

        self._timer = threading.Timer(after_s, end)
        self._timer.daemon = True
        self._timer.start()

    def answer(self) -> WorkerResult:
        """Wait for the end of the job and return what it answered.

        Raises:
            TrtkitError: the job's own error, or ``died`` when the worker was killed, crashed or expired.
            WorkerCrashError: the job met a bug.
        """
        while not self._ended.wait(timeout=0.5):  # in slices: an endless wait takes no Ctrl-C on Windows
            pass
        self._reap()
        if self._answer is None:
            hint = "Read the last log lines; if memory ran out, free some, or use a smaller maximum batch."
            if self._process.returncode in _CRASHES:
                hint = (
                    "Take another version of the library or another --family; if memory may have run out, use a "
                    "smaller maximum batch; --verbose shows where it crashed."
                )
            if self._expired_after_s is not None:
                how = said_of_death(None, after_s=self._expired_after_s)
                hint = "Give it more time (of one attempt of bench: --attempt-seconds), or less to do."
            else:
                how = said_of_death(self._process.returncode)
            raise self._died(
                f"The worker process of {self.what} {how}.",
                hint=hint,
                log=_last_words(self._log),
            )
        return judge(self._answer, self.what, self._died, tuple(self._log))

    def kill(self) -> None:
        """End the process and everything that it started, at once; harmless if it has ended."""
        if self._answer is None:
            self._signal()
        self._reap()

    def _signal(self) -> None:
        with contextlib.suppress(OSError):
            if self._process.poll() is not None:
                return
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)  # start_new_session made it the leader of its own group

    def _reap(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._answer is None:
            # Nothing will be asked of it any more, whatever the reason; a worker that died is only reaped here.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=0.2)
            self._signal()
        self._process.wait()
        self._drain.join(timeout=2)
        self._reader.join(timeout=2)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stdout:
                message = decode(line)
                event = message.pop("event")
                if event == "progress":
                    self.inbox.put((self, Progress(**message)))
                elif event == "log":
                    self._log.append(message["text"])
                    self.inbox.put((self, Log(**message)))
                elif event == "message":
                    self.inbox.put((self, Message(message["kind"], message["values"], time.monotonic())))
                else:
                    self._answer = {"event": event, **message}
                    break
        self._ended.set()
        self.inbox.put((self, None))


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


def _last_words(log: Iterable[str]) -> tuple[str, ...]:
    """The log of a worker that died, with the innermost of the Python frames that a crash prints."""
    found: list[str] = []
    frames = 0
    for line in log:
        frames = frames + 1 if line.startswith('  File "') else 0
        if line and frames <= 1 and "(most recent call first)" not in line:
            found.append(line)
    return tuple(found)


def _drain(stream: IO[bytes] | None, log: deque[str]) -> None:
    if stream is not None:
        with contextlib.suppress(ValueError, OSError):
            for line in stream:
                log.append(_COLOURS.sub("", line.decode(errors="replace")).rstrip())
