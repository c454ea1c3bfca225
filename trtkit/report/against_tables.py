"""What the page says about other studies: pairs of like runs, what was not compared, and where they come from."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from trtkit.artifacts.study_cell import Cell
from trtkit.report.against import Against, Together, executed_by
from trtkit.report.cells import anchor, named, unsteady
from trtkit.report.numbers import images, times
from trtkit.report.tables import Table, Value, alike_aside

__all__ = ["pair_table", "refusal_table", "sources_of"]

_SHOWN = 4


def pair_table(against: Against) -> Table:
    """Each pair, with the ratio."""
    rows = [_row(pair) for pair in against.pairs]
    columns = [
        ("Model", False),
        ("Precision", False),
        ("Batch", True),
        ("Mode", False),
        ("Here ÷ there", True),
        ("Median images/s here", True),
        ("Here", False),
        ("Median images/s there", True),
        ("There", False),
    ]
    caption = (
        "Like runs of this study and of others: same model file, mode, batch and precision observed. Rates are those "
        "at the median time between finished batches, as trtkit compare has them; it adds intervals and verdicts from "
        "the raw samples. † disturbed or unsteady. ‡ the precision asked, because what ran is not known of both."
    )
    if any(not pair.medians for pair in against.pairs):
        caption += " § throughput, mean of the run: an older trtkit wrote one of the two."
    columns, rows, alike = alike_aside(columns, rows, ("Mode", "Here", "There"))
    caption += f" All of them: {'; '.join(alike)}." if alike else ""
    return Table("against-table", caption, tuple(columns), tuple(rows), len(rows) > 12)


def _row(pair: Together) -> tuple[Value, ...]:
    run, there = pair.cell.run, pair.theirs.run
    precision = named(pair.cell)
    if run is not None and there is not None and None in (run.subject.observed, there.subject.observed):
        precision += " ‡"
    return (
        Value(pair.cell.spec.model),
        Value(precision),
        Value(f"{pair.cell.spec.batch:,}", pair.cell.spec.batch, "", "number"),
        Value(pair.cell.spec.mode),
        Value(f"{times(pair.ratio)}{'' if pair.medians else ' §'}", pair.ratio, "", "number"),
        _rate(pair.cell, pair.rates[0], anchor(pair.cell)),
        Value(executed_by(run) if run else "–"),
        _rate(pair.theirs, pair.rates[1], f"#against-{pair.number + 1}"),
        Value(executed_by(there) if there else "–"),
    )


def _rate(cell: Cell, rate: float | None, link: str) -> Value:
    return Value(f"{images(rate)}{' †' if unsteady(cell) else ''}", rate, link, "number")


def refusal_table(against: Against) -> Table:
    """What was not compared, and why: one row for each study and reason."""
    rows = tuple(
        (
            Value(against.others[number].study.heading, None, f"#against-{number + 1}"),
            Value(f"{len(runs):,}", len(runs), "", "number"),
            Value("; ".join(runs[:_SHOWN]) + ("; …" if len(runs) > _SHOWN else "")),
            Value(reason),
        )
        for number, reason, runs in against.refusals
    )
    columns = (("Other study", False), ("Runs", True), ("Which", False), ("Why", False))
    return Table("against-refused", "Runs of the other studies and of this one that were not compared.", columns, rows)


def sources_of(against: Against) -> Iterator[dict[str, str]]:
    """A line for each other study: title, devices, date, command."""
    for number, other in enumerate(against.others, start=1):
        study = other.study
        ran = dict.fromkeys(executed_by(cell.run) for cell in study.cells if cell.run is not None)
        commands = (cell.run.command for cell in study.cells if cell.run is not None and cell.run.command)
        devices = "; ".join(ran) or "nothing was measured"
        yield {
            "id": f"against-{number}",
            "title": study.heading,
            "text": f"Folder {other.folder}; {devices}; begun {study.created or 'unknown'}.",
            "command": shlex.join(study.command or next(commands, ())),
        }
