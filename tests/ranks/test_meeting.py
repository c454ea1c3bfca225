"""Meetings of threads over real sockets, and of real processes that are killed and stopped."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from trtkit.errors import RunError, UsageError
from trtkit.ranks import Alone, Lost, Meeting, Place, carrier, join, tcp
from trtkit.ranks.tcp import TcpLink


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def together(size: int, job: Callable[[Meeting], Any], *, patience_s: float = 4.0) -> list[Any]:
    """Run ``job`` as every rank of a meeting, each in a thread; the results by rank."""
    port, results = free_port(), [None] * size

    def run(rank: int) -> None:
        try:
            meeting = Meeting(TcpLink(Place(rank, size, address=("127.0.0.1", port))), patience_s=patience_s)
            results[rank] = job(meeting)
            meeting.close()
        except BaseException as error:
            results[rank] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def test_a_meeting_of_one_exchanges_with_itself() -> None:
    met = join(Place())
    assert isinstance(met, Alone)
    assert met.exchange({"a": 1}, timeout_s=1) == [{"a": 1}]


@pytest.mark.parametrize("size", [2, 5])
def test_every_rank_gets_every_value_by_rank_round_after_round(size: int) -> None:
    def job(meeting: Meeting) -> list[list[Any]]:
        return [meeting.exchange({"rank": meeting.rank, "round": number}, timeout_s=10) for number in range(3)]

    expected = [[{"rank": rank, "round": number} for rank in range(size)] for number in range(3)]
    assert together(size, job) == [expected] * size


def test_64_ranks_meet_in_seconds_and_an_exchange_of_large_values_is_not_quadratic() -> None:
    def job(meeting: Meeting) -> float:
        started = time.monotonic()
        for _ in range(3):
            assert len(meeting.exchange("x" * 1000, timeout_s=30)) == 64
        return time.monotonic() - started

    started = time.monotonic()
    together(64, job)
    assert time.monotonic() - started < 20


def test_an_exchange_waits_for_the_slowest() -> None:
    def job(meeting: Meeting) -> float:
        if meeting.rank == 1:
            time.sleep(0.4)
        before = time.monotonic()
        meeting.exchange(None, timeout_s=10)
        return time.monotonic() - before

    waited = together(3, job)
    assert waited[0] > 0.2
    assert waited[2] > 0.2
    assert waited[1] < 0.2


def test_one_machine_has_one_clock() -> None:
    assert together(2, lambda meeting: (meeting.offset_s, meeting.offset_error_s)) == [(0.0, 0.0)] * 2


def test_clocks_of_different_machines_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    boots = iter(["here", "there"])
    monkeypatch.setattr("trtkit.ranks.clock.identity", lambda: next(boots))
    offsets = together(2, lambda meeting: (meeting.rank, meeting.offset_s, meeting.offset_error_s))
    for rank, offset, error in offsets:
        # Both are this machine's clock in truth, so the estimate must be 0 within its own bound.
        assert abs(offset) <= error
        assert (error > 0) == (rank == 1)


def test_a_clock_that_moves_is_seen_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    boots, real, ahead = iter(["here", "there"]), TcpLink.send, 0.0

    def send(self: TcpLink, to: int, message: dict[str, Any]) -> None:
        real(self, to, {**message, "clock": message["clock"] + ahead} if message["kind"] == "pong" else message)

    def job(meeting: Meeting) -> Any:
        nonlocal ahead
        meeting.exchange(None, timeout_s=10)
        ahead = 0.25  # rank 0's clock, which answers
        found = meeting.drift()
        meeting.exchange(None, timeout_s=10)
        return found

    monkeypatch.setattr("trtkit.ranks.clock.identity", lambda: next(boots))
    monkeypatch.setattr(TcpLink, "send", send)
    first, second = sorted(together(2, job), key=lambda drift: drift.error_s)
    assert (first.seconds, first.error_s) == (0.0, 0.0), "rank 0 is the measure"
    assert abs(second.seconds - 0.25) <= second.error_s < 0.1


def test_a_rank_that_does_not_come_in_time_is_named_and_the_others_go_on() -> None:
    def job(meeting: Meeting) -> Any:
        if meeting.rank == 2:
            time.sleep(2.5)
            return None
        return meeting.exchange(meeting.rank, timeout_s=1.0)

    results = together(3, job)
    assert results[0] == [0, 1, Lost(2, "it did not come within 1.0 s")]
    assert results[1] == results[0]


RANK = """
import sys, time
from trtkit.ranks import Lost, Place, join
rank, size, port = map(int, sys.argv[1:])
meeting = join(Place(rank, size, address=("127.0.0.1", port)))
print("met", flush=True)
started = time.monotonic()
if rank == 1:
    time.sleep(60)
values = meeting.exchange(rank, timeout_s=30)
print([f"lost: {value.why}" if isinstance(value, Lost) else value for value in values], flush=True)
print(f"{time.monotonic() - started:.1f}", flush=True)
meeting.abort(8)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
@pytest.mark.parametrize(("number", "said"), [(signal.SIGKILL, "connection"), (signal.SIGSTOP, "silent for")])
def test_a_rank_that_is_killed_or_stopped_is_missed_within_seconds(number: signal.Signals, said: str) -> None:
    port = free_port()
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), "3", str(port)], stdout=subprocess.PIPE, text=True)
        for rank in range(3)
    ]
    try:
        for process in ranks:
            assert process.stdout is not None
            assert process.stdout.readline() == "met\n"
        os.kill(ranks[1].pid, number)
        for rank in (0, 2):
            out, _ = ranks[rank].communicate(timeout=30)
            values, seconds = out.splitlines()
            assert said in values
            assert values.startswith("[0, ")
            assert float(seconds) < 8
            assert ranks[rank].returncode == 8
    finally:
        for process in ranks:
            process.kill()
            process.communicate()


def test_strangers_are_dropped_and_wrong_ranks_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    address = ("127.0.0.1", port)
    made: list[TcpLink] = []
    listener = threading.Thread(target=lambda: made.append(TcpLink(Place(0, 2, address=address), patience_s=20)))
    listener.start()
    time.sleep(0.3)
    with socket.create_connection(address) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.recv(100) == b""
    with pytest.raises(UsageError, match="counts 3 ranks and rank 0 2"):
        TcpLink(Place(1, 3, address=address))
    monkeypatch.setenv("TRTKIT_RENDEZVOUS_TOKEN", "other")
    with pytest.raises(UsageError, match="TRTKIT_RENDEZVOUS_TOKEN differs"):
        TcpLink(Place(1, 2, address=address))
    monkeypatch.delenv("TRTKIT_RENDEZVOUS_TOKEN")
    link = TcpLink(Place(1, 2, address=address))
    listener.join(timeout=10)
    made[0].send(1, {"kind": "hello"})
    assert link.receive(5) == (0, {"kind": "hello"})
    link.close()
    made[0].close()


def test_ranks_that_do_not_come_are_counted() -> None:
    with pytest.raises(RunError, match=r"Of 3 ranks 2 did not come within .*: 1, 2"):
        TcpLink(Place(0, 3, address=("127.0.0.1", free_port())), patience_s=0.3)


def test_nobody_listening_is_said() -> None:
    with pytest.raises(RunError, match="did not reach rank 0"):
        TcpLink(Place(1, 2, address=("127.0.0.1", free_port())), patience_s=0.3)


def test_a_rank_that_is_slow_to_leave_takes_the_end_for_no_trouble() -> None:
    def job(meeting: Meeting) -> Any:
        meeting.exchange(None, timeout_s=10)
        if meeting.rank == 1:
            time.sleep(1.0)  # rank 0 has said goodbye and closed its connection meanwhile
        return meeting.trouble, meeting.lost

    assert together(2, job) == [(None, False)] * 2


def test_a_rank_that_says_farewell_is_lost_at_once_and_its_last_value_is_there() -> None:
    def job(meeting: Meeting) -> Any:
        if meeting.rank == 1:
            meeting.farewell("it was interrupted", {"images": 8})
            return meeting.leaderless
        started = time.monotonic()
        values = meeting.exchange(meeting.rank, timeout_s=10)
        assert time.monotonic() - started < 3
        last = meeting.farewells(1.0) if meeting.rank == 0 else None
        return values, meeting.trouble, last

    first, second, third = together(3, job)
    assert second is False, "rank 0 heard it"
    gone = Lost(1, "it was interrupted")
    assert first[0] == [0, gone, 2] and third[0] == [0, gone, 2]
    assert first[1] == "rank 1 is lost: it was interrupted"
    assert first[2][0] == {1: {"images": 8}}


def test_rank_0_learns_who_does_not_answer_any_more() -> None:
    def job(meeting: Meeting) -> Any:
        meeting.exchange(None, timeout_s=10)
        if meeting.rank == 1:
            meeting._leaving.set()  # its thread stops as if it were killed
            meeting._pump.join()
        time.sleep(0.3)
        found = meeting.farewells(0.5) if meeting.rank == 0 else None
        meeting.farewell("it ends")
        return found, meeting.leaderless

    found = together(3, job)
    assert found[0] == (({2: None}, {1}), False)
    assert found[1][1], "nobody answers a farewell that was never sent"


def test_a_large_value_takes_longer_than_the_patience_and_nobody_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "_SEND_S", 1.0)
    real = socket.socket.send

    def slowly(self: socket.socket, data: Any, *flags: int) -> int:
        if len(data) > 2**16:
            time.sleep(0.06)  # 60 pieces: longer than the patience, and than the time for one of them
        return real(self, data, *flags)

    monkeypatch.setattr(tcp.socket, "socket", type("Slow", (socket.socket,), {"send": slowly}))
    size = 30 << 20

    def job(meeting: Meeting) -> int:
        found = meeting.exchange("x" * size if meeting.rank else "", timeout_s=25, to_all=False)
        return len(found[1]) if meeting.rank == 0 else 0

    assert together(2, job, patience_s=1.0)[0] == size


def test_lines_of_any_length_come_out_whole() -> None:
    connection = tcp._Connection(None)  # type: ignore[arg-type]
    sent = [b"a" * 10, b"", b"b" * 300_000, b"c"]
    stream = b"".join(line + b"\n" for line in sent) + b"rest"
    found = [line for start in range(0, len(stream), 7001) for line in connection.lines(stream[start : start + 7001])]
    assert found == sent and connection.pending == b"rest"
    started = time.monotonic()
    for _ in range(4000):
        assert connection.lines(b"x" * 2**14) == []
    assert connection.lines(b"\n")[0] == b"rest" + b"x" * (4000 * 2**14)
    assert time.monotonic() - started < 5, "64 MB, each byte once"


def test_a_rank_that_was_started_again_belongs_to_the_run_and_nonsense_does_no_harm() -> None:
    address = ("127.0.0.1", free_port())
    made: list[TcpLink] = []
    listener = threading.Thread(target=lambda: made.append(TcpLink(Place(0, 3, address=address), patience_s=20)))
    listener.start()
    time.sleep(0.3)
    for nonsense in (b"[" * 3000 + b"\n", b"x" * 5000 + b"\n", b'{"rank": 9}\n{"rank": 1, "size": 3, "token": ""}\n'):
        with socket.create_connection(address) as stranger:
            stranger.sendall(nonsense)
            with contextlib.suppress(ConnectionError):
                assert stranger.recv(100) == b""
    first = TcpLink(Place(1, 3, address=address))
    first.close()
    time.sleep(0.3)
    again, other = TcpLink(Place(1, 3, address=address)), TcpLink(Place(2, 3, address=address))
    listener.join(timeout=10)
    assert made[0].closed() == {}
    made[0].send(1, {"kind": "hello"})
    assert again.receive(5) == (0, {"kind": "hello"})
    for link in (again, other, made[0]):
        link.close()


@pytest.mark.parametrize("who", [0, 1])
def test_a_rank_whose_main_thread_hangs_is_lost_though_its_heart_beats(who: int) -> None:
    def job(meeting: Meeting) -> Any:
        if meeting.rank == who:
            meeting.pulse.begin("its workers measure", 0.3)
            time.sleep(1.7)
            return meeting.trouble
        started = time.monotonic()
        values = meeting.exchange(meeting.rank, timeout_s=20)
        assert time.monotonic() - started < 1.6
        return values[who]

    found = together(3, job)
    assert re.search("its main thread hangs: nothing for .*s while its workers measure", found.pop(who))
    assert all(isinstance(lost, Lost) and "its main thread hangs" in lost.why for lost in found)


def test_a_rank_that_moves_again_waits_for_nobody_who_has_left() -> None:
    def job(meeting: Meeting) -> Any:
        if meeting.rank == 1:
            meeting.pulse.begin("its workers measure", 0.1)
            time.sleep(1.2)
        return meeting.exchange(meeting.rank, timeout_s=15, to_all=False)

    assert together(2, job)[1][0] == Lost(0, "it has left")


def test_waiting_for_others_and_long_steps_are_no_hang() -> None:
    def job(meeting: Meeting) -> Any:
        meeting.pulse.begin("its workers measure", 0.4)
        if meeting.rank == 1:
            meeting.pulse.begin("preparing")
            time.sleep(1.2)  # rank 0 waits so long, in a step of 0.4 s
        return meeting.exchange(meeting.rank, timeout_s=20), meeting.trouble

    assert together(2, job) == [([0, 1], None)] * 2


def test_a_rank_that_hangs_ends_itself_when_all_others_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "_LAST_S", 0.1)
    ended: list[int] = []
    monkeypatch.setattr(TcpLink, "abort", lambda self, code: ended.append(code))

    def job(meeting: Meeting) -> None:
        meeting.exchange(None, timeout_s=20)
        if meeting.rank == 1:
            meeting.pulse.begin("its workers measure", 0.1)
            time.sleep(1.9)

    together(2, job)
    assert ended[:1] == [RunError.exit_code]
