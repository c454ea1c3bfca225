from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from trtkit import worker
from trtkit.errors import BuildError, ModelError, RunError
from trtkit.worker import Log, Progress, WorkerCrashError

JOBS = "tests.worker.jobs"


def run(name: str, /, **arguments: Any) -> worker.WorkerResult:
    return worker.run(f"{JOBS}:{name}", arguments, what="the test job")


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether the process disappears (or is only a zombie) within the time."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_value_travels_both_ways() -> None:
    sent = {"text": "é\n\x00", "numbers": [1, 2.5, None], "nested": {"a": True}}
    result = run("echo", **sent)
    assert result.value == sent
    assert result.seconds >= 0


def test_progress_and_log_events_arrive_in_order() -> None:
    events: list[Progress | Log] = []
    result = worker.run(f"{JOBS}:steps", {"count": 3}, what="counting", on_event=events.append)
    assert [event.step for event in events if isinstance(event, Progress)] == [0, 1, 2, 3]
    assert events[0] == Progress("Counting", 0, 3, "All")
    assert events[-1] == Log("warning", "the vendor warns")
    assert result.log == ("the vendor warns",)


def test_workers_do_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PyTorch that is installed is not imported to ask whether an array is a tensor."""
    (tmp_path / "torch.py").write_text("Tensor = bytes\n__version__ = '9.9'\n")
    info = tmp_path / "torch-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(tmp_path)  # a worker sees the modules that this process sees
    ask = "import sys; from polygraphy import util; util.array.is_torch(1); print('torch' in sys.modules)"
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    there = subprocess.run(
        [sys.executable, "-c", ask],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == "True"  # outside of a worker Polygraphy does import it
    result = worker.run(f"{JOBS}:asks_polygraphy_for_tensors", {}, what="asking Polygraphy")
    assert result.value == {"is_torch": False, "loaded": False}


def test_vendor_prints_do_not_break_the_protocol_and_end_in_the_log() -> None:
    result = run("noisy", lines=5000)
    assert result.value == "answered"
    assert result.log[-1] == "line 4999"
    assert len(result.log) <= 40


def test_errors_of_the_tree_keep_class_hint_and_log() -> None:
    with pytest.raises(ModelError, match="node 'a' is bad") as caught:
        run("refuse")
    assert caught.value.hint == "Mend it."
    assert caught.value.log == ("vendor said no",)


def test_a_bug_comes_back_with_its_traceback() -> None:
    with pytest.raises(WorkerCrashError, match=r"(?s)Traceback.*ZeroDivisionError: a bug"):
        run("bug")


def test_memory_error_names_peak_and_cause() -> None:
    with pytest.raises(RunError, match=r"Host memory ran out in the test job \(peak .* MiB\)\. no room for 1 TiB"):
        run("out_of_memory")


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("segfault", "was killed by SIGSEGV"),
        ("killed", "was killed by SIGKILL .*memory ran out"),
        ("leaves", "ended with exit code 3 and no answer"),
    ],
)
def test_death_becomes_the_error_class_that_was_asked_for(job: str, said: str) -> None:
    with pytest.raises(BuildError, match=said) as caught:
        worker.run(f"{JOBS}:{job}", {}, what="the build of x", died=BuildError)
    assert "the build of x" in caught.value.message


def test_last_words_of_a_segfault_are_kept() -> None:
    with pytest.raises(RunError) as caught:
        run("segfault")
    words, fault, frame = caught.value.log
    assert words == "the last words", "without the vendor's colours"
    assert "--verbose" in caught.value.hint
    assert "Segmentation fault" in fault  # faulthandler's own line, with the innermost Python frame after it
    assert "string_at" in frame


def test_timeout_kills_and_says_so(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    started = time.monotonic()
    with pytest.raises(RunError, match=r"did not finish within 1\.5 s"):
        worker.run(f"{JOBS}:sleeps", {"pid_file": str(pid_file), "seconds": 60}, what="the sleep", timeout_s=1.5)
    assert time.monotonic() - started < 10
    assert gone(int(pid_file.read_text()))


def test_environment_is_passed_and_no_vendor_is_imported() -> None:
    result = worker.run(f"{JOBS}:environment", {"name": "TRTKIT_TEST"}, what="x", env={"TRTKIT_TEST": "yes"})
    assert result.value["value"] == "yes"
    assert result.value["pid"] != os.getpid()
    loaded = {name.split(".")[0] for name in result.value["modules"]}
    assert not loaded & {"onnxruntime", "tensorrt", "tensorrt_rtx", "polygraphy", "numpy", "onnx"}


def test_peak_memory_is_the_workers_own() -> None:
    small, large = run("allocate", mebibytes=1), run("allocate", mebibytes=200)
    assert small.peak_rss_bytes is not None and large.peak_rss_bytes is not None
    assert 150 * 2**20 < large.peak_rss_bytes - small.peak_rss_bytes < 260 * 2**20


PARENT = """
import sys
from trtkit import worker
worker.run("tests.worker.jobs:sleeps", {"pid_file": sys.argv[1], "seconds": 60}, what="the sleep")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(tmp_path: Path, signal_number: signal.Signals) -> None:
    pid_file = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(pid_file)], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    worker_pid = int(pid_file.read_text())
    started = time.monotonic()
    parent.send_signal(signal_number)
    parent.wait(timeout=10)
    assert gone(worker_pid)
    assert time.monotonic() - started < 2.5
