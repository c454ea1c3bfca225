"""A scaling run across ranks: everybody ready, each alone, all together in one window, each alone again, gathered."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from trtkit.artifacts.scale import ALONE, TOGETHER, Phase, ScaleResult, Share
from trtkit.errors import TrtkitError
from trtkit.measurement.causes import causes
from trtkit.pipeline.scale_crew import Crew
from trtkit.pipeline.scale_cut import CutShort
from trtkit.pipeline.scale_roll import lost_shares, problem_of, shared_gpu, turns
from trtkit.ranks import LONG_S, Alone, Lost, Meeting
from trtkit.ranks.clock import Drift, machine
from trtkit.stages.bench import BenchRequest
from trtkit.worker import Log, Progress

__all__ = ["PACE_S", "run_scale"]

PACE_S = 10.0
"""While workers load and measure, a rank looks after them many times a second: one that does not for so long hangs."""

_START_S = 0.15  # between naming a window's begin and its begin: every rank must hear of it
_START_PER_RANK_S = 0.002
_SLACK_S = 15.0
_FAREWELLS_S = 0.3


def run_scale(
    requests: Sequence[BenchRequest],
    meeting: Meeting | Alone,
    *,
    launcher: str = "local",
    alone: bool = True,
    per_device: int = 1,
    host: str | None = None,
    stage: Callable[[str], None] = lambda title: None,
    on_event: Callable[[str, Progress | Log], None] = lambda device, event: None,
) -> ScaleResult | None:
    """Measure this rank's devices together with every other rank's.

    Every rank calls it. Whatever fails anywhere, it comes back: with the result so far and what the problem was.

    Args:
        requests: one for each device of this rank; of equal settings on all ranks.
        meeting: with the other ranks.
        launcher: who started the ranks, for the result.
        alone: also measure each device alone, before and after.
        per_device: how many ranks may share a GPU.
        host: what this machine is called; its own name if not given.
        stage: is told which part begins.
        on_event: is told what the workers report.

    Returns:
        The result on rank 0; on all others ``None``, or their own part if rank 0 is lost.

    Raises:
        CutShort: of several ranks, this one was interrupted.
    """
    flow = _Flow(requests, meeting, launcher, per_device, host or socket.gethostname(), stage)
    with Crew(requests, meeting, on_event) as crew:
        flow.crew = crew
        try:
            if flow.ready():
                flow.measure(alone)
            return flow.gathered(flow.own_shares())
        except KeyboardInterrupt:
            if meeting.size == 1:
                raise
            stage("Interrupted: keeping what was measured")
            raise flow.cut_short() from None


class _Flow:
    """The steps of one rank; ``problem`` is the first thing that went wrong on any."""

    def __init__(
        self,
        requests: Sequence[BenchRequest],
        meeting: Meeting | Alone,
        launcher: str,
        per_device: int,
        host: str,
        stage: Callable[[str], None],
    ) -> None:
        self.crew: Crew
        self.problem: str | None = None
        self._requests, self._meeting, self._per_device, self._stage = requests, meeting, per_device, stage
        self._launcher = launcher
        self._host = host
        self._roll: dict[
            int, Any
        ] = {}  # rank → what it said of itself: of all on rank 0, elsewhere of itself and rank 0
        self._slowest, self._drift = 0.0, Drift(None)
        self._turn, self._turns = 0, 0  # of this rank's first device among those of its machine, and of the longest row

    def ready(self) -> bool:
        """Wait until all devices of all ranks are ready; whether they are."""
        number = len(self._requests)
        self._stage(f"Loading and warming up on {number} device{'s' * (number != 1)}")
        self._meeting.pulse.begin("its workers load", PACE_S)
        self.crew.wait_until_ready(LONG_S)
        mine = [
            {
                "device": member.name,
                "name": member.ready["device"]["name"] if member.ready else None,
                "uuid": member.ready["device"]["uuid"] if member.ready else None,
                "iteration_s": member.ready["iteration_s"] if member.ready else None,
            }
            for member in self.crew.members
        ]
        said: dict[str, Any] = {"host": self._host, "machine": machine(), "devices": mine}
        said |= {"problem": self.crew.problem, "clock_error_s": self._meeting.offset_error_s}
        answer = self._meeting.consult(said, self._called, timeout_s=LONG_S)
        if self._heard(answer):
            self._roll = {0: {"host": answer["host"]}, self._meeting.rank: said} | self._roll
            self._slowest, self._turn, self._turns = answer["slowest"], answer["turn"], answer["turns"]
        return self.problem is None

    def _called(self, roll: list[Any]) -> list[dict[str, Any]]:
        """On rank 0, what each rank needs to know of all."""
        self._roll = dict(enumerate(roll))
        self._note([self._problem_of(rank, entry) for rank, entry in self._roll.items()])
        self._note([shared_gpu(self._roll, self._per_device)])
        here = [entry for entry in roll if isinstance(entry, dict)]
        times = [device["iteration_s"] or 0.0 for entry in here for device in entry["devices"]]
        first, longest = turns(roll)
        common = {"problem": self.problem, "slowest": max(times, default=0.0), "turns": longest}
        return [{**common, "turn": turn, "host": self._host} for turn in first]

    def _heard(self, answer: Any) -> bool:
        """Take over the problem that rank 0 knows of; whether rank 0 answered."""
        self._note([self._problem_of(0, answer) if isinstance(answer, Lost) else answer["problem"]])
        return not isinstance(answer, Lost)

    def measure(self, alone: bool) -> None:
        """Every window, in the same order on every rank."""
        self._meeting.pulse.begin("its workers measure", PACE_S)
        slowest = self._slowest
        seconds = 0.0
        if self._requests:  # rank 0's are what counts, and all ranks were given the same
            settings = self._requests[0].settings
            seconds = max(settings.duration_s, min(settings.min_iterations * slowest, settings.max_duration_s))
        agreed = self._agreed(lambda: seconds)
        if agreed is None:
            return
        seconds = agreed
        if alone:
            self._alone(ALONE[0], seconds, slowest)
        self._stage(f"Measuring together for {seconds:.1f} s")
        self._window(TOGETHER, list(range(len(self.crew.members))), seconds, slowest)
        if alone:
            self._alone(ALONE[1], seconds, slowest)
        if self.problem is None:
            drift = self._meeting.drift()
            said = [drift.seconds, drift.error_s]
            self._heard(self._meeting.consult(said, self._drifted, timeout_s=_SLACK_S))

    def _drifted(self, said: list[Any]) -> list[dict[str, Any]]:
        """On rank 0, the clock that moved most; nothing if one of them is not known."""
        self._note([self._problem_of(rank, one) for rank, one in enumerate(said) if isinstance(one, Lost)])
        if all(isinstance(one, list) and one[0] is not None for one in said):
            self._drift = Drift(*max(said, key=lambda one: abs(one[0])))
        return [{"problem": self.problem}] * len(said)

    def own_shares(self, *, hurried: bool = False) -> list[Share]:
        """This rank's devices with what was measured."""
        self._meeting.pulse.begin("it checks and writes results")
        shares = []
        for member in self.crew.members:
            name = member.ready["device"]["name"] if member.ready else None
            phases: dict[str, Phase] = {}
            problem = member.problem
            try:
                phases = self.crew.phases(member, hurried=hurried)
            except TrtkitError as error:
                problem = problem or error.message
                self._note([self._problem_of(self._meeting.rank, {"problem": f"{member.name}: {problem}"})])
            shares.append(Share(member.name, name, self._host, self._meeting.rank, phases, problem))
        return shares

    def gathered(self, shares: Sequence[Share]) -> ScaleResult | None:
        """Rank 0's result; another's part if rank 0 is lost."""
        self._stage("Gathering")
        # Long enough for the slowest reference check; a rank that is gone is missed within seconds.
        values = self._meeting.exchange([s.to_json() for s in shares], timeout_s=LONG_S, to_all=False)
        if self._meeting.leaderless:
            self._note([self._problem_of(0, values[0])])
            return self._result(shares)
        return self._result(self._shares_of(values)) if self._meeting.rank == 0 else None

    def cut_short(self) -> CutShort:
        """Say farewell with what there is; rank 0 takes what the others have, if they are quick."""
        shares = self.own_shares(hurried=True)
        if self._meeting.rank != 0:
            self._meeting.farewell("it was interrupted", [share.to_json() for share in shares])
            if not self._meeting.leaderless:
                return CutShort(None)
            self.problem = self._problem_of(
                0, Lost(0, f"it says nothing any more, and {self._launcher} ends all ranks")
            )
            return CutShort(self._result(shares), died=True)
        last, silent = self._meeting.farewells(_FAREWELLS_S)
        gone = Lost(-1, f"it says nothing any more, and {self._launcher} ends all ranks")
        values: list[Any] = [
            [share.to_json() for share in shares] if rank == 0 else last.get(rank) or replace(gone, rank=rank)
            for rank in range(self._meeting.size)
        ]
        self.problem = None  # "it was interrupted" is less than what is known now
        self._note([self._problem_of(rank, values[rank]) for rank in sorted(silent)])
        self._note(["it was interrupted"])
        result = self._result(self._shares_of(values))
        self._meeting.farewell("it was interrupted")
        return CutShort(result, died=bool(silent))

    def _shares_of(self, values: Sequence[Any]) -> list[Share]:
        found: list[Share] = []
        for rank, value in enumerate(values):
            if isinstance(value, Lost):
                self._note([self._problem_of(rank, value)])
                found += lost_shares(self._roll.get(value.rank), value)
            else:
                found += [Share.from_json(share) for share in value]
        return found

    def _result(self, shares: Sequence[Share]) -> ScaleResult:
        errors = [said.get("clock_error_s", 0.0) for said in self._roll.values() if isinstance(said, dict)]
        result = ScaleResult(
            shares=tuple(shares),
            launcher=self._launcher,
            ranks=self._meeting.size,
            clock_error_s=max(errors, default=0.0),
            clock_drift_s=self._drift.seconds,
            clock_drift_error_s=self._drift.error_s,
            problem=self.problem,
            command=self._requests[0].command if self._requests else (),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return replace(result, findings=causes(result))

    def _alone(self, phase: str, seconds: float, slowest: float) -> None:
        """One device of each machine after the other; machines do not wait for each other's devices."""
        for turn in range(self._turns):
            if self.problem is not None:
                return
            self._stage(f"Measuring alone, {turn + 1} of {self._turns}")
            own = turn - self._turn
            self._window(phase, [own] if 0 <= own < len(self.crew.members) else [], seconds, slowest)

    def _window(self, phase: str, mine: list[int], seconds: float, slowest: float) -> None:
        """One window for all ranks; ``mine`` are the devices of this one that measure in it."""
        if self.problem is not None:
            return
        lead = _START_S + _START_PER_RANK_S * self._meeting.size + 3 * slowest
        start = self._agreed(lambda: time.monotonic() + lead)
        if start is None:
            return
        self.crew.measure(phase, [self.crew.members[index] for index in mine], start - self._meeting.offset_s, seconds)
        timeout = lead + seconds + 10 * slowest + _SLACK_S
        self._heard(self._meeting.consult(self.crew.problem, self._ended, timeout_s=timeout))

    def _ended(self, outcome: list[Any]) -> list[dict[str, Any]]:
        """On rank 0, what went wrong first in a window."""
        problems = [
            self._problem_of(rank, value if isinstance(value, Lost) else {"problem": value})
            for rank, value in enumerate(outcome)
        ]
        self._note(problems)
        return [{"problem": self.problem}] * len(outcome)

    def _agreed(self, value: Callable[[], float]) -> float | None:
        """Rank 0's number once all ranks are there, on every rank; ``None`` if a rank is lost."""

        def agree(values: list[Any]) -> list[dict[str, Any]]:
            lost = [self._problem_of(rank, entry) for rank, entry in enumerate(values) if isinstance(entry, Lost)]
            self._note(lost)
            return [{"problem": self.problem, "value": None if lost else value()}] * len(values)

        answer = self._meeting.consult(None, agree, timeout_s=LONG_S)
        return float(answer["value"]) if self._heard(answer) and answer["value"] is not None else None

    def _note(self, problems: Sequence[str | None]) -> None:
        known = [problem for problem in problems if problem]
        if self.problem is None and known:
            # What a device "ended because of" is never the first cause.
            causes_first = sorted(known, key=lambda text: "failure elsewhere" in text)
            self.problem = causes_first[0]

    def _problem_of(self, rank: int, said: Any) -> str | None:
        return problem_of(self._roll, rank, said, several=self._meeting.size > 1)
