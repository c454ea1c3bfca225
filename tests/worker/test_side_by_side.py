"""Jobs in workers side by side: their answers, and that none outlives a bug, the time, or Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.worker.test_worker import gone
from trtkit.errors import ModelError, RunError
from trtkit.worker import WorkerCrashError
from trtkit.worker.side_by_side import Crew, side_by_side

JOBS = "tests.worker.jobs"


def sleeper(file: Path):
    return lambda crew: crew.run(f"{JOBS}:sleeps", {"pid_file": str(file), "seconds": 60}, what="the sleep")


def awake(files: list[Path]) -> bool:
    return all(file.exists() and file.read_text() for file in files)


def test_each_has_its_answer_and_never_more_than_the_width_run_at_a_time():
    meeting, busy, most, heard = threading.Barrier(2), [], [], []

    def good(crew: Crew) -> None:
        busy.append(1)
        most.append(len(busy))
        meeting.wait(timeout=5)  # each needs another one beside it
        busy.pop()

    def bad(crew: Crew) -> None:
        crew.run(f"{JOBS}:refuse", {}, what="the refusal")

    jobs = [(name, bad if name == "bad" else good) for name in ("a", "b", "c", "d", "bad")]
    found = side_by_side(jobs, 2, lambda: 60.0, heard.append)
    assert list(found) == ["a", "b", "c", "d", "bad"] and max(most) == 2 and heard[-1] == 5
    assert isinstance(found.pop("bad"), ModelError) and set(found.values()) == {None}


def test_when_the_time_is_up_workers_are_killed_and_nothing_is_begun(tmp_path):
    files = [tmp_path / name for name in "ab"]
    jobs = [(file.name, sleeper(file)) for file in (*files, tmp_path / "c")]
    found = side_by_side(jobs, 2, lambda: 0.0 if awake(files) else 60.0)
    assert found == {} and all(gone(int(file.read_text())) for file in files) and not (tmp_path / "c").exists()
    begun: list[str] = []
    assert side_by_side(((n, begun.append(n)) for n in "ab"), 2, lambda: 0.0) == {} and begun == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_leaves_no_worker(tmp_path):
    files = [tmp_path / name for name in "ab"]

    def interrupt() -> None:
        while not awake(files):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        side_by_side([(file.name, sleeper(file)) for file in files], 2, lambda: 60.0)
    assert all(gone(int(file.read_text())) for file in files)
    assert not any(thread.name.startswith("side-by-side") for thread in threading.enumerate())


def test_a_bug_is_passed_on_and_a_stopped_crew_begins_nothing():
    with pytest.raises(WorkerCrashError, match="ZeroDivisionError"):
        side_by_side([("bug", lambda crew: crew.run(f"{JOBS}:bug", {}, what="the bug") and None)], 2, lambda: 60.0)
    crew = Crew()
    crew.stop()
    with pytest.raises(RunError, match="The echo was not begun"):
        crew.run(f"{JOBS}:echo", {}, what="the echo")
