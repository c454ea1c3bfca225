"""Ctrl-C in the first tenth of a second: while Python imports, nothing has begun, and no traceback is shown."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from trtkit import start
from trtkit.errors import EXIT_INTERRUPTED

if sys.platform == "win32":
    pytest.skip("POSIX signals", allow_module_level=True)

# What the installed console script does, but for a signal to itself when a module is about to be imported.
_AT_IMPORT = """
import importlib.abc, os, signal, sys

_, victim, number, *words = sys.argv

class Strike(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == victim:
            os.kill(os.getpid(), int(number))

sys.meta_path.insert(0, Strike())
from trtkit.start import run
sys.argv = ["trtkit", *words]
sys.exit(run())
"""
_SAYS_WHEN = """
import importlib.abc, sys

class Say(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "trtkit.cli":  # the first import after the handlers are set
            print("up", flush=True)

sys.meta_path.insert(0, Say())
from trtkit.start import run
sys.argv = ["trtkit", "models"]
sys.exit(run())
"""


def _polite(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == EXIT_INTERRUPTED, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("interrupted")
    assert done.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
@pytest.mark.parametrize("module", ["trtkit.cli", "typer", "trtkit.cli.convert", "trtkit.cli.main"])
def test_a_signal_in_the_imports_ends_with_130(module: str, number: signal.Signals) -> None:
    words = [sys.executable, "-c", _AT_IMPORT, module, str(int(number)), "models"]
    _polite(subprocess.run(words, capture_output=True, text=True, timeout=60, check=False))


@pytest.mark.parametrize("module", ["trtkit.cli.console", "model_defs", "onnx", "numpy"])
def test_a_signal_in_the_imports_of_a_command_ends_with_130(module: str) -> None:
    words = [
        sys.executable,
        "-c",
        _AT_IMPORT,
        module,
        str(int(signal.SIGINT)),
        "export",
        "squeezenet1_1",
        "-o",
        "no.onnx",
    ]
    _polite(subprocess.run(words, capture_output=True, text=True, timeout=60, check=False))


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3])
def test_whenever_it_comes_there_is_no_traceback(after_s: float) -> None:
    """By the clock: what is struck depends on the machine, and a fast one is done before the last blows."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SAYS_WHEN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, EXIT_INTERRUPTED), err
    assert "Traceback" not in err
    assert (process.returncode == 0) == (err == "")


def test_run_leaves_with_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trtkit.cli.main.main", lambda: 9)
    monkeypatch.setattr(start.signal, "signal", lambda *_: None)  # the test's own process keeps its handlers
    with pytest.raises(SystemExit) as caught:
        start.run()
    assert caught.value.code == 9


def test_what_the_parent_ignores_stays_ignored() -> None:
    """``nohup trtkit …``: a closed session does not end it."""
    words = [sys.executable, "-c", _AT_IMPORT, "typer", str(int(signal.SIGHUP)), "--version"]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trtkit ")
