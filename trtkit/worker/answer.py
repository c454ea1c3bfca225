"""What a worker's answer, or its death without one, means to the parent."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

from trtkit.errors import TrtkitError, from_wire
from trtkit.units import bytes_text, seconds_text

__all__ = ["WorkerCrashError", "WorkerResult", "judge", "said_of_death"]


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


def judge(answer: dict[str, Any], what: str, died: type[TrtkitError], log: tuple[str, ...]) -> WorkerResult:
    """The result in an answer.

    Raises:
        TrtkitError: the job's own error, or ``died`` where memory or disk ran out.
        WorkerCrashError: the job met a bug.
    """
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


def said_of_death(code: int | None, *, after_s: float = 0.0) -> str:
    """How a worker ended, in words: by its exit code (negative: a signal), or ``None`` for one that took too long."""
    if code is None:
        return f"did not finish within {seconds_text(after_s)}"
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
