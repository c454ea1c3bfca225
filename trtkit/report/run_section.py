"""What the page tells about one cell: command, versions, verdict, notes, conditions, and the file of raw samples."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.profile import shape_text
from trtkit.artifacts.run_record import RunRecord
from trtkit.artifacts.study_cell import Cell
from trtkit.artifacts.study_peaks import PEAK_RULE, Peaks, is_measured, share_of
from trtkit.report.figures.throughput import why_missing
from trtkit.report.numbers import images, milliseconds, percent, significant
from trtkit.report.saved import file_of

__all__ = ["RunSection", "section_of"]

Fact = tuple[str, str, str]
"""Name, text, and how it is shown: ``text``, ``code`` or ``file``."""


@dataclass(frozen=True)
class RunSection:
    """A foldable section.

    Attributes:
        id: of the cell.
        title: the cell and its number.
        verdict: in one word or two; ``style`` is its class.
        facts: see :data:`Fact`.
    """

    id: str
    title: str
    verdict: str
    style: str
    facts: tuple[Fact, ...]


def section_of(cell: Cell, peaks: Peaks | None = None, lost: Mapping[str, str] | None = None) -> RunSection:
    """Tell everything about a cell.

    Args:
        cell: one of a study.
        peaks: those measured beside the runs of its study.
        lost: file of raw samples → what became of it.
    """
    facts: list[Fact] = []
    if cell.reason:
        facts.append(("reason", cell.reason, "text"))
    if cell.run is not None:
        facts += _facts_of(cell.run, peaks or {})
    if cell.scaling is not None:
        scaling = cell.scaling
        for device, rate in scaling.together.items():
            alone = scaling.alone.get(device)
            facts.append((device, f"{images(rate)} images/s together, {images(alone)} alone", "text"))
        facts.append(("efficiency", percent(scaling.efficiency), "text"))
        facts += [("cause", scaling.cause, "text")] if scaling.cause else []
        facts += [("INVALID", reason, "text") for reason in scaling.reasons]
    file = file_of(cell)
    if file is not None:
        state = (lost or {}).get(file)
        facts.append(("raw samples", f"{file} is {state}" if state else file, "text" if state else "file"))
    number = f": {images(cell.images_per_s)} images/s" if cell.images_per_s is not None else ""
    verdict = cell.verdict if cell.status == "done" else why_missing(cell)
    style = {"valid": "valid", "INVALID": "invalid"}.get(cell.verdict, "muted")
    return RunSection(cell.spec.id, f"{cell.spec.text}{number}", verdict, style, tuple(facts))


def _facts_of(run: RunRecord, peaks: Peaks) -> list[Fact]:
    facts: list[Fact] = []
    for kind, findings in (("INVALID", run.verdict.reasons), ("note", run.verdict.notes)):
        facts += [(kind, f"{finding.text} {finding.next_step}", "text") for finding in findings]
    subject, device, settings, summary = run.subject, run.device, run.settings, run.summary
    facts.append(("executed by", f"{subject.family} {subject.version} on {device.name} ({device.device})", "text"))
    observed = subject.observed or "unknown"
    facts.append(
        ("precision", f"asked {subject.precision}; observed {observed}. {subject.proof or ''}".strip(), "text")
    )
    facts.append(("latency", _spread(summary.get("latency")), "text"))
    facts += [
        (part, _spread(summary.get(part)), "text")
        for part in ("h2d", "compute", "d2h", "enqueue")
        if _any(summary, part)
    ]
    count, wall = summary.get("count"), summary.get("wall_s")
    if count and wall:
        facts.append(("measured", f"{count:,} batches of {settings.batch:,} in {significant(wall)} s", "text"))
    share = share_of(run, peaks)
    if share is not None:
        source = run.peak_source or "source unknown"
        rule = f"; {PEAK_RULE}" if is_measured(run) else ""
        facts.append(("of the peak", f"{percent(share)} ({source}{rule})", "text"))
    facts += _conditions(run.conditions)
    if subject.rewrites:
        facts.append(("rewrites", ", ".join(subject.rewrites), "text"))
    facts.append(("model", f"{subject.model}, SHA-256 {subject.model_sha256}", "code"))
    facts.append(("artifact", f"{subject.file}, SHA-256 {subject.sha256}", "code"))
    packages = run.environment.get("packages", {})
    facts.append(
        ("versions", ", ".join(f"{name} {version}" for name, version in packages.items()) or "unknown", "text")
    )
    facts.append(("settings", _settings(run), "text"))
    if run.command:
        facts.append(("command", shlex.join(run.command), "code"))
    facts.append(("made", run.created or "unknown", "text"))
    return facts


def _any(summary: dict[str, Any], part: str) -> bool:
    found = summary.get(part)
    return isinstance(found, dict) and bool(found.get("max_ms"))


def _spread(found: Any) -> str:
    if not isinstance(found, dict):
        return "unknown"
    parts = [f"{name} {milliseconds(found.get(f'{name}_ms'))}" for name in ("p50", "p90", "p95", "p99", "min", "max")]
    cov = f"; coefficient of variation {percent(found['cov'])}" if found.get("cov") is not None else ""
    return f"{', '.join(parts)} ms{cov}"


def _conditions(conditions: dict[str, Any]) -> list[Fact]:
    facts: list[Fact] = []
    if conditions.get("where"):
        facts.append(("where", str(conditions["where"]), "text"))
    for name, title, unit in (
        ("sm_clock_mhz", "SM clock", "MHz"),
        ("power_w", "power", "W"),
        ("temperature_c", "temperature", "°C"),
    ):
        found = conditions.get(name)
        if found:
            low, mean, high = (significant(value) for value in found)
            facts.append((title, f"{mean} {unit} on average ({low} to {high})", "text"))
    if conditions.get("foreign_cpu") is not None:
        facts.append(("other processes", f"took {percent(conditions['foreign_cpu'])} of the processors used", "text"))
    check = conditions.get("check")
    if check:
        facts.append(("spot check", _check(check), "text"))
    return facts


def _check(check: dict[str, Any]) -> str:
    """What was looked at before the clock ran: the values, a plain run of the same engine, the reference."""
    rows = check.get("rows")
    parts = ["all rows" if rows == "all" else f"rows {', '.join(map(str, rows))}"] if rows else []
    lost = ", ".join(f"{count:,} of {name}" for name, count in (check.get("not_finite") or {}).items())
    parts.append("every value finite" if check.get("finite") else f"values that are not finite: {lost or 'some'}")
    plain = _compared(check, "run_matches", "run_relative_l2", "run_limit")
    parts.append(
        f"a plain run of the engine {plain}" if plain else f"no plain run ({check.get('run_problem', 'unknown')})"
    )
    truth = _compared(check, "matches", "relative_l2", "limit", "agreement", "agreement_limit")
    against = check.get("against") or "a reference"
    parts.append(
        f"{against} {truth}" if truth else f"not compared with {against}: {check.get('problem', 'none was given')}"
    )
    earlier = "; the comparison is that of an earlier measurement of the engine" if check.get("taken_over") else ""
    return "; ".join(parts) + earlier


def _compared(
    check: dict[str, Any], verdict: str, error: str, limit: str, share: str = "", least: str = ""
) -> str | None:
    """``agrees (relative L2 error 1e-07, limit 0.005)``; ``None`` where nothing was compared."""
    if check.get(verdict) is None:
        return None
    numbers = []
    if check.get(error) is not None:
        size = f"{check[error]:.1e}" if check[error] else "0"
        numbers.append(f"relative L2 error {size}" + (f", limit {check[limit]:g}" if check.get(limit) else ""))
    if check.get(share) is not None:
        numbers.append(f"{percent(check[share])} of the integers equal, at least {percent(check.get(least))}")
    text = f" ({'; '.join(numbers)})" if numbers else ""
    return f"{'agrees' if check[verdict] else 'DIFFERS'}{text}"


@functools.cache
def _defaults() -> tuple[tuple[str, Any], ...]:
    return tuple(
        (entry.name, entry.default_factory() if entry.default_factory is not MISSING else entry.default)
        for entry in fields(BenchSettings)
    )


def _settings(run: RunRecord) -> str:
    chosen = []
    for name, default in _defaults():
        value = getattr(run.settings, name)
        if value != default or name in ("mode", "batch", "input_dtype", "seed"):
            chosen.append(f"{name} {_value(value)}")
    return ", ".join(chosen)


def _value(value: Any) -> str:
    """``data 1x3x224x224``, ``0 1``, ``yes``: nothing in Python's own form."""
    if isinstance(value, dict):
        return " ".join(f"{name} {shape_text(shape)}" for name, shape in value.items())
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
