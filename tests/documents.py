"""Markdown pages as tests: their ``console`` and ``python`` blocks are run, in order, in one scratch folder.

``console`` holds commands after ``$ ``, and below each the output that a reader should expect; ``…`` stands for
anything. ``text`` directly below ``python`` is the expected output. A block whose first line is one of the visible
comments in :data:`CHECKED_ONLY` needs what a test machine may not have: its commands are parsed instead of run, so that
their options must exist. Whole numbers must be as shown; versions, times, sizes and errors may differ.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import io
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from trtkit.backends.probing import probe
from trtkit.cli.main import app, main

__all__ = ["CHECKED_ONLY", "Block", "Page", "blocks", "known_options", "matches", "options_of", "shown_machine"]

CHECKED_ONLY = ("# install", "# on the machine with the GPU", "# with PyTorch")
LANGUAGES = ("console", "python", "text")
LABEL = "tensorrt-rtx-1.7"
"""What the pages show in file names; another installed version is put in its place before anything is run."""

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_VOLATILE = (
    r"\d+(?:\.\d+)? (?:ms|s|min)\b"  # times
    r"|\b[0-9a-f]{64}\b"  # hashes
    r"|\d{4}-\d\d-\d\dT[\d:+]+"  # dates
    r"|\d+(?:\.\d+)?e[+-]\d+|\d+(?:\.\d+)+"  # errors, sizes, versions
)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the line where its fence stands."""

    language: str
    text: str
    line: int

    @property
    def checked_only(self) -> bool:
        """Whether it carries one of the markers."""
        return self.text.startswith(CHECKED_ONLY)


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output shown below it."""
    command, shown = "", list[str]()
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            if command:
                yield command, "\n".join(shown)
            command, shown = line[2:], []
        elif not (line.startswith("# ") and not command):
            shown.append(line)
    if command:
        yield command, "\n".join(shown)


def matches(shown: str, output: str) -> bool:
    """Whether ``output`` holds what is shown, in that order, white space and volatile numbers aside."""
    real, position = " ".join(output.split()), 0
    for fragment in filter(None, (" ".join(part.split()) for part in shown.split("…"))):
        found = re.compile(_pattern(fragment)).search(real, position)
        if found is None:
            return False
        position = found.end()
    return True


def _pattern(fragment: str) -> str:
    pattern, last = "", 0
    for volatile in re.finditer(_VOLATILE, fragment):
        pattern += re.escape(fragment[last : volatile.start()])
        pattern += r"[\w.:+-]+(?: m?s\b)?" if volatile[0].endswith("s") else r"[\w.:+-]+"
        last = volatile.end()
    return pattern + re.escape(fragment[last:])


def _parsers() -> dict[str, Any]:
    root: Any = typer.main.get_command(app)
    return dict(root.commands)


@functools.cache
def shown_machine() -> tuple[str, bool]:
    """Family and version in file names here, and whether this is a machine like the one that the pages show.

    They show one without a GPU, with TensorRT-RTX and without TensorRT. With a GPU everything runs too, but says more.
    """
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("the pages show TensorRT-RTX; here TensorRT is installed, which auto takes first")
    can = probe("tensorrt-rtx")
    if can.cannot_build is not None:
        pytest.skip(f"the pages show TensorRT-RTX: {can.cannot_build}")
    return can.label, not can.gpus


def options_of(command: str) -> list[str]:
    """Every option of a command, as it is spelled."""
    return [name for parameter in _parsers()[command].params for name in parameter.opts]


def known_options() -> set[str]:
    """Every option of every command, as it is spelled."""
    return {name for command in _parsers() for name in options_of(command)}


_MOMENT = {
    "bench": {"--warmup": 0.02, "--duration": 0.05, "--max-duration": 0.1},
    "study": {"--duration": 0.05, "--max-duration": 0.1},
    "calibrate": {"--search-seconds": 1},
}


def hurried(arguments: Sequence[str]) -> list[str]:
    """The same command, but measuring and searching for a moment."""
    words = list(arguments)
    for option, seconds in _MOMENT.get(words[0], {}).items():
        if option in words:
            words[words.index(option) + 1] = str(min(seconds, float(words[words.index(option) + 1])))
        elif words[0] != "calibrate":
            words += [option, str(seconds)]
    return words


def check_command(words: Sequence[str], folder: Path) -> None:
    """Parse a command without running it: a command, option or file that does not exist is an error."""
    match list(words):
        case ["trtkit", name, *arguments]:
            _parsers()[name].make_context(name, arguments)
        case ["mpirun", "-n", count, "trtkit", name, *arguments]:
            assert count.isdigit(), count
            _parsers()[name].make_context(name, arguments)
        case ["pip", "install", *what]:
            for item in what:
                assert re.fullmatch(r"\.(\[(dev|tensorrt|mpi)\])?|tensorrt-rtx-cu13==[\d.]+", item), (
                    f"pip install {item}"
                )
        case ["python", "-m", module, *_]:
            assert module == "pytest" or (folder / f"{module.replace('.', '/')}.py").exists(), module
        case ["scp" | "cd", *_]:
            pass
        case _:
            raise AssertionError(f"no rule says how to check: {shlex.join(words)}")


class Page:
    """A page being read by a careful newcomer: everything is typed in, and the screen is compared.

    Args:
        path: the Markdown file.
        root: the repository, for what checked commands name.
        label: family and version in file names, as installed here.
        compare: whether the output shown was captured on a machine like this one.
    """

    def __init__(self, path: Path, root: Path, label: str, *, compare: bool) -> None:
        self.path, self.root, self.label, self.compare = path, root, label, compare
        self._namespace: dict[str, Any] = {"__name__": "__main__"}
        self._code = 0

    def run(self) -> int:
        """Run every block in the current folder; returns how many commands and programs were really run."""
        ran, found = 0, blocks(self.path)
        for index, block in enumerate(found):
            where = f"{self.path.name}:{block.line}"
            assert block.language in LANGUAGES, f"{where}: {block.language or 'no language'}: use one of {LANGUAGES}"
            text = block.text.replace(LABEL, self.label)
            if block.language == "console":
                ran += self._console(text, where, block.checked_only)
            elif block.language == "python":
                below = found[index + 1] if index + 1 < len(found) else None
                shown = below.text if below is not None and below.language == "text" else ""
                ran += self._python(text, where, shown.replace(LABEL, self.label), block.checked_only)
        return ran

    def _python(self, text: str, where: str, shown: str, checked_only: bool) -> int:
        if checked_only:
            ast.parse(text)
            return 0
        with self._screen() as screen:
            exec(compile(text, where, "exec"), self._namespace)
        self._match(shown, screen.getvalue(), where)
        return 1

    def _console(self, text: str, where: str, checked_only: bool) -> int:
        todo = list(commands(text))
        assert todo, f"{where}: a console block without a command"
        ran = 0
        for index, (line, shown) in enumerate(todo):
            asked = todo[index + 1][0] if index + 1 < len(todo) else ""
            output = ""
            for command in line.split(" && "):
                words = shlex.split(command)
                if checked_only and not (text.startswith("# install") and words[0] == "trtkit"):
                    check_command(words, self.root)
                    continue
                self._code, more = self._execute(words, where)
                output += more
                ran += 1
                if asked != "echo $?":
                    assert self._code == 0, f"{where}: {command}: exit code {self._code}\n{output}"
            if not checked_only or output:
                self._match(shown, output, f"{where}: {line}")
        return ran

    def _execute(self, words: Sequence[str], where: str) -> tuple[int, str]:
        with self._screen() as screen:
            code = self._code
            match list(words):
                case ["trtkit", *arguments]:
                    code = self._as_program(words, lambda: main(hurried(arguments)))
                case ["python", file, *_] if file.endswith(".py"):
                    code = self._as_program(words[1:], lambda: _script(file))
                case ["ls", *folder]:
                    print(*sorted(path.name for path in Path(*folder).iterdir()), sep="\n")
                    code = 0
                case ["echo", "$?"]:
                    print(code)
                    code = 0
                case _:
                    raise AssertionError(f"{where}: no rule says how to run: {shlex.join(words)}")
        return code, screen.getvalue()

    @staticmethod
    def _as_program(arguments: Sequence[str], program: Callable[[], int]) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", list(arguments))
            return program()

    @staticmethod
    @contextmanager
    def _screen() -> Iterator[io.StringIO]:
        screen = io.StringIO()
        with redirect_stdout(screen), redirect_stderr(screen):
            yield screen

    def _match(self, shown: str, output: str, where: str) -> None:
        if self.compare:
            assert matches(shown, output), f"{where}: shown is\n{shown}\nreal is\n{output}"


def _script(file: str) -> int:
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
