"""The workers of one rank in a scaling run: one for each of its devices, started together, measured in windows."""

from __future__ import annotations

import contextlib
import queue
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trtkit.artifacts.scale import Phase
from trtkit.errors import TrtkitError
from trtkit.ranks import Alone, Meeting
from trtkit.stages.bench import BenchRequest, checked, composed, job_arguments, job_env, read_timeline
from trtkit.units import seconds_text
from trtkit.worker import Inbox, Log, Message, Progress, Worker, WorkerCrashError

__all__ = ["Crew", "Member"]

_GRACE_S = 5.0
_SUSPENDED_S = 4.0  # a worker that somebody stopped is given up after this
_LOOK_S = 0.5
_ROW_S = 5e-5  # to save one iteration
_HURRY_S = 0.35  # a launcher that says SIGTERM says SIGKILL a second later
_ELSEWHERE = "because of the failure elsewhere"


@dataclass
class Member:
    """One device and its worker.

    Attributes:
        request: what it measures.
        worker: its process.
        ready: what it said when it was ready; ``None`` until then.
        measured: phase → (begin by this machine's clock, seconds, what the worker said of it).
        problem: why it is out; ``None`` while it is well.
    """

    request: BenchRequest
    worker: Worker
    ready: dict[str, Any] | None = None
    measured: dict[str, tuple[float, float, dict[str, Any]]] = field(default_factory=dict)
    problem: str | None = None

    @property
    def name(self) -> str:
        """Of its device, as the command line has it."""
        return str(self.request.device)


class Crew:
    """Workers for several devices; a context manager that leaves none behind.

    Args:
        requests: one for each device.
        meeting: is warned when a worker fails, and tells when something failed elsewhere.
        on_event: is told what the workers report, with the device's name.
    """

    def __init__(
        self,
        requests: Sequence[BenchRequest],
        meeting: Meeting | Alone,
        on_event: Callable[[str, Progress | Log], None],
    ) -> None:
        self._requests, self._meeting, self._on_event = requests, meeting, on_event
        self._inbox: Inbox = queue.Queue()
        self._stack = contextlib.ExitStack()
        self._checked: dict[str, dict[str, Any]] = {}
        self.members: list[Member] = []

    def __enter__(self) -> Self:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="trtkit-")))
        try:
            for request in self._requests:
                worker = Worker(
                    "trtkit.backends.scale_jobs:serve",
                    {**job_arguments(request), "folder": str(self._folder)},
                    what=f"the benchmark on {request.device}",
                    env=job_env(request),
                    inbox=self._inbox,
                )
                self._stack.callback(worker.kill)
                self.members.append(Member(request, worker))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def problem(self) -> str | None:
        """What is wrong with the first device that is out for a cause of its own; ``None`` while all are well."""
        found = [f"{member.name}: {member.problem}" for member in self.members if member.problem]
        return min(found, key=lambda text: _ELSEWHERE in text, default=None)

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until every worker has loaded its plan, warmed up and checked its outputs, or is out."""
        self._wait(self.members, timeout_s, "loading and warming up", lambda member: member.ready is not None)

    def measure(self, phase: str, members: Sequence[Member], start_monotonic_s: float, seconds: float) -> None:
        """Let some of them measure in one window of this machine's clock, and wait for the end.

        A worker that dies is out, and ends the window for all: what was measured until then is kept.
        """
        end = start_monotonic_s + seconds
        order = {"do": "measure", "phase": phase, "start_monotonic_s": start_monotonic_s, "end_monotonic_s": end}
        for member in members:
            member.worker.send(order)
            member.measured.pop(phase, None)
        iteration = max((float(member.ready["iteration_s"]) for member in members if member.ready), default=0.0)
        shortest = min((float(member.ready["iteration_s"]) for member in members if member.ready), default=1.0)
        left = end - time.monotonic() + 10 * iteration + _GRACE_S + _ROW_S * seconds / max(shortest, 1e-6)
        doing = f"measuring ({phase})"
        try:
            self._wait(members, left, doing, lambda member: phase in member.measured, window=(phase, order))
        except KeyboardInterrupt:
            self._meeting.warn("it was interrupted")
            self._wait(members, _HURRY_S, doing, lambda member: phase in member.measured, window=(phase, order))
            raise

    def phases(self, member: Member, *, hurried: bool = False) -> dict[str, Phase]:
        """The judged measurements of a device that was ready, by phase; if hurried, without the reference's opinion.

        Raises:
            RunError: the reference of the spot check did not run in true FP32.
        """
        made: dict[str, Phase] = {}
        request, ready = member.request, member.ready
        if ready is None:
            return made
        for phase, (start, seconds, said) in member.measured.items():
            file = Path(said["file"])
            # One engine is checked against the reference once, however many devices run it.
            request = replace(request, checked=request.checked or self._checked.get(request.subject.sha256))
            request = replace(request, reference=None) if hurried else request
            check = checked(request, dict(ready["conditions"]["check"]), file, self._pass_on(member))
            self._checked[request.subject.sha256] = check
            conditions = {**ready["conditions"], **said["conditions"]}
            conditions.pop("check")
            timeline = read_timeline(file, request.settings.batch)
            found = {"device": ready["device"], "settings": ready["settings"], "peak": ready["peak"]}
            result = composed(request, {**found, "conditions": conditions}, timeline, check, None)
            made[phase] = Phase(phase, start, seconds, result)
        return made

    def _pass_on(self, member: Member) -> Callable[[Progress | Log], None]:
        return lambda event: self._on_event(member.name, event)

    def _wait(
        self,
        members: Sequence[Member],
        timeout_s: float,
        doing: str,
        done: Callable[[Member], bool],
        window: tuple[str, dict[str, Any]] | None = None,
    ) -> None:
        by_worker = {member.worker: member for member in self.members}
        until, stopped = time.monotonic() + timeout_s, False
        looked, awake = 0.0, dict.fromkeys(by_worker, time.monotonic())
        while any(not done(member) and member.problem is None for member in members):
            self._meeting.pulse.move()
            now = time.monotonic()
            if self._meeting.trouble is not None and not stopped:
                # Somebody failed: there is no common window any more, so end it and keep what there is.
                stopped, until = True, min(until, now + (_GRACE_S if window else 0.0))
                for member in members:
                    member.worker.send({"do": "stop"})
                if window is not None:
                    window[1]["end_monotonic_s"] = min(window[1]["end_monotonic_s"], now)
            if now > until:
                for member in members:
                    if not done(member) and member.problem is None:
                        self._out(member, self._why_late(member, doing, timeout_s, stopped))
                return
            if now - looked > _LOOK_S:
                looked = now
                awake |= {member.worker: now for member in members if not member.worker.suspended}
                for member in members:
                    if not done(member) and member.problem is None and now - awake[member.worker] > _SUSPENDED_S:
                        self._out(member, f"was stopped (SIGSTOP) while {doing}")
            with contextlib.suppress(queue.Empty):
                sender, event = self._inbox.get(timeout=min(0.1, until - now + 0.01))
                self._take(by_worker[sender], event, window)

    def _why_late(self, member: Member, doing: str, timeout_s: float, stopped: bool) -> str:
        if stopped:
            return f"ended while {doing}, {_ELSEWHERE}"
        return f"did not finish {doing} within {seconds_text(timeout_s)}"

    def _take(
        self, member: Member, event: Progress | Log | Message | None, window: tuple[str, dict[str, Any]] | None
    ) -> None:
        if event is None:
            if member.problem is None:
                self._out(member, _said_at_the_end(member.worker))
        elif not isinstance(event, Message):
            self._on_event(member.name, event)
        elif event.kind == "ready":
            member.ready = event.values
        elif event.kind == "measured" and window is not None and event.values["phase"] == window[0]:
            start, end = window[1]["start_monotonic_s"], window[1]["end_monotonic_s"]
            if end > start:
                member.measured[window[0]] = (start, end - start, event.values)
            else:
                self._out(member, f"ended before the window began, {_ELSEWHERE}")

    def _out(self, member: Member, why: str) -> None:
        member.problem = why
        member.worker.kill()
        self._meeting.warn(f"{member.name}: {why}")


def _said_at_the_end(worker: Worker) -> str:
    """Why a worker ended that was not told to."""
    try:
        worker.answer()
    except TrtkitError as error:
        return error.message
    except WorkerCrashError as error:
        return str(error).strip().splitlines()[-1]
    return "its worker left"
