"""What people see: progress and errors on standard error, results on standard output."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from trtkit.errors import EXIT_VERDICT_NO, TrtkitError
from trtkit.worker.protocol import Log
from trtkit.worker.protocol import Progress as ProgressEvent

__all__ = ["Screen", "facts", "out", "show_error", "show_objections"]

_ERROR_LOG_LINES = 6
_ERROR_LINE_WIDTH = 160
_UNWRAPPED = 100_000  # columns: no line is as long
# What faulthandler writes: its first line, and how the ones below begin.
_CRASH = re.compile(
    "Fatal Python error: (Segmentation fault|Aborted|Bus error|Illegal instruction|Floating-point exception)"
    "|Windows fatal exception"
)
_OF_A_CRASH = ('  File "', "Current thread ", "Extension modules: ")


def out() -> Console:
    """The console for results."""
    return _console(stderr=False)


def _console(*, stderr: bool) -> Console:
    console = _Console(stderr=stderr, highlight=False, markup=False, emoji=False)  # paths: [brackets] and :colons:
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _UNWRAPPED
    return console


class _Console(Console):
    """In a file or a pipe, lines are as long as what they say: a path is never broken, and nothing is padded.

    The environment variable ``COLUMNS`` sets a width there too.
    """

    def print(self, *objects: Any, **how: Any) -> None:
        if self.is_terminal:
            super().print(*objects, **how)
            return
        with self.capture() as taken:
            super().print(*objects, **how)
        self.file.write("".join(f"{line.rstrip()}\n" for line in taken.get().splitlines()))
        self.file.flush()


def show_error(error: TrtkitError, *, verbose: bool = False) -> None:
    """Message, the last log lines that say more than the message does, and the way out.

    What Python says where a library crashed is about trtkit's own lines: ``verbose`` shows it, too.
    """
    console = _console(stderr=True)
    console.print(Text.assemble(("error: ", "bold red"), error.message))
    shown = [line for line in error.log if line.strip() and line.strip() not in error.message]
    if not verbose and any(_CRASH.match(line) for line in shown):
        shown = [line for line in shown if not _CRASH.match(line) and not line.startswith(_OF_A_CRASH)]
    for line in shown[-_ERROR_LOG_LINES:]:
        console.print(Text(f"  | {line.strip()[:_ERROR_LINE_WIDTH]}", style="dim"))
    console.print(Text.assemble(("hint: ", "bold cyan"), error.hint))


def show_objections(reasons: Sequence[str]) -> None:
    """Why a command that did its work ends with exit code 9, as its last lines on standard error."""
    for reason in reasons:
        _console(stderr=True).print(Text.assemble((f"exit code {EXIT_VERDICT_NO}: ", "bold red"), f"{reason}."))


def facts(title: Text | str, rows: Iterable[tuple[str, str | Text]]) -> Table:
    """A title over two columns: what, and its value; long values wrap in their own column."""
    title = Text(title) if isinstance(title, str) else title
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(f"  {name}", Text(value) if isinstance(value, str) else value)
    return table


class Screen:
    """A :class:`~trtkit.pipeline.Listener` that draws on standard error: a live bar on a terminal, else lines.

    Args:
        quiet: draw nothing but notes.
        verbose: pass on the vendors' log lines as well.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._console = _console(stderr=True)
        self._quiet = quiet
        self._verbose = verbose
        self._live = self._console.is_terminal and not quiet
        self._title = ""
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, count="", start=False)

    def __enter__(self) -> Self:
        if self._live:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bar.stop()

    def stage(self, title: str) -> None:
        """A stage begins."""
        self._title = title
        if self._live:
            self._bar.reset(self._task, total=None, description=title, count="")
        elif not self._quiet:
            print(f"{title} …", file=sys.stderr, flush=True)

    def event(self, event: ProgressEvent | Log) -> None:
        """A worker reports."""
        if isinstance(event, Log):
            if self._verbose:
                self._console.print(Text(f"{event.severity}: {event.text}", style="dim"))
            elif event.severity == "warning" and not self._quiet:
                self._console.print(Text.assemble(("builder warns: ", "yellow"), " ".join(event.text.split())[:300]))
        elif self._live:
            self._bar.update(
                self._task,
                description=f"{self._title} · {event.phase}",
                completed=event.step,
                total=event.steps,
                count=f"{event.step}/{event.steps}" if event.steps else "",
            )

    def note(self, text: str) -> None:
        """Something that the user should know."""
        self._console.print(Text.assemble(("note: ", "yellow"), text))
