"""The table of batch ladders: the best batch size, the largest that ran, and why the next did not."""

from __future__ import annotations

from trtkit.artifacts.study_cell import Cell
from trtkit.report.figures.throughput import why_missing
from trtkit.report.numbers import images, times
from trtkit.report.tables import Table, Value, alike_aside
from trtkit.report.view import View, anchor, order_of_precision

__all__ = ["ladder_table"]


def ladder_table(view: View) -> Table:
    """A row for each model, precision and device of which the largest batch was looked for, in the mode of figures."""
    rows = [
        row
        for device, name in view.devices
        for model in view.models
        for precision in view.precisions
        if (row := _row(view, model, precision, device, name)) is not None
    ]
    columns = [
        ("Model", False),
        ("Precision", False),
        ("Device", False),
        ("Best batch", True),
        ("images/s at best", True),
        ("Largest that ran", True),
        ("images/s at largest", True),
        ("Largest ÷ best", True),
        ("First that did not", True),
        ("Why", False),
    ]
    columns, rows, alike = alike_aside(columns, rows, ("Device",))
    caption = "The best batch size, and the largest one." + (f" All of them: {', '.join(alike)}." if alike else "")
    if view.study.plan.sweep_within:
        caption += f" The largest was looked for within {100 * view.study.plan.sweep_within:g} %."
    return Table("ladders-table", caption, tuple(columns), tuple(rows))


def _row(view: View, model: str, precision: str, device: str, name: str) -> tuple[Value, ...] | None:
    ladder = view.ladder(model, precision, device)
    best = view.best(model, precision, device)
    if ladder is None or ladder.run is None or best is None:
        return None
    share = (ladder.images_per_s or 0.0) / (best.images_per_s or 1.0)
    stop = view.stop(model, precision, device)
    return (
        Value(model),
        Value(view.named(model, precision, device), float(order_of_precision(precision)[0])),
        Value(name),
        Value(f"{best.spec.batch:,}", best.spec.batch, "", "number"),
        _rate(best),
        Value(f"{ladder.run.settings.batch:,}", ladder.run.settings.batch, "", "number"),
        _rate(ladder),
        Value(times(share), share, "", "number"),
        Value("–", None, "", "number")
        if stop is None
        else Value(f"{stop.spec.batch:,}", stop.spec.batch, anchor(stop), "number"),
        Value(ladder.reason or "–")
        if stop is None
        else Value(why_missing(stop).removeprefix("failed: "), None, anchor(stop)),
    )


def _rate(cell: Cell) -> Value:
    return Value(images(cell.images_per_s), cell.images_per_s, anchor(cell), "number")
