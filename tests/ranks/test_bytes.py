"""What ranks send each other grows with their number, not with its square: bytes counted on the wire."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ranks.test_meeting import together
from trtkit.artifacts.bench import Subject
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.artifacts.scale import ALONE, TOGETHER
from trtkit.pipeline import scale_run
from trtkit.pipeline.scale_places import find_own_place
from trtkit.ranks import Lost, Meeting, Place
from trtkit.ranks.tcp import TcpLink
from trtkit.stages.bench import BenchRequest

FEW, MANY = 6, 48


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the messages but for heartbeats, which come with time."""
    sizes: list[int] = []
    real = TcpLink.send

    def send(self: TcpLink, to: int, message: dict[str, Any]) -> None:
        if message["kind"] != "beat":
            sizes.append(len(json.dumps(message, separators=(",", ":"))))
        real(self, to, message)

    monkeypatch.setattr(TcpLink, "send", send)
    return sizes


def bytes_per_rank(sent: list[int], size: int, job: Callable[[Meeting], Any]) -> float:
    sent.clear()
    together(size, job)
    return sum(sent) / (size - 1)


def test_a_consultation_costs_a_rank_the_same_among_few_and_many(sent: list[int]) -> None:
    def consult(meeting: Meeting) -> None:
        def decide(values: list[Any]) -> list[Any]:
            assert values == ["x" * 1000] * meeting.size
            return [{"rank": rank, "y": "y" * 1000} for rank in range(meeting.size)]

        answer = meeting.consult("x" * 1000, decide, timeout_s=20)
        assert answer == {"rank": meeting.rank, "y": "y" * 1000}

    few, many = (bytes_per_rank(sent, size, consult) for size in (FEW, MANY))
    assert few > 2000 and many == pytest.approx(few, rel=0.05)


def test_an_exchange_to_all_is_quadratic_and_one_to_rank_0_is_not(sent: list[int]) -> None:
    """That the count sees it; and why :meth:`Meeting.consult` is there."""

    def exchange(to_all: bool) -> Callable[[Meeting], Any]:
        return lambda meeting: meeting.exchange("x" * 1000, timeout_s=20, to_all=to_all)

    few, many = (bytes_per_rank(sent, size, exchange(True)) for size in (FEW, MANY))
    assert many > 4 * few
    few, many = (bytes_per_rank(sent, size, exchange(False)) for size in (FEW, MANY))
    assert many == pytest.approx(few, rel=0.05)


class Ready:
    """A crew whose one device is ready at once and measures nothing; it notes the windows that it was in."""

    def __init__(self, requests: Any, meeting: Meeting, on_event: Any) -> None:
        facts = {"device": {"name": "Pretended GPU", "uuid": f"GPU-{meeting.rank}"}, "iteration_s": 0.001}
        self.members = [type("Member", (), {"name": "cuda:0", "ready": facts, "problem": None})()]
        self.problem: str | None = None
        self.windows: list[str] = []

    def __enter__(self) -> Ready:
        return self

    def __exit__(self, *error: object) -> None: ...

    def wait_until_ready(self, timeout_s: float) -> None: ...

    def measure(self, phase: str, members: list[Any], start_s: float, seconds: float) -> None:
        self.windows += [phase] * len(members)

    def phases(self, member: Any, *, hurried: bool = False) -> dict[str, Any]:
        return {}


def scaled(alone: bool, stage: Callable[[str], None] = lambda title: None) -> Callable[[Meeting], Any]:
    settings = BenchSettings("compute", 1, duration_s=0.0, max_duration_s=0.0)
    subject = Subject("net", "", "net.plan", "", "null", "1", "fp32")

    def run(meeting: Meeting) -> Any:
        own = find_own_place(meeting, Place(meeting.rank, meeting.size, host="node"), {"--batch": [1]})
        assert (own.local_rank, own.local_size) == (meeting.rank, meeting.size)
        assert len(own.hosts) == (meeting.size if meeting.rank == 0 else 0)
        request = BenchRequest(subject, Path("net.plan"), Device("cuda"), settings)
        return scale_run.run_scale([request], meeting, alone=alone, stage=stage)

    return run


def test_a_whole_run_costs_a_rank_the_same_among_few_and_many(sent: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_run, "Crew", Ready)
    few, many = (bytes_per_rank(sent, size, scaled(False)) for size in (FEW, MANY))
    assert few > 1000 and many == pytest.approx(few, rel=0.1)


def test_every_device_has_its_turn_alone_once_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    crews: dict[int, Ready] = {}

    class Noted(Ready):
        def __init__(self, requests: Any, meeting: Meeting, on_event: Any) -> None:
            super().__init__(requests, meeting, on_event)
            crews[meeting.rank] = self

    monkeypatch.setattr(scale_run, "Crew", Noted)
    monkeypatch.setattr(scale_run, "_START_S", 0.0)
    first, *others = together(3, scaled(True))
    assert others == [None, None] and len(first.shares) == 3 and first.problem is None
    assert all(crews[rank].windows == [ALONE[0], TOGETHER, ALONE[1]] for rank in range(3))


def test_a_window_begins_after_the_last_rank_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[float] = []

    class Noted(Ready):
        def measure(self, phase: str, members: list[Any], start_s: float, seconds: float) -> None:
            late.append(time.monotonic() - start_s)

    monkeypatch.setattr(scale_run, "Crew", Noted)
    monkeypatch.setattr(scale_run, "_START_S", 0.1)
    busy = {0: lambda title: None, 1: lambda title: time.sleep(0.4)}  # longer than the lead
    together(2, lambda meeting: scaled(True, busy[meeting.rank])(meeting))
    assert len(late) > 4 and max(late) < 0


def test_who_is_lost_is_told_by_rank_0_to_those_that_are_left() -> None:
    def job(meeting: Meeting) -> Any:
        if meeting.rank == 1:
            meeting.farewell("it had to go")
            return None
        return meeting.consult(None, lambda values: [[isinstance(v, Lost) for v in values]] * 3, timeout_s=10)

    assert together(3, job) == [[False, True, False], None, [False, True, False]]
