"""The cache: names from content, and a lock that holds between processes and dies with its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trtkit.errors import UsageError
from trtkit.stages.plan_cache import PlanCache, cache_folder

_HOLD = """
import sys, time
from pathlib import Path
from trtkit.stages.plan_cache import PlanCache
with PlanCache(Path(sys.argv[1])).entry("net", {"a": 1}, lambda text: print("waiting", flush=True)) as folder:
    log = folder / "log"
    print("in", flush=True)
    time.sleep(float(sys.argv[2]))
    with log.open("a") as file:
        file.write("in")
        file.flush()
        time.sleep(0.05)
        file.write("out\\n")
"""


def holder(root: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _HOLD, str(root), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_processes_take_turns(tmp_path: Path) -> None:
    first = holder(tmp_path, 0.5)
    assert said(first) == "in"
    others = [holder(tmp_path, 0.0) for _ in range(2)]
    assert [said(other) for other in others] == ["waiting", "waiting"]
    assert [process.wait(30) for process in (first, *others)] == [0, 0, 0]
    log = next((tmp_path / "plans").glob("net-*/log"))
    assert log.read_text() == "inout\n" * 3
    for process in (first, *others):
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_holder_gives_the_lock_back(tmp_path: Path) -> None:
    first = holder(tmp_path, 60.0)
    assert said(first) == "in"
    os.kill(first.pid, signal.SIGKILL)
    first.wait(10)
    assert first.stdout is not None
    first.stdout.close()
    told: list[str] = []
    started = time.monotonic()
    with PlanCache(tmp_path).entry("net", {"a": 1}, told.append) as folder:
        assert folder.is_dir()
    assert time.monotonic() - started < 5
    assert told == []


def test_names_follow_the_content(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    names = []
    for identity in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 2}):
        with cache.entry("größe/net", identity, print) as folder:
            names.append(folder.name)
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("gr_e_net-") and "/" not in names[0]


def test_spot_checks_are_remembered(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    assert cache.remembered("net", {"sha": "a"}) is None
    cache.remember("net", {"sha": "a"}, {"matches": True, "relative_l2": 1e-4})
    assert PlanCache(tmp_path).remembered("net", {"sha": "a"}) == {"matches": True, "relative_l2": 1e-4}
    assert cache.remembered("net", {"sha": "b"}) is None


def test_the_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "trtkit"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path.home() / ".cache" / "trtkit"


def test_a_cache_that_cannot_be_written_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match="cannot be written") as caught,
        PlanCache(tmp_path / "file").entry("net", {}, print),
    ):
        raise AssertionError("never entered")
    assert "--no-cache" in caught.value.hint
