"""The table of what is missing: cells without a number, and numbers whose raw samples are lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trtkit.artifacts.study_cell import Cell
from trtkit.report.saved import file_of
from trtkit.report.tables import Table, Value
from trtkit.report.view import View, anchor

__all__ = ["gap_table"]


def gap_table(view: View, lost: Mapping[str, str] | None = None, unread: Sequence[str] = ()) -> Table:
    """What has no number, and why: one row for each model, precision and reason.

    Args:
        view: the study.
        lost: file of raw samples → what became of it.
        unread: files that no run could be read from.
    """
    found: dict[tuple[str, str, str, str], list[Cell]] = {}
    limits = {cell.spec.id for cell in view.study.limits}
    for cell in view.study.cells:
        if cell.spec.id in limits:
            continue  # the table of ladders tells of it
        if cell.status in ("failed", "gap", "planned"):
            reason = cell.reason or "It has not been run yet: run trtkit study again, it resumes."
            found.setdefault((cell.spec.model, cell.spec.precision, cell.status, reason), []).append(cell)
        elif (state := (lost or {}).get(file_of(cell) or "")) is not None:
            reason = (
                f"The number is there, its file of raw samples is {state}: run trtkit study again to measure it anew."
            )
            found.setdefault((cell.spec.model, cell.spec.precision, f"samples {state}", reason), []).append(cell)
    rows = tuple(
        (
            Value(model),
            Value(precision.upper()),
            Value(_where(cells), None, anchor(cells[0])),
            Value({"gap": "cannot be had here", "planned": "not run yet"}.get(status, status)),
            Value(reason),
        )
        for (model, precision, status, reason), cells in found.items()
    )
    why = "The file cannot be read: it was changed or cut short. Measure it again."
    rows += tuple((Value("–"), Value("–"), Value(name), Value("file damaged"), Value(why)) for name in unread)
    columns = tuple((name, False) for name in ("Model", "Precision", "Where", "What", "Why"))
    return Table("gaps", "What has no number or has lost its samples, and why.", columns, rows)


def _where(cells: Sequence[Cell]) -> str:
    batches = sorted({cell.spec.batch for cell in cells if cell.spec.batch is not None})
    shown = ", ".join(f"{batch:,}" for batch in batches[:6]) + (", …" if len(batches) > 6 else "")
    devices = ", ".join(dict.fromkeys(cell.spec.device for cell in cells))
    return f"batch {shown or 'to the limit'}; {devices}"
