"""How much of the processors others took: against a scripted ``/proc/stat``, and against a process that burns one."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from trtkit.backends.cpu_monitor import CpuMonitor


def stat(path: Path, *busy_s: float, idle_s: float = 100.0) -> Path:
    """Processors with these busy seconds, spread over the columns that count."""
    ticks = os.sysconf("SC_CLK_TCK")
    lines = ["cpu  1 1 1 1 1 1 1 1 1 1"]
    for number, seconds in enumerate(busy_s):
        part = round(seconds * ticks / 2)
        lines.append(f"cpu{number} {part} 0 0 {round(idle_s * ticks)} 50 0 0 {part} 999 999")
    path.write_text("\n".join([*lines, "intr 5", "ctxt 6"]))
    return path


def test_busy_seconds_beyond_ones_own_are_foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walls, owns = iter([50.0, 60.0]), iter([5.0, 11.0])
    monkeypatch.setattr("trtkit.backends.cpu_monitor.time.monotonic", lambda: next(walls))
    monkeypatch.setattr("trtkit.backends.cpu_monitor.time.process_time", lambda: next(owns))
    path = stat(tmp_path / "stat", 7.0, 9.0, 1000.0)
    with CpuMonitor((0, 1), path) as monitor:
        stat(path, 12.0, 13.0, 1010.0)
    # 9 s busy on processors 0 and 1, 6 s of them our own, 20 s available
    assert monitor.seen() == {"foreign_cpu": pytest.approx(3 / 20)}


def test_an_unknown_system_is_unknown(tmp_path: Path) -> None:
    with CpuMonitor((), tmp_path / "missing") as monitor:
        pass
    assert monitor.seen() == {"foreign_cpu": None}
    (tmp_path / "odd").write_text("no processors here")
    with CpuMonitor((), tmp_path / "odd") as monitor:
        pass
    assert monitor.seen() == {"foreign_cpu": None}


def _burn(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system has no /proc/stat")
def test_a_real_burner_is_seen_and_ones_own_work_is_not() -> None:
    with CpuMonitor() as alone:
        _burn(0.5)
    burner = multiprocessing.get_context("spawn").Process(target=_burn, args=(30.0,))
    burner.start()
    try:
        time.sleep(0.5)  # its start
        with CpuMonitor() as disturbed:
            time.sleep(1.0)
    finally:
        burner.terminate()
        burner.join()
    quiet, loud = alone.seen()["foreign_cpu"], disturbed.seen()["foreign_cpu"]
    if quiet is None:
        pytest.skip("the system does not count")
    # At least a third of one processor, whoever else is there.
    assert loud >= 0.33 / (os.cpu_count() or 1)
    assert quiet <= 1 - 0.3 / (os.cpu_count() or 1)
