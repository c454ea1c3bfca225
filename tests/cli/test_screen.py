"""What people see: names shown as they are, stage lines, a live bar on a terminal, and errors."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.graph.models import relu
from trtkit.cli.console import Screen, facts, out, show_error
from trtkit.cli.main import main
from trtkit.errors import BuildError
from trtkit.worker.protocol import Log, Progress

AWKWARD = "größe [red] [/] [link=x] :smile: y"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def test_names_are_shown_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = AWKWARD.replace("/", "")
    Path(folder).mkdir()
    source = f"{folder}/in [bold].onnx"
    Path(source).write_bytes(relu().SerializeToString())
    assert main(["convert", source, "-o", folder, "--family", "onnxruntime"]) == 0
    assert folder in capfd.readouterr().out
    plan = str(next(Path(folder).glob("*.onnxruntime.onnx")))
    assert main(["inspect", plan]) == 0
    shown = capfd.readouterr().out
    assert plan in shown and source in shown
    assert main(["validate", plan]) == 0
    assert plan.removesuffix(".onnx") in capfd.readouterr().out
    assert main(["export", "squeezenet1_1", "-o", f"{folder}/e [1].onnx"]) == 0
    assert f"{folder}/e [1].onnx" in capfd.readouterr().out
    assert main(["inspect", f"{folder}/none [blue].plan"]) == 7
    assert f"{folder}/none [blue].plan" in capfd.readouterr().err


def test_stages_are_lines_where_no_terminal_is(capfd: pytest.CaptureFixture[str]) -> None:
    with Screen() as screen:
        screen.stage(f"Exporting {AWKWARD}")
        screen.event(Progress("Optimizing", 1, 2))
        screen.stage("Building")
        screen.note(AWKWARD)
    assert capfd.readouterr() == ("", f"Exporting {AWKWARD} …\nBuilding …\nnote: {AWKWARD}\n")


def test_quiet_says_nothing_but_notes(capfd: pytest.CaptureFixture[str]) -> None:
    with Screen(quiet=True) as screen:
        screen.stage("Exporting")
        screen.event(Log("warning", "builder text"))
        screen.note("to know")
    assert capfd.readouterr() == ("", "note: to know\n")


def test_the_vendors_log(capfd: pytest.CaptureFixture[str]) -> None:
    for verbose, expected in ((False, "builder warns: w [b]\n"), (True, "info: i [b]\nwarning: w [b]\n")):
        with Screen(verbose=verbose) as screen:
            screen.event(Log("info", "i [b]"))
            screen.event(Log("warning", "w [b]"))
        assert capfd.readouterr().err == expected


def test_an_error_shows_message_last_lines_and_way_out(capfd: pytest.CaptureFixture[str]) -> None:
    log = ("the message", " ", *(f"line {index} [red]" for index in range(9)), "x" * 999)
    show_error(BuildError(f"the message: {AWKWARD}", hint="Use [this].", log=log))
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == f"error: the message: {AWKWARD}"
    assert lines[1:6] == [f"  | line {index} [red]" for index in range(4, 9)]
    assert lines[6] == "  | " + "x" * 160
    assert lines[7:] == ["hint: Use [this]."]


def test_a_crash_shows_trtkits_own_lines_only_if_asked(capfd: pytest.CaptureFixture[str]) -> None:
    stack = ("Fatal Python error: Segmentation fault", '  File "x.py", line 1 in run', "Extension modules: numpy")
    error = BuildError("It was killed by SIGSEGV.", hint="Update it.", log=("last words", *stack))
    show_error(error)
    assert capfd.readouterr().err.splitlines() == [
        "error: It was killed by SIGSEGV.",
        "  | last words",
        "hint: Update it.",
    ]
    show_error(error, verbose=True)
    assert capfd.readouterr().err.splitlines()[2:5] == [f"  | {line.strip()}" for line in stack]
    show_error(BuildError("It failed.", hint="Look.", log=('  File "x.py", line 1 in run', "ValueError: no")))
    assert len(capfd.readouterr().err.splitlines()) == 4, "of another library's traceback nothing is hidden"


def test_long_values_wrap_in_their_own_column(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out().print(facts("title [b]", [("name", "word " * 20), ("other", "[value]")]))
    lines = [line.rstrip() for line in capfd.readouterr().out.splitlines()]
    assert lines[0] == "title [b]" and max(map(len, lines)) <= 40
    assert all(line.startswith(" " * 8) for line in lines[2:-1]) and " ".join(lines).count("word") == 20
    assert lines[-1].split() == ["other", "[value]"]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_a_terminal_has_a_live_bar_with_its_phase() -> None:
    import pty

    code = (
        "import time\nfrom trtkit.cli.console import Screen\nfrom trtkit.worker.protocol import Progress\n"
        "with Screen() as screen:\n    screen.stage('Building')\n"
        "    screen.event(Progress('Optimizing', 3, 8))\n    time.sleep(0.4)\n"
    )
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=follower, env=environment)
    os.close(follower)
    shown = b""
    end = time.monotonic() + 30
    try:
        while time.monotonic() < end and select.select([leader], [], [], 30)[0]:
            try:
                piece = os.read(leader, 4096)
            except OSError:  # Linux says so when the last writer is gone
                break
            if not piece:
                break
            shown += piece
        assert process.communicate(timeout=10)[0] == b""
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert process.returncode == 0
    assert "Building · Optimizing" in text and "3/8" in text
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") == 1, "the cursor comes back"


def test_where_no_terminal_is_lines_are_neither_broken_nor_padded(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS")
    path = f"/long/{'folder/' * 60}plan"
    out().print(facts(path, [("file", path), ("short", "x")]))
    show_error(BuildError(f"{path} fails.", hint="Look."))
    with Screen() as screen:
        screen.note(f"replaced {path}")
    shown, told = capfd.readouterr()
    assert shown.splitlines() == [path, f"  file   {path}", "  short  x"]
    assert told.splitlines() == [f"error: {path} fails.", "hint: Look.", f"note: replaced {path}"]
    monkeypatch.setenv("COLUMNS", "60")
    out().print(facts("title", [("file", path)]))
    assert max(map(len, capfd.readouterr().out.splitlines())) == 60
