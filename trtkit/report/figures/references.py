"""Figures 4 and 5: this device against others, measured (filled) and published (hollow)."""

from __future__ import annotations

from trtkit.report import style
from trtkit.report.figures.bars import Bar, draw
from trtkit.report.figures.throughput import bar_of, dagger
from trtkit.report.numbers import images
from trtkit.report.view import MOST_MODELS, View

__all__ = ["BATCH", "draw_references"]

BATCH = 128
"""The batch size at which devices were compared in print."""


def draw_references(view: View) -> list[style.Drawing | style.Empty]:
    """One figure for each model that was measured on several kinds of device, or that figures were published for."""
    title = "This device against others"
    drawn: list[style.Drawing | style.Empty] = []
    for number, model in enumerate(view.models[:MOST_MODELS]):
        runs = [cell.run for cell in view.study.cells if cell.spec.model == model and cell.run is not None]
        macs = next((run.subject.macs_per_image for run in runs), None)
        published = [point for point in view.reference.of(model, macs) if point.batch == BATCH]
        measured = _measured(view, model)
        if not measured or (not published and len({bar.group for bar in measured}) < 2):
            continue
        hollow = [
            Bar(
                f"{point.device}, batch {point.batch}, published {view.reference.sources[point.source]['date'][:4]}",
                point.precision.upper(),
                point.images_per_s,
                images(point.images_per_s),
                style.colour(point.precision),
                "published",
                f"#source-{point.source}",
            )
            for point in published
        ]
        sources = {point.source: view.reference.sources[point.source] for point in published}
        cited = "; ".join(f"{entry['title']} ({entry['date']})" for entry in sources.values())
        caption = f"Filled: measured here, mode {view.mode}, one device. "
        if published:
            caption += f"Hollow: published in {cited}, with another tool, and never mixed with measurements. "
        caption = f"{caption.rstrip()}{dagger(measured)}"
        drawn.append(
            style.Drawing.of(
                draw(f"{title}: {style.label(model, 40)}", [*hollow, *measured], "images/s", room=0.4),
                f"devices-{number + 1}",
                f"{title}: {style.label(model)}",
                caption,
            )
        )
    why = (
        "Nothing was measured on a second kind of device, and no figures of these models were published: "
        f"there are some of {' and '.join(sorted(view.reference.macs))}."
    )
    return drawn or [style.Empty("devices", title, why)]


def _measured(view: View, model: str) -> list[Bar]:
    bars = []
    for device, name in view.devices:
        batch = view.common_batch(model, device)
        if any(view.at(model, p, device, BATCH) is not None for p in view.precisions):
            batch = BATCH
        for precision in view.precisions:
            cell = view.at(model, precision, device, batch)
            if batch is not None and cell is not None and cell.images_per_s is not None:
                group = f"{style.label(name, 44)}, batch {batch:,}"
                bars.append(bar_of(group, precision.upper(), cell, images(cell.images_per_s)))
    return bars
