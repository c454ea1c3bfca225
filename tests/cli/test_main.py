"""The command line as a whole: exit codes, one JSON document, help that can be read, options spelled as meant."""

from __future__ import annotations

import errno
import inspect
import json
import os
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.graph.models import perceptron, relu
from trtkit import __version__
from trtkit.cli.main import app, main
from trtkit.pipeline import ConvertRequest, convert
from trtkit.stages.export import SourceRequest

COMMANDS = [
    "convert",
    "calibrate",
    "optimize",
    "validate",
    "bench",
    "study",
    "report",
    "compare",
    "inspect",
    "export",
    "models",
    "doctor",
]


def _model(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(relu().SerializeToString())
    return path


def _callback(name: str) -> Any:
    return next(c.callback for c in app.registered_commands if c.callback and c.callback.__name__ == name)


def _options(name: str) -> dict[str, tuple[Any, Any]]:
    """Parameter → (its typer.Option, its default), as the signature annotates them."""
    callback = _callback(name)
    hints = typing.get_type_hints(callback, include_extras=True)
    found = {}
    for parameter in inspect.signature(callback).parameters.values():
        for extra in getattr(hints[parameter.name], "__metadata__", ()):
            if isinstance(extra, typer.models.OptionInfo):
                found[parameter.name] = (extra, parameter.default)
    return found


def test_the_commands_are_these() -> None:
    assert [command.callback.__name__ for command in app.registered_commands if command.callback] == COMMANDS


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capfd.readouterr() == (f"trtkit {__version__}\n", "")


def test_no_arguments_show_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capfd.readouterr()
    assert main(["--help"]) == 0
    assert capfd.readouterr() == shown
    assert all(re.search(rf"^\W+{name}\b", shown.out, re.MULTILINE) for name in COMMANDS)
    assert shown.err == ""


def test_arguments_come_from_the_process_too(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["trtkit", "--version"])
    assert main() == 0
    assert __version__ in capfd.readouterr().out


def test_the_exit_code_reaches_the_shell() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trtkit", "export", "vgg"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == "" and "vgg" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["konvert"], "No such command 'konvert'", "trtkit --help"),
        (["--fast"], "No such option", "trtkit --help"),
        (["models", "--fast"], "No such option", "trtkit models --help"),
        (["convert"], "Missing argument", "trtkit convert --help"),
        (["convert", "x", "--seed"], "requires an argument", "trtkit convert --help"),
        (["convert", "x", "--seed", "-1"], "Invalid value for '--seed'", "trtkit convert --help"),
    ],
)
def test_wrong_words_are_2(words: list[str], message: str, hint: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    shown = capfd.readouterr()
    text = " ".join(shown.err.split())
    assert shown.out == ""
    assert message in text and f"Run {hint}." in text


def test_a_good_conversion_is_0(tmp_path: Path) -> None:
    assert main(["convert", str(_model(tmp_path)), "-o", str(tmp_path / "out"), "--family", "onnxruntime"]) == 0


def test_a_family_that_is_not_here_is_3(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("tensorrt is installed here")
    assert main(["convert", str(_model(tmp_path)), "-o", str(tmp_path / "out"), "--family", "tensorrt"]) == 3
    assert "hint:" in capfd.readouterr().err


def test_a_broken_model_is_4(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x08 no model at all")
    assert main(["convert", str(broken), "-o", str(tmp_path / "out"), "--family", "onnxruntime"]) == 4


def test_a_file_that_is_no_plan_is_7(tmp_path: Path) -> None:
    (tmp_path / "x.plan").write_bytes(b"nothing of the kind" * 9)
    assert main(["validate", str(tmp_path / "x.plan")]) == 7
    assert main(["inspect", str(tmp_path / "none.plan")]) == 7


def test_a_plan_that_computes_something_else_is_9(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The null family's plan computes zeros. It is for tests, which reach it in Python."""
    made = convert(ConvertRequest(SourceRequest(str(_model(tmp_path))), family="null", output=tmp_path / "out"))
    assert main(["validate", str(made.plan)]) == 9
    assert "exit code 9: the plan disagrees with its reference." in capfd.readouterr().err


def test_a_conversion_beyond_its_tolerance_is_9_and_keeps_the_plan(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(perceptron(hidden=16).SerializeToString())
    words = ["convert", str(path), "-o", str(tmp_path / "out"), "--family", "onnxruntime", "-p", "fp16", "--json"]
    assert main([*words, "--tolerance", "1e-9"]) == 9
    shown = capfd.readouterr()
    result = json.loads(shown.out)
    assert Path(result["plan"]).is_file()
    assert "error" not in result
    assert shown.err.splitlines()[-1] == "exit code 9: the plan disagrees with its reference."


def test_where_there_is_nothing_to_compare_an_execution_satisfies(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["convert", "squeezenet1_1", "-o", str(tmp_path / "out"), "--family", "onnxruntime", "--require-validation"]
    assert main(words) == 0
    assert "nothing to compare; every output is finite" in " ".join(capfd.readouterr().out.split())


def test_json_is_one_document_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["convert", str(_model(tmp_path)), "-o", str(tmp_path / "out"), "--family", "onnxruntime"]
    assert main([*words, "--json"]) == 0
    converted = json.loads(capfd.readouterr().out)
    assert Path(converted["plan"]).is_file()
    for command in (
        ["inspect", converted["plan"]],
        ["validate", converted["plan"]],
        ["export", "squeezenet1_1", "-o", str(tmp_path / "s.onnx")],
        ["models"],
        ["doctor"],
    ):
        assert main([*command, "--json"]) == 0
        json.loads(capfd.readouterr().out)


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (["convert", "none.onnx"], 4, "ModelError"),
        (["convert", "--fast"], 2, "UsageError"),
        (["konvert"], 2, "UsageError"),
        (["inspect", "none.plan"], 7, "PlanError"),
    ],
)
def test_errors_are_json_too(
    words: list[str],
    code: int,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    got = main([*words, "--json"])
    shown = capfd.readouterr()
    document = json.loads(shown.out)
    assert set(document) == {"error"}
    error = document["error"]
    assert set(error) == {"type", "message", "hint", "exit_code"}
    assert (error["type"], error["exit_code"], got) == (kind, code, code)
    assert error["message"] and error["hint"]
    assert shown.err.startswith("error: ")


def _failing(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    def fail() -> None:
        raise failure

    import model_defs

    monkeypatch.setattr(model_defs, "names", fail)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_the_system_refuses_is_2(
    number: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, OSError(number, os.strerror(number), "a [1].plan"))
    assert main(["models", "--json"]) == 2
    shown = capfd.readouterr()
    error = json.loads(shown.out)["error"]
    assert (error["type"], error["exit_code"]) == ("UsageError", 2)
    assert os.strerror(number) in error["message"] and "a [1].plan" in error["message"]


@pytest.mark.parametrize("bug", [ZeroDivisionError("bug"), OSError(errno.EBADF, "bug"), KeyError("bug")])
def test_a_bug_is_not_swallowed(
    bug: Exception, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, bug)
    with pytest.raises(type(bug)) as caught:
        main(["models"])
    assert caught.value is bug
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_reader_that_left_is_141_and_no_bug() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-c", "from trtkit.start import run; run()", "models"]
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(words, stdout=gone, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_stdout_without_the_sign_shows_a_question_mark() -> None:
    words = [sys.executable, "-c", "from trtkit.start import run; run()", "models"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(words, capture_output=True, env=ascii_only, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"N?3?227?227" in done.stdout


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), typer.Abort()])
def test_an_interruption_is_130(
    failure: BaseException, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, failure)
    assert main(["models"]) == 130
    shown = capfd.readouterr()
    assert shown.out == "" and shown.err.strip().startswith("interrupted")


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_spelled_in_lower_case_and_survive_their_metavar(name: str) -> None:
    """An option without a declared name whose metavar is its own name in capitals is renamed by typer 0.27."""
    for parameter, (option, default) in _options(name).items():
        assert parameter == parameter.lower()
        declared = [*(option.param_decls or ()), *([option.default] if isinstance(option.default, str) else [])]
        for spelled in declared:
            assert spelled == spelled.lower() and spelled.startswith("-"), f"{name}: {spelled}"
        if not declared and option.metavar:
            assert option.metavar.lower() != parameter.lower(), f"{name} --{parameter}: metavar {option.metavar}"
        assert default is not inspect.Parameter.empty, f"{name} --{parameter} has no default"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option_whole_at_80_columns(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trtkit", name, "--help"],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=True,
        env={**os.environ, "COLUMNS": "80", "TERMINAL_WIDTH": "80", "PYTHONUTF8": "1", "NO_COLOR": "1"},
    )
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", done.stdout))
    for parameter, (option, _) in _options(name).items():
        spelled = [*(option.param_decls or ()), option.default]
        declared = [d for d in spelled if isinstance(d, str) and d.startswith("--")]
        wanted = declared or [f"--{parameter.replace('_', '-')}"]
        assert set(wanted) <= shown, f"{name}: {wanted} is cut or missing"
        assert option.help, f"{name} --{parameter} says nothing"
    assert _callback(name).__doc__
