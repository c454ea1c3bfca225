"""The process boundary: every vendor call happens in a worker, so that a vendor's death is an error and not the end.

``run`` starts one, hands it a request, passes on the progress it streams back, and turns its death into an error.
"""

from __future__ import annotations

from trtkit.worker.launch import WorkerCrashError, WorkerResult, run
from trtkit.worker.protocol import Log, Progress, Reporter

__all__ = ["Log", "Progress", "Reporter", "WorkerCrashError", "WorkerResult", "run"]
