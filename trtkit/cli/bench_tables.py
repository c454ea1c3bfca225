"""What ``bench`` shows: one table, or two where the terminal is narrow, and below it what a reader should know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from trtkit.artifacts.bench import BenchResult
from trtkit.measurement.explain import TRTEXEC, explain
from trtkit.units import seconds_text

if TYPE_CHECKING:
    from trtkit.artifacts.finding import Finding
    from trtkit.pipeline.bench_request import BenchmarkResult

__all__ = ["number", "show"]

_ANY_WIDTH = 10_000


@dataclass(frozen=True)
class _Column:
    """A column: its head, and a result's cell; empty text for nothing to show. ``part`` 0 tells rows apart."""

    head: str
    cell: Callable[[BenchResult], str]
    part: int


def number(value: float | None) -> str:
    """Three digits that count: ``0.0734``, ``1.23``, ``12.3``, ``1,234``; empty for ``None`` and 0."""
    if not value:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}" if abs(value) >= 0.01 else f"{value:.2g}"


def _median(part: str) -> Callable[[BenchResult], str]:
    return lambda result: number(_figure(result, part, "p50_ms"))


def _latency(figure: str) -> Callable[[BenchResult], str]:
    return lambda result: number(_figure(result, "latency", figure))


def _figure(result: BenchResult, part: str, figure: str) -> float | None:
    found = result.timeline.summary()[part]
    return None if found is None else found[figure]


def _power(result: BenchResult) -> str:
    watts = result.conditions.mean_power_w
    return "" if watts is None else number(watts)


_IDENTITY = (
    _Column("precision", lambda r: r.subject.precision, 0),
    _Column("device", lambda r: r.device.device, 0),
    _Column("family", lambda r: r.subject.family, 0),
    _Column("mode", lambda r: r.settings.mode, 0),
)
_COLUMNS = (
    _Column("batch", lambda r: str(r.settings.batch), 0),
    _Column("images/s", lambda r: number(r.throughput_images_per_s), 1),
    _Column("p50 ms", _latency("p50_ms"), 1),
    _Column("p90", _latency("p90_ms"), 1),
    _Column("p95", _latency("p95_ms"), 1),
    _Column("p99", _latency("p99_ms"), 1),
    _Column("H2D ms", _median("h2d"), 2),
    _Column("compute", _median("compute"), 2),
    _Column("D2H", _median("d2h"), 2),
    _Column("enqueue", _median("enqueue"), 2),
    _Column("% peak", lambda r: number(100 * r.fraction_of_peak) if r.fraction_of_peak else "", 2),
    _Column("W", _power, 2),
    _Column("img/J", lambda r: number(r.images_per_joule), 2),
    _Column("verdict", lambda r: "" if r.verdict.valid else "INVALID", 1),
)


def show(result: BenchmarkResult, console: Console) -> None:
    """Print everything that a benchmark found.

    Args:
        result: of the pipeline.
        console: for results; its width decides how the columns are laid out.
    """
    results = [run.result for run in result.runs]
    console.print(_title(results))
    varying = [column for column in _IDENTITY if len({column.cell(r) for r in results}) > 1]
    columns = [*varying, *(c for c in _COLUMNS if any(c.cell(r) for r in results))]
    whole = _table(columns, results)
    if Measurement.get(console, console.options.update(width=_ANY_WIDTH), whole).maximum <= console.width:
        console.print(whole)
    else:
        keys = [column for column in columns if column.part == 0]
        for part in (1, 2):
            console.print(_table([*keys, *(column for column in columns if column.part == part)], results, gap=1))
    for name, value in _below(result, results):
        console.print(_indented(name, value))


def _title(results: Sequence[BenchResult]) -> Text:
    first = results[0]
    parts = [column.cell(first) for column in _IDENTITY if len({column.cell(r) for r in results}) == 1]
    names = {r.device.name for r in results}
    threads = {r.device.threads for r in results if r.device.threads}
    if len(names) == 1:
        parts.append(first.device.name + (f", {threads.pop()} threads" if len(threads) == 1 else ""))
    return Text.assemble((first.subject.model, "bold green"), "  ", " · ".join(parts))


def _table(columns: Sequence[_Column], results: Sequence[BenchResult], *, gap: int = 2) -> Table:
    table = Table(box=None, pad_edge=False, header_style="cyan", padding=(0, gap, 0, 0))
    for column in columns:
        words = column in _IDENTITY or column.head == "verdict"
        table.add_column(column.head, justify="left" if words else "right", no_wrap=True)
    for result in results:
        style = "" if result.verdict.valid else "red"
        table.add_row(*(Text(column.cell(result), style) for column in columns))
    return table


def _indented(name: str, value: str) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(style="bold red" if name == "INVALID" else "cyan", no_wrap=True, min_width=9)
    table.add_column(overflow="fold")
    table.add_row(f"  {name}", Text(value))
    return table


def _below(result: BenchmarkResult, results: Sequence[BenchResult]) -> list[tuple[str, str]]:
    """What stands under the table, a label and a text each."""
    lines = [("INVALID", text) for text in _findings(results, lambda r: r.verdict.reasons)]
    lines += [("note", text) for text in _findings(results, lambda r: r.verdict.notes)]
    groups: dict[tuple[str, str], list[BenchResult]] = {}
    for found in results:
        groups.setdefault((found.subject.precision, found.device.device), []).append(found)
    for (precision, device), group in groups.items():
        where = f"{precision} on {device}. " if len(groups) > 1 else ""
        lines += [("why", f"{where}{sentence}") for sentence in explain(group) if sentence != TRTEXEC]
    lines += [("why", TRTEXEC)] if any(name == "why" for name, _ in lines) else []
    lines += [("ladder", f"{s.precision}, {s.mode}: {s.stopped}") for s in result.sweeps if s.stopped]
    lines += [("failed", f"{failure.what}: {failure.error.message}") for failure in result.failures]
    lines += [("checked", text) for text in dict.fromkeys(_checked(r) for r in results) if text]
    folder = result.runs[0].file.parent
    files = result.runs[0].file.name if len(result.runs) == 1 else f"{len(result.runs)} files ….bench.json in {folder}/"
    lines.append(("samples", f"{files}; {sum(len(r.timeline) for r in results):,} iterations"))
    lines.append(("took", f"{seconds_text(result.seconds)} ({result.chosen_because})"))
    return lines


def _findings(results: Sequence[BenchResult], of: Callable[[BenchResult], Sequence[Finding]]) -> list[str]:
    """One text for each kind of finding: the first one's words, where else it was seen, and what to do."""
    seen: dict[str, list[tuple[BenchResult, Finding]]] = {}
    for result in results:
        for finding in of(result):
            seen.setdefault(finding.id, []).append((result, finding))
    texts = []
    several_modes = len({result.settings.mode for result in results}) > 1
    for group in seen.values():
        places = [f"{r.settings.batch} {r.settings.mode}" if several_modes else str(r.settings.batch) for r, _ in group]
        others = ", ".join(place for place in dict.fromkeys(places) if place != places[0])
        where = f"batch {places[0]}{f' (and {others})' if others else ''}: " if len(results) > 1 else ""
        texts.append(f"{where}{group[0][1].text} {group[0][1].next_step}")
    return texts


def _checked(result: BenchResult) -> str:
    check = result.conditions.check
    if not check or check.get("relative_l2") is None or not check.get("matches"):
        return ""
    return (
        f"{result.subject.precision} outputs against {check['against']}: relative L2 error {check['relative_l2']:.1e}, "
        f"limit {check['limit']:g}"
    )
