"""Ranks by a real mpirun: messages, one result, and what a launcher cannot take away."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.perf.scale_faults import make_plan, mpirun
from trtkit.artifacts.files import read_json
from trtkit.artifacts.scale import ScaleResult
from trtkit.backends.null_timed import VARIABLE
from trtkit.errors import BackendUnavailableError
from trtkit.ranks import Place
from trtkit.ranks.mpi import MpiLink

LAUNCHER = mpirun()
needs_mpi = pytest.mark.skipif(LAUNCHER is None, reason="mpirun or mpi4py is missing: pip install 'trtkit[mpi]'")
ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

RANK = """
import json, os, sys
from trtkit.ranks import find, join
place = find()
meeting = join(place)
values = [meeting.exchange({"rank": meeting.rank, "round": n, "long": "x" * 300_000}, timeout_s=20) for n in range(2)]
assert [[v["rank"], v["round"], len(v["long"])] for v in values[1]] == [[r, 1, 300_000] for r in range(meeting.size)]
assert meeting.exchange(meeting.rank, timeout_s=20, to_all=False)[meeting.rank] in (meeting.rank, None)
if meeting.rank == 0:
    print(json.dumps([place.launcher, meeting.size, meeting.offset_s, os.getsid(0) == os.getpid()]))
meeting.close()
sys.exit(5)
"""


def launch(size: int, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    assert LAUNCHER is not None
    words = [*LAUNCHER, "-n", str(size), sys.executable, *command]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, env={**os.environ, **ROOT, **env})


@needs_mpi
def test_ranks_exchange_over_mpi_and_mpirun_sees_their_exit_code() -> None:
    done = launch(3, "-c", RANK)
    assert done.returncode == 5, done.stderr
    assert json.loads(done.stdout) == ["mpirun", 3, 0.0, True]


@needs_mpi
def test_bench_under_mpirun_writes_one_result_and_rank_0_speaks(tmp_path: Path) -> None:
    words = [
        "bench",
        str(make_plan(tmp_path)),
        "--device",
        "cpu",
        "--batch",
        "8",
        "--duration",
        "0.3",
        "--warmup",
        "0.01",
    ]
    script = json.dumps({"compute_ms": 0.0, "image_ms": 2.0})
    env = {VARIABLE: script, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = launch(2, "-m", "trtkit", *words, "--json", "-o", str(tmp_path / "out"), **env)
    assert done.returncode == 0, done.stderr
    (said,) = json.loads(done.stdout)["results"]
    (file,) = (tmp_path / "out").glob("*.scale.json")
    result = ScaleResult.from_json(read_json(file))
    assert (result.launcher, result.ranks, said["devices"]) == ("mpirun", 2, 2)
    assert result.total_images_per_s == pytest.approx(1000, rel=0.2)


@needs_mpi
def test_more_ranks_than_cores_are_refused_once(tmp_path: Path) -> None:
    size = len(os.sched_getaffinity(0)) + 1
    if size > 8:
        pytest.skip("too many cores for a test")
    words = ["bench", str(make_plan(tmp_path)), "--device", "cpu", "--batch", "8"]
    done = launch(size, "-m", "trtkit", *words, XDG_CACHE_HOME=str(tmp_path / "cache"), COLUMNS="200")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count(f"error: {size} ranks on {size - 1} cores") == 1


def test_without_mpi4py_ranks_are_not_as_many_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(
        BackendUnavailableError, match="mpirun started 4 processes, and the Python package mpi4py"
    ) as found:
        MpiLink(Place(1, 4, launcher="mpirun"))
    assert "trtkit[mpi]" in found.value.hint


@needs_mpi
@pytest.mark.slow
def test_ctrl_c_at_a_terminal_is_answered_with_one_line(tmp_path: Path) -> None:
    """mpirun shows nothing of its ranks once it was interrupted, so rank 0 writes to the terminal itself."""
    import pty  # Windows has none

    assert LAUNCHER is not None
    words = ["bench", str(make_plan(tmp_path)), "--device", "cpu", "--batch", "8", "--warmup", "0.01", "--no-alone"]
    words += ["--duration", "20", "--max-duration", "21", "-o", str(tmp_path / "out")]
    env = {VARIABLE: json.dumps({"compute_ms": 0.0, "image_ms": 2.0}), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process, terminal = pty.fork()
    if process == 0:
        command = [*LAUNCHER, "-n", "2", sys.executable, "-m", "trtkit", *words]
        os.execvpe(command[0], command, {**os.environ, **ROOT, **env, "COLUMNS": "500"})
    shown, pressed, until = b"", False, time.monotonic() + 60
    while b"interrupted: " not in shown and time.monotonic() < until:
        with contextlib.suppress(OSError):
            shown += os.read(terminal, 4096) if select.select([terminal], [], [], 0.1)[0] else b""
        if not pressed and b"Measuring together" in shown:
            time.sleep(0.5)
            pressed = os.write(terminal, b"\x03") > 0
    os.waitpid(process, 0)
    (file,) = (tmp_path / "out").glob("*.scale.json")
    assert f"interrupted: what was measured until then is in {file}" in shown.decode()
    assert b"MPI_ABORT" not in shown and b"Traceback" not in shown
