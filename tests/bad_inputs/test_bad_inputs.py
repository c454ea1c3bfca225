"""Every bad input through the real command line: exit code, one screen, a way out, nothing left behind, soon."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.bad_inputs import bench, calibration, files, graphs, options, plans, rewrites, studies, weights
from tests.bad_inputs.case import BadInput, onnx_file
from tests.graph.models import relu
from trtkit import worker
from trtkit.backends import probing
from trtkit.cli.main import main
from trtkit.errors import BackendUnavailableError, TrtkitError

CASES = (
    *bench.CASES,
    *calibration.CASES,
    *files.CASES,
    *graphs.CASES,
    *options.CASES,
    *options.REFUSED_BY_FAMILY,
    *weights.CASES,
    *plans.CASES,
    *rewrites.CASES,
    *studies.CASES,
)
LINES, COLUMNS, SECONDS, ASKED = 24, 100, 2.0, 3


@pytest.fixture(autouse=True)
def _families_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time, as a user's command does: how long an answer takes is part of what is tested."""
    monkeypatch.setattr(probing, "worker", worker)


def provoke(
    case: BadInput, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> dict[str, str]:
    """Run the case in ``folder`` and check all that holds for every error; returns the error as ``--json`` gives it."""
    case.files(folder)
    before = {path.relative_to(folder) for path in folder.rglob("*")}
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    seconds: list[float] = []
    while not seconds or (min(seconds) >= SECONDS and len(seconds) < ASKED):  # a busy machine is asked again
        capfd.readouterr()
        started = time.monotonic()
        code = main([*shlex.split(case.command), "--json"])
        seconds.append(time.monotonic() - started)
        shown = capfd.readouterr()

    document = json.loads(shown.out)["error"]
    screen = shown.err.splitlines()
    assert code == document["exit_code"]
    assert "Traceback" not in shown.err
    assert len(screen) <= LINES, shown.err
    assert max(map(len, screen)) <= COLUMNS, shown.err
    assert sum(line.startswith("error: ") for line in screen) == 1
    assert all(line.endswith("…") for line in screen[: [line[:7] for line in screen].index("error: ")]), shown.err
    assert any(line.startswith("hint: ") for line in screen)
    assert document["hint"].strip()
    assert min(seconds) < SECONDS, f"the answer took {min(seconds):.1f} s"
    left = {path.relative_to(folder) for path in folder.rglob("*")} - before
    assert not [path for path in left if ".part" in path.name or path.suffix == ".plan" or path.name == "out"]
    return {"code": code, **document}


def check(case: BadInput, answer: dict[str, str]) -> None:
    """What this case alone must say."""
    if case.error is TrtkitError:  # any of the tree but a bug
        assert int(answer["code"]) in (2, 4)
    else:
        assert (answer["type"], answer["code"]) == (case.error.__name__, case.error.exit_code)
    assert re.search(case.message, answer["message"], re.DOTALL), answer["message"]
    assert re.search(case.hint, answer["hint"]), answer["hint"]


def test_the_catalogue_is_large_and_its_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 40


def _parameters() -> list[ParameterSet]:
    return [pytest.param(case, id=case.name.replace(" ", "-")) for case in CASES]


@pytest.mark.parametrize("case", _parameters())
def test_bad_input(
    case: BadInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    check(case, provoke(case, tmp_path, monkeypatch, capfd))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound artifact with manifest and ONNX."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "model.onnx").write_bytes(relu().SerializeToString())
    assert main(["convert", str(folder / "model.onnx"), "--family", "onnxruntime", "--output", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("index", range(7))
def test_tampered_artifact(
    index: int, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cases = plans.tampered_cases(built)
    assert len(cases) == 7
    check(cases[index], provoke(cases[index], tmp_path, monkeypatch, capfd))


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="the tensorrt family is installed here")
def test_a_family_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = "convert model.onnx --family tensorrt"
    case = BadInput("no tensorrt", command, BackendUnavailableError, "not installed", "pip install", onnx_file(relu))
    check(case, provoke(case, tmp_path, monkeypatch, capfd))


def test_a_bad_file_is_refused_in_two_seconds_start_of_python_included(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    command = [sys.executable, "-m", "trtkit", "convert", str(tmp_path / "model.onnx"), "--output", str(tmp_path)]
    seconds: list[float] = []
    while not seconds or (min(seconds) >= SECONDS and len(seconds) < ASKED):
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds.append(time.monotonic() - started)
    assert min(seconds) < SECONDS
    assert done.returncode == 4
    assert done.stdout == ""
    assert "is empty (0 bytes)" in " ".join(done.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
