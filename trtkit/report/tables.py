"""The tables of the page: rows of values that know how they sort and where they lead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trtkit.artifacts.study_cell import Cell, Prepared
from trtkit.artifacts.study_peaks import PEAK_RULE
from trtkit.report.cells import batch_of
from trtkit.report.figures.throughput import why_missing
from trtkit.report.numbers import decibels, images, milliseconds, percent, significant, times
from trtkit.report.view import View, anchor, named, narrower
from trtkit.units import bytes_text

__all__ = ["Table", "Value", "accuracy_table", "alike_aside", "artifact_table", "published_table", "run_table"]


_RUN_COLUMNS = (
    ("Model", False),
    ("Precision", False),
    ("Batch", True),
    ("Mode", False),
    ("Device", False),
    ("images/s", True),
    ("Verdict", False),
    ("×\u00a0FP32", True),
    ("×\u00a0TF32", True),
    ("SQNR dB", True),
    ("p50 ms", True),
    ("p99 ms", True),
    ("% of peak", True),
    ("images/J", True),
    ("Notes", False),
)
"""What a reader looks for first stands where it is seen without scrolling."""


@dataclass(frozen=True)
class Value:
    """One entry.

    Attributes:
        text: as it is read.
        sort: as it is sorted, where the text would sort wrongly.
        link: where it is from, an anchor; empty for none.
        style: class of the entry: ``number``, ``invalid``, ``muted``, ``valid`` or nothing.
        id: what links lead to; empty for nothing.
    """

    text: str
    sort: float | None = None
    link: str = ""
    style: str = ""
    id: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        id: its name in anchors.
        caption: what it shows, a sentence.
        columns: (header, whether it holds numbers).
        rows: entries, one for each column.
        filter: whether it has a field that hides rows: worth it for long tables.
    """

    id: str
    caption: str
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[Value, ...], ...]
    filter: bool = False


def _number(text: str, sort: float | None, link: str = "", style: str = "number") -> Value:
    return Value(text, sort, link, style)


def run_table(view: View) -> Table:
    """Every cell, a ladder's steps among the others; what is alike in all of them stands in the caption.

    The run at which a ladder ended has one row, which says ``max``.
    """
    steps = {cell.run.file for cell in view.study.cells if cell.run is not None and cell.spec.batch is None}

    rows = [
        _run_row(view, cell, largest=cell.run is not None and cell.run.file in steps)
        for cell in view.in_order(view.study.distinct)
    ]
    columns, rows, alike = alike_aside(list(_RUN_COLUMNS), rows, ("Mode", "Device"))
    for name in ("×\u00a0TF32", "SQNR dB", "% of peak", "images/J"):
        at = [column for column, _ in columns].index(name)
        if all(row[at].text == "–" for row in rows):
            rows, columns = _without(rows, columns, at)
    caption = "Every cell of the study; each throughput leads to its run."
    caption += " max: the largest batch that was found to run." if steps else ""
    caption += f" All of them: {', '.join(alike)}." if alike else ""
    caption += f" % of peak: {PEAK_RULE}." if any(name == "% of peak" for name, _ in columns) else ""
    return Table("runs", caption, tuple(columns), tuple(rows), len(rows) > 12)


def alike_aside(
    columns: list[tuple[str, bool]], rows: list[tuple[Value, ...]], names: Sequence[str]
) -> tuple[list[tuple[str, bool]], list[tuple[Value, ...]], list[str]]:
    """Columns and rows without those of ``names`` that say the same in every row, and what these say, for the caption.

    Each column is looked for by its name, of which there is one.
    """
    alike = []
    for name in names:
        at = [column for column, _ in columns].index(name)
        texts = {row[at].text for row in rows}
        if len(texts) == 1:
            alike.append(f"{name.lower()} {texts.pop()}")
            rows, columns = _without(rows, columns, at)
    return columns, rows, alike


def _without(
    rows: list[tuple[Value, ...]], columns: list[tuple[str, bool]], at: int
) -> tuple[list[tuple[Value, ...]], list[tuple[str, bool]]]:
    return [(*row[:at], *row[at + 1 :]) for row in rows], [*columns[:at], *columns[at + 1 :]]


def _run_row(view: View, cell: Cell, *, largest: bool = False) -> tuple[Value, ...]:
    spec, run = cell.spec, cell.run
    prepared = view.artifacts.get((spec.model, spec.precision))
    accuracy = prepared.accuracy if prepared else None
    over32, over_tf32 = (
        view.speedup(cell, base) if narrower(spec.precision, base) else None for base in ("fp32", "tf32")
    )
    if cell.images_per_s is not None:
        rate = Value(images(cell.images_per_s), cell.images_per_s, anchor(cell), "number" if cell.valid else "invalid")
        verdict = Value("valid", None, anchor(cell), "valid")
        if not cell.valid:
            ids = ", ".join(finding.id for finding in run.verdict.reasons) if run else ""
            verdict = Value(f"INVALID: {ids}" if ids else "INVALID", None, anchor(cell), "invalid")
    else:
        rate = Value("–", None, anchor(cell), "number muted")
        verdict = Value(why_missing(cell), None, anchor(cell), "muted")
    p50, p99 = (run.latency_ms(50), run.latency_ms(99)) if run else (None, None)
    peak, energy = view.share_of_peak(cell), run.images_per_joule if run else None
    found = accuracy.sqnr_db if accuracy else None
    noise = "equal" if accuracy and accuracy.exact else "–" if found is None else f"{found:.1f}"
    return (
        Value(spec.model),
        Value(named(cell), _order(view, spec.precision)),
        _number(
            f"{batch_of(cell)} max" if largest and spec.batch is not None else batch_of(cell),
            run.settings.batch if run else spec.batch,
        ),
        Value(spec.mode),
        Value(spec.device),
        rate,
        verdict,
        _number("1×" if spec.precision == "fp32" and cell.valid else times(over32), over32),
        _number("1×" if spec.precision == "tf32" and cell.valid else times(over_tf32), over_tf32),
        _number(noise, found),
        _number(milliseconds(p50), p50),
        _number(milliseconds(p99), p99),
        _number(percent(peak), peak),
        _number(significant(energy), energy),
        Value(", ".join(note.id for note in run.verdict.notes) if run and run.verdict.notes else "–"),
    )


def _order(view: View, precision: str) -> float:
    return float(view.precisions.index(precision))


def accuracy_table(view: View) -> Table:
    """How close each precision is to FP32, beside its best speed."""
    rows = []
    for prepared in view.study.prepared:
        found = prepared.accuracy
        device = view.devices[0][0] if view.devices else ""
        best = view.best(prepared.model, prepared.precision, device)
        rows.append(
            (
                Value(prepared.model),
                Value(view.named(prepared.model, prepared.precision, device), _order(view, prepared.precision)),
                _number(
                    "equal" if found and found.exact else decibels(found.sqnr_db if found else None),
                    found.sqnr_db if found else None,
                ),
                _number(percent(found.top1_agreement if found else None), found.top1_agreement if found else None),
                Value(found.on if found else prepared.reason or "nothing was executed"),
                Value(prepared.calibrated_on or "no scales needed"),
                _number(images(best.images_per_s) if best else "–", best.images_per_s if best else None, anchor(best))
                if best
                else _number("–", None),
                Value(
                    prepared.validation or "–",
                    None,
                    f"#artifact-{view.artifact_id(prepared.model, prepared.precision)}",
                ),
            )
        )
    columns = (
        ("Model", False),
        ("Precision", False),
        ("SQNR", True),
        ("Top\u20111", True),
        ("On", False),
        ("Scales from", False),
        ("Fastest images/s", True),
        ("Validation", False),
    )
    return Table("accuracy-table", "Accuracy against FP32; top-1: share of equal first classes.", columns, tuple(rows))


def artifact_table(view: View) -> Table:
    """What was measured: the artifacts, with their proof of precision."""
    rows = tuple(_artifact_row(view, prepared) for prepared in view.study.prepared)
    columns = (
        ("Model", False),
        ("Precision", False),
        ("Executed by", False),
        ("Size", True),
        ("Proved", False),
        ("SHA-256", False),
        ("Notes", False),
    )
    return Table("artifacts-table", "The artifacts that were measured.", columns, rows)


def _artifact_row(view: View, prepared: Prepared) -> tuple[Value, ...]:
    return (
        Value(prepared.model, id=f"artifact-{view.artifact_id(prepared.model, prepared.precision)}"),
        Value(view.named(prepared.model, prepared.precision)),
        Value(f"{prepared.family or '–'} {prepared.version or ''}".strip()),
        _number(bytes_text(prepared.bytes) if prepared.bytes else "–", prepared.bytes),
        Value(prepared.proof or prepared.reason or "–"),
        Value((prepared.sha256 or "–")[:12]),
        Value(" ".join(prepared.notes) or "–"),
    )


def published_table(view: View) -> Table:
    """What others published of these models, with sources."""
    reference = view.reference
    rows = tuple(
        (
            Value(point.model),
            Value(point.device),
            Value(point.precision.upper()),
            _number(f"{point.batch:,}", point.batch),
            _number(str(point.devices), point.devices),
            _number(images(point.images_per_s), point.images_per_s),
            Value(
                f"{reference.sources[point.source]['title']}, {reference.sources[point.source]['date']}, {point.where}",
                None,
                f"#source-{point.source}",
            ),
        )
        for point in reference.points
        if point.model in view.models
    )
    columns = (
        ("Model", False),
        ("Device", False),
        ("Precision", False),
        ("Batch", True),
        ("Devices", True),
        ("images/s", True),
        ("Source", False),
    )
    return Table("published-table", "Published figures, measured by others with other tools.", columns, rows)
