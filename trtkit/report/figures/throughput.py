"""Figure 1: throughput of each precision, with the speed-ups over FP32 and over TF32 named separately."""

from __future__ import annotations

from trtkit.artifacts.study_cell import Cell
from trtkit.report import style
from trtkit.report.figures.bars import Bar, draw
from trtkit.report.numbers import images, times
from trtkit.report.view import MOST_DEVICES, MOST_MODELS, View, anchor, narrower, ran_in, unsteady

__all__ = ["bar_of", "dagger", "draw_throughput", "why_missing"]

_KINDS = {
    "device_memory": "device memory",
    "workspace": "workspace",
    "profile": "optimization profile",
    "element_limit": "2³¹-element limit",
    "host_memory": "host memory",
    "timeout": "timeout",
}


def why_missing(cell: Cell | None) -> str:
    """Why a cell has no number, in a word or two: the page has the sentence."""
    if cell is None:
        return "not in the plan"
    if cell.status == "done":
        return "not at this batch size" if cell.images_per_s is not None else "no number"
    if cell.status == "failed":
        return f"failed: {_KINDS[cell.kind]}" if cell.kind in _KINDS else "failed"
    return {"gap": "cannot be had here", "planned": "not run yet"}.get(cell.status, "no number")


def bar_of(group: str, name: str, cell: Cell | None, text: str, *, value: float | None = None) -> Bar:
    """A bar for a cell: filled, INVALID, or a word where there is no number."""
    precision = cell.spec.precision if cell else ""
    if cell is None or cell.images_per_s is None:
        link = anchor(cell) if cell else ""
        return Bar(group, name, None, why_missing(cell), style.colour(precision), "missing", link)
    value = cell.images_per_s if value is None else value
    other = f" · ran in {style.label(ran_in(cell), 22)}" if ran_in(cell) else ""
    if cell.valid:
        text += other
        text = f"{text} †" if unsteady(cell) else text
        return Bar(group, name, value, text, style.colour(precision), "measured", anchor(cell))
    reasons = cell.run.verdict.reasons if cell.run else ()
    why = f" ({reasons[0].id})" if reasons else ""
    return Bar(
        group,
        name,
        value,
        f"{images(cell.images_per_s)} INVALID{why}{other}",
        style.colour(precision),
        "invalid",
        anchor(cell),
    )


def dagger(bars: list[Bar]) -> str:
    """What the dagger behind a number means, if there is one."""
    told = " † disturbed or unsteady: such a number may come out otherwise next time; its run says why."
    return told if any(bar.text.endswith("†") for bar in bars) else ""


def draw_throughput(view: View) -> list[style.Drawing | style.Empty]:
    """One figure for each kind of device."""
    title = "Throughput of each precision"
    drawn: list[style.Drawing | style.Empty] = []
    for number, (device, name) in enumerate(view.devices[:MOST_DEVICES]):
        bars = [bar for model in view.models[:MOST_MODELS] for bar in _bars(view, model, device)]
        if any(bar.value is not None for bar in bars):
            more = len(view.models) - MOST_MODELS
            rest = f" {more} more models are in the table of runs." if more > 0 else ""
            drawn.append(
                style.Drawing.of(
                    draw(f"{title}: {name}", bars, "images/s"),
                    f"throughput-{number + 1}",
                    f"{title}: {name}",
                    f"Mode {view.mode}, one device, at the batch size with the best rates, of those that most "
                    "precisions were measured at. Speed-ups compare runs that differ in nothing but the precision; "
                    f"FP32 and TF32 are different bases.{rest}{dagger(bars)}",
                )
            )
    return drawn or [style.Empty("throughput", title, "No run has a number yet. Run trtkit study again: it resumes.")]


def _bars(view: View, model: str, device: str) -> list[Bar]:
    batch = view.common_batch(model, device)
    group = f"{style.label(model, 40)}, batch {batch:,}" if batch else style.label(model, 40)
    bars = []
    for precision in view.precisions:
        cell = view.at(model, precision, device, batch) or view.instead(model, precision, device)
        if cell is not None and cell.spec.batch != batch:  # nothing at this batch size, and this is why
            why = why_missing(cell)
            bars.append(Bar(group, precision.upper(), None, why, style.colour(precision), "missing", anchor(cell)))
            continue
        parts = [images(cell.images_per_s) if cell else ""]
        for base in ("fp32", "tf32"):
            ratio = view.speedup(cell, base) if cell and narrower(precision, base) else None
            if ratio is not None:
                parts.append(f"{times(ratio)} {base.upper()}")
        bars.append(bar_of(group, precision.upper(), cell, " · ".join(parts)))
    return bars
