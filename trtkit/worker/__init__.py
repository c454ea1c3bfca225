"""The process boundary: every vendor call happens in a worker, so that a vendor's death is an error and not the end.

``run`` starts one, hands it a request, passes on the progress it streams back, and turns its death into an error.
:class:`Worker` is one that is spoken with while it works, alone or beside others.
"""

from __future__ import annotations

from trtkit.worker.answer import WorkerCrashError, WorkerResult
from trtkit.worker.launch import run
from trtkit.worker.process import Event, Inbox, Worker
from trtkit.worker.protocol import Log, Message, Progress, Reporter

__all__ = [
    "Event",
    "Inbox",
    "Log",
    "Message",
    "Progress",
    "Reporter",
    "Worker",
    "WorkerCrashError",
    "WorkerResult",
    "run",
]
