from __future__ import annotations

import queue
import time

import pytest

from tests.worker.test_worker import JOBS, gone
from trtkit.errors import RunError
from trtkit.worker import Inbox, Log, Message, Progress, Worker, run


def next_message(worker: Worker) -> Message:
    _, event = worker.inbox.get(timeout=20)
    assert isinstance(event, Message)
    return event


def test_a_conversation_goes_both_ways_until_the_answer() -> None:
    with Worker(f"{JOBS}:converse", {}, what="the talk") as worker:
        ready = next_message(worker)
        assert ready.kind == "ready"
        assert ready.values == {"pid": worker.pid}
        for number in (1, 21):
            worker.send({"number": number})
            assert next_message(worker).values == {"value": 2 * number}
        assert not worker.ended
        worker.send({"stop": True})
        assert worker.answer().value == 2
    assert worker.inbox.get(timeout=1) == (worker, None)


def test_two_workers_share_one_inbox_and_each_event_names_its_sender() -> None:
    inbox: Inbox = queue.Queue()
    with (
        Worker(f"{JOBS}:converse", {}, what="one", inbox=inbox) as one,
        Worker(f"{JOBS}:converse", {}, what="two", inbox=inbox) as two,
    ):
        met = {}
        for _ in range(2):
            sender, event = inbox.get(timeout=20)
            assert isinstance(event, Message)
            met[sender] = event.values["pid"]
        assert met == {one: one.pid, two: two.pid}


def test_a_message_carries_the_moment_of_its_arrival_on_the_machines_clock() -> None:
    before = time.monotonic()
    with Worker(f"{JOBS}:converse", {}, what="the talk") as worker:
        arrived = next_message(worker).received_monotonic_s
    assert before < arrived < time.monotonic()


def test_leaving_the_block_ends_a_worker_that_is_still_talking() -> None:
    with Worker(f"{JOBS}:converse", {}, what="the talk") as worker:
        pid = next_message(worker).values["pid"]
    assert gone(pid)


def test_a_worker_killed_in_the_middle_says_so_and_is_the_end_of_its_events() -> None:
    with Worker(f"{JOBS}:converse", {}, what="the talk") as worker:
        next_message(worker)
        worker._signal()
        assert worker.inbox.get(timeout=5) == (worker, None)
        worker.send({"number": 1})  # nobody listens: no error
        with pytest.raises(RunError, match="The worker process of the talk was killed by SIGKILL"):
            worker.answer()


def test_a_worker_that_expires_is_killed_with_the_time_it_had() -> None:
    with Worker(f"{JOBS}:converse", {}, what="the talk") as worker:
        next_message(worker)
        worker.expire(0.1)
        with pytest.raises(RunError, match="the talk did not finish within 100 ms"):
            worker.answer()


def test_a_job_may_wait_for_a_limited_time() -> None:
    assert run(f"{JOBS}:waits_in_vain", {}, what="the wait").value == "nothing"


def test_progress_and_logs_come_through_the_same_inbox() -> None:
    with Worker(f"{JOBS}:steps", {"count": 1}, what="counting") as worker:
        seen = [worker.inbox.get(timeout=20)[1] for _ in range(4)]
    assert seen == [
        Progress("Counting", 0, 1, "All"),
        Progress("Counting", 1, 1, "All"),
        Log("warning", seen[2].text),
        None,
    ]  # type: ignore[union-attr]
