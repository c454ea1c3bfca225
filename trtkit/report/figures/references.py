"""Figures 4 and 5: this device against others, measured (filled) and published (hollow)."""

from __future__ import annotations

from dataclasses import replace

from trtkit.report import style
from trtkit.report.against import executed_by
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
        beside = _beside(view, model)
        if not measured or (not published and len({bar.group for bar in (*measured, *beside)}) < 2):
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
        if beside:
            caption += (
                "Dotted: like runs of other studies, which the table names. Bars are throughputs, means of a run; the "
                "table's ratios are of medians. "
            )
        caption = f"{caption.rstrip()}{dagger([*measured, *beside])}"
        drawn.append(
            style.Drawing.of(
                draw(f"{title}: {style.label(model, 40)}", [*hollow, *beside, *measured], "images/s", room=0.4),
                f"devices-{number + 1}",
                f"{title}: {style.label(model)}",
                caption,
            )
        )
    why = (
        "Nothing like it was measured on a second kind of device, and no figures of these models were published: "
        f"there are some of {' and '.join(sorted(view.reference.macs))}. Lay another study beside this one with "
        "trtkit report DIR --against OTHER_DIR."
    )
    return drawn or [style.Empty("devices", title, why)]


def _measured(view: View, model: str) -> list[Bar]:
    bars = []
    for device, name in view.devices:
        batch = _batch(view, model, device)
        for precision in view.precisions:
            cell = view.at(model, precision, device, batch)
            if batch is not None and cell is not None and cell.run is not None and cell.images_per_s is not None:
                who = executed_by(cell.run) if view.against.others else name
                bars.append(bar_of(_group(who, batch), precision.upper(), cell, images(cell.images_per_s)))
    return bars


def _beside(view: View, model: str) -> list[Bar]:
    """Runs of other studies at the batch sizes at which this one's are shown."""
    batches = {_batch(view, model, device) for device, _ in view.devices}
    mine = {executed_by(pair.cell.run) for pair in view.against.pairs if pair.cell.run is not None}
    found: dict[tuple[int, str, str], Bar] = {}
    for pair in view.beside(model):
        batch, run = pair.theirs.spec.batch, pair.theirs.run
        if batch is None or batch not in batches or run is None:
            continue
        who = executed_by(run)
        if who in mine:  # what differs is something else: the folder tells them apart
            who = f"{style.label(view.against.others[pair.number].folder, 16)}: {who}"
        bar = bar_of(_group(who, batch), pair.cell.spec.precision.upper(), pair.theirs, images(run.images_per_s))
        found[pair.number, bar.group, bar.name] = replace(bar, kind="other", link=f"#against-{pair.number + 1}")
    order = {precision.upper(): place for place, precision in enumerate(view.precisions)}
    return [bar for _, bar in sorted(found.items(), key=lambda item: (item[0][0], item[0][1], order[item[0][2]]))]


def _group(who: str, batch: int) -> str:
    return f"{style.label(who, 48)}, batch {batch:,}"


def _batch(view: View, model: str, device: str) -> int | None:
    """The batch size that stands for a device: the one in print, or the largest that other studies have too."""
    shared = {pair.cell.spec.batch for pair in view.beside(model) if pair.cell.spec.device == device} - {None}
    if shared and BATCH not in shared:
        return max(batch for batch in shared if batch is not None)
    if any(view.at(model, precision, device, BATCH) is not None for precision in view.precisions):
        return BATCH
    return view.common_batch(model, device)
