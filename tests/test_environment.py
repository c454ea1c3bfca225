"""What measured: facts that are true of this machine, and a fingerprint of the code that changes with it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import trtkit
from trtkit import environment
from trtkit.environment import PACKAGES, cpu_name, describe

ROOT = Path(trtkit.__file__).parent.parent


def test_this_machine_is_described() -> None:
    here = describe()
    assert (here.trtkit, here.python) == (trtkit.__version__, platform.python_version())
    assert platform.system() in here.platform and platform.machine() in here.platform
    assert here.cpu == cpu_name() != ""
    assert 1 <= here.cores <= (os.cpu_count() or 1)
    assert json.loads(json.dumps(here.to_json())) == here.to_json()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_cores_are_those_that_the_process_may_use() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from trtkit.environment import describe"
    command = [sys.executable, "-c", f"{code}; print(describe().cores)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout == "1\n"


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux only")
def test_memory_is_the_systems() -> None:
    kib = int(next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line).split()[1])
    assert describe().memory_bytes == pytest.approx(kib * 1024, rel=0.05)


def test_memory_that_the_system_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert describe().memory_bytes is None


def test_versions_are_those_installed_and_only_those() -> None:
    found = describe().packages
    assert found["numpy"] == importlib.metadata.version("numpy")
    assert found["trtkit"] == trtkit.__version__
    installed = {d.metadata["Name"].lower().replace("_", "-") for d in importlib.metadata.distributions()}
    assert set(found) - {"trtkit"} == {name for name in PACKAGES if name in installed and name != "trtkit"}


def fingerprint(root: Path) -> str:
    """The fingerprint of the packages in ``root``, taken in a process of its own."""
    code = "from trtkit import environment; print(environment.code_fingerprint())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return done.stdout.strip()


def test_the_fingerprint_follows_the_code_and_nothing_else(tmp_path: Path) -> None:
    without = shutil.ignore_patterns("__pycache__")
    for package in ("trtkit", "model_defs", "calibration"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=without)
    first = fingerprint(tmp_path)
    assert first == environment.code_fingerprint(), "where the code lies does not matter"
    (tmp_path / "trtkit" / "notes.txt").write_text("no code")
    (tmp_path / "trtkit" / "errors.py").touch()
    assert fingerprint(tmp_path) == first
    seen = {first}
    for package in ("trtkit", "model_defs", "calibration"):
        with (tmp_path / package / "__init__.py").open("a") as file:
            file.write("\n# changed\n")
        seen.add(fingerprint(tmp_path))
    (tmp_path / "trtkit" / "artifacts" / "new.py").write_text("")
    seen.add(fingerprint(tmp_path))
    assert len(seen) == 5
