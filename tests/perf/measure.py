"""How the benchmarks measure: commands timed and watched, and a table of each number beside its limit."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from trtkit import environment

__all__ = ["MIB", "Row", "Run", "alternate", "markdown", "python", "run", "trtkit", "write"]

MIB = 2**20
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """One command that ended well.

    Attributes:
        seconds: wall time from start to end of its first process.
        largest_bytes: high-water mark of the resident set of its largest process; 0 where it was not watched.
        summed_bytes: largest sum of the resident sets of all its processes at one moment (pages that two processes
            share count twice); 0 where it was not watched.
        stdout: what it printed.
    """

    seconds: float
    largest_bytes: int
    summed_bytes: int
    stdout: str


def python(*arguments: str) -> list[str]:
    """A command line for this interpreter."""
    return [sys.executable, *arguments]


def trtkit(*arguments: str) -> list[str]:
    """A command line for the toolkit under test, whether or not it is installed."""
    return python("-m", "trtkit", *arguments)


def run(command: Sequence[str], *, watch: bool = False, every_s: float = 0.02) -> Run:
    """Run a command to its end.

    Args:
        command: program and arguments; it sees the modules of this checkout.
        watch: look at the memory of its processes every ``every_s`` seconds. Times are taken without this.
        every_s: seconds.

    Raises:
        RuntimeError: it failed; the message ends with what it wrote to standard error.
    """
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    started = time.perf_counter()
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    largest = summed = 0
    if watch:
        # communicate() empties the pipes of a process that writes while it is being watched.
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):
                peaks, now = _memory(process.pid)
                largest, summed = max(largest, *peaks), max(summed, now)
            try:
                stdout, stderr = process.communicate(timeout=every_s)
            except subprocess.TimeoutExpired:
                continue
            break
    else:
        stdout, stderr = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{stderr[-2000:]}")
    return Run(seconds, largest, summed, stdout)


def _memory(pid: int) -> tuple[list[int], int]:
    """(high-water mark of each process in the tree, sum of what is resident now), in bytes."""
    root = psutil.Process(pid)
    peaks, now = [0], 0
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            now += process.memory_info().rss
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peaks += [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return peaks, now


def alternate(rounds: int, *measured: Callable[[], float]) -> list[list[float]]:
    """Each measurement once a round, in turn, so that a change of load meets all of them: one list for each."""
    results: list[list[float]] = [[] for _ in measured]
    for _ in range(rounds):
        for values, measure in zip(results, measured, strict=True):
            values.append(measure())
    return results


@dataclass(frozen=True)
class Row:
    """One number, what was measured beside it, and what is to be reached.

    Attributes:
        name: what was measured.
        measured: in ``unit``; an ``int`` where it counts something.
        unit: ``s``, ``MiB``, ``dB``, or nothing for counts and shares.
        reach: the limit; ``None`` for a number that is only reported.
        beside: what it is compared with, measured in the same run and unit.
        beside_name: what that is.
        how: what the limit is for: the ``value`` itself, its ``ratio`` to ``beside``, or its ``difference`` from it.
        relation: ``≤``, ``<``, ``≥`` or ``>``: the value shall be … than the limit.
        note: intervals, samples, other tools.
    """

    name: str
    measured: float
    unit: str = ""
    reach: float | None = None
    beside: float | None = None
    beside_name: str = ""
    how: str = "value"
    relation: str = "≤"
    note: str = ""
    samples: Sequence[float] = field(default=())

    @property
    def judged(self) -> float:
        """The number that is held to the limit."""
        if self.how == "value":
            return self.measured
        assert self.beside is not None, self.name
        return self.measured / self.beside if self.how == "ratio" else self.measured - self.beside

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept; ``None`` without one."""
        if self.reach is None:
            return None
        compare = {"≤": float.__le__, "<": float.__lt__, "≥": float.__ge__, ">": float.__gt__}[self.relation]
        return compare(float(self.judged), float(self.reach))

    def to_json(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        of_limit = self.judged / self.reach if self.reach else None
        return {**asdict(self), "judged": self.judged, "of_limit": of_limit, "met": self.met}


def _text(value: float | None, unit: str = "") -> str:
    if value is None:
        return "–"
    digits = 0 if isinstance(value, int) else 3 if abs(value) < 10 else 1
    return f"{value:.{digits}f} {unit}".rstrip()


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table; the sixth column is the judged number as a share of the limit."""
    lines = [
        "| what | measured | beside it, same run | judged | reach | / reach | met | notes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        unit = "×" if row.how == "ratio" else row.unit
        beside = f"{_text(row.beside, row.unit)} {row.beside_name}".strip() if row.beside is not None else "–"
        reach = f"{row.relation} {_text(row.reach, unit)}" if row.reach is not None else "–"
        share = f"{row.judged / row.reach:.2f}" if row.reach else "–"
        met = {True: "yes", False: "**no**", None: "–"}[row.met]
        cells = (row.name, _text(row.measured, row.unit), beside, _text(row.judged, unit), reach, share, met, row.note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write(out: Path, name: str, title: str, rows: Sequence[Row], facts: Mapping[str, Any], remarks: str = "") -> str:
    """Write ``NAME.md`` and ``NAME.json`` with the environment; returns the Markdown."""
    found = environment.describe()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    versions = ", ".join(f"{package} {version}" for package, version in found.packages.items())
    text = "\n\n".join(
        part
        for part in (
            f"# {title}",
            f"{found.cpu}, {found.cores} cores, Python {found.python}; {versions}.\n"
            f"Load average of the last minute at the end: {load}. Made by `python -m tests.perf.{name}`; "
            f"all samples are in `{name}.json`.",
            markdown(rows),
            remarks,
        )
        if part
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(f"{text}\n", encoding="utf-8")
    document = {
        "environment": found.to_json(),
        "load_average": load,
        "rows": [row.to_json() for row in rows],
        **facts,
    }
    (out / f"{name}.json").write_text(f"{json.dumps(document, indent=2)}\n", encoding="utf-8")
    return text
