"""Ctrl-C, SIGTERM and a closed session, sent to a real conversion at each of its stages."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("POSIX signals", allow_module_level=True)
psutil = pytest.importorskip("psutil")
if importlib.util.find_spec("tensorrt_rtx") is None:
    pytest.skip("tensorrt_rtx is not installed", allow_module_level=True)

ENDS_WITHIN_S = 2.5


def _start(folder: Path, stage: str) -> subprocess.Popen[str]:
    words = ["convert", "googlenet", "-o", str(folder), "--family", "tensorrt-rtx"]
    if stage in ("Building", "Validating"):
        words += ["--rewrite", "none"]  # which is a stage of its own, and the longest on the way there
    return subprocess.Popen(
        [sys.executable, "-m", "trtkit", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )


def _wait_for(process: subprocess.Popen[str], stage: str) -> list[str]:
    """Standard error up to the line that announces the stage."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith(stage):
            return lines
    raise AssertionError(f"no stage {stage!r} in {lines}")


@pytest.mark.parametrize(
    ("stage", "after_s", "number"),
    [
        ("Exporting", 0.05, signal.SIGINT),
        ("Rewriting", 0.5, signal.SIGINT),
        ("Building", 0.0, signal.SIGTERM),
        ("Building", 0.6, signal.SIGINT),
        ("Building", 0.3, signal.SIGHUP),
        ("Validating", 0.0, signal.SIGTERM),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_nothing_stays(tmp_path: Path, stage: str, after_s: float, number: signal.Signals) -> None:
    folder = tmp_path / "out"
    process = _start(folder, stage)
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    try:
        _wait_for(process, stage)
        time.sleep(after_s)
        children = psutil.Process(process.pid).children(recursive=True)
        if stage == "Building" and after_s:
            assert children, "a build has a worker"
        began = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        took_s = time.monotonic() - began
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert took_s <= ENDS_WITHIN_S
    assert err.strip().endswith("nothing half-written was left behind")
    assert "Traceback" not in err
    assert out == ""
    assert not folder.exists() or list(folder.iterdir()) == []
    _, left = psutil.wait_procs(children, timeout=0.5)
    # A dead process stays a zombie where nobody collects it: process 1 of a container often does not.
    assert [child for child in left if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
