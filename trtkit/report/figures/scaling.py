"""Figures 2 and 3: one to N devices, with the ideal line and the efficiency."""

from __future__ import annotations

from matplotlib.axes import Axes

from trtkit.artifacts.study_cell import Cell
from trtkit.report import style
from trtkit.report.figures.batches import draw_dots
from trtkit.report.numbers import images, percent
from trtkit.report.view import MOST_MODELS, View, anchor

__all__ = ["draw_scaling"]


def draw_scaling(view: View) -> list[style.Drawing | style.Empty]:
    """One figure for each model: speed-up over the first device alone, so that any devices and sources compare."""
    title = "Several devices at work together"
    drawn: list[style.Drawing | style.Empty] = []
    for number, model in enumerate(view.models[:MOST_MODELS]):
        cells = [cell for cell in view.study.cells if cell.spec.model == model and cell.scaling is not None]
        points = {p: _points(view, [c for c in cells if c.spec.precision == p]) for p in view.precisions}
        points = {precision: line for precision, line in points.items() if line}
        if not points:
            continue
        name = f"{title}: {style.label(model, 40)}"
        figure, axes = style.axes(name, 3.9)
        most = max(count for line in points.values() for count, _, _ in line)
        axes.plot([1, most], [1, most], color=style.MUTED, linewidth=1.1, linestyle="--", label="ideal")
        said: list[str] = []
        causes: dict[str, None] = {}
        for precision, line in points.items():
            colour, marker = style.colour(precision), style.MARKERS.get(precision, "P")
            draw_dots(axes, [(count, ratio, anchor(c)) for count, ratio, c in line], colour, marker, precision.upper())
            count, _, last = line[-1]
            if last.scaling is not None:
                efficiency = percent(last.scaling.efficiency)
                said.append(f"{precision.upper()} on {count}: {images(last.images_per_s)} images/s, {efficiency}")
                if last.scaling.cause:
                    causes[last.scaling.cause] = None
        macs = next((c.run.subject.macs_per_image for c in view.study.cells if c.spec.model == model and c.run), None)
        _published(axes, view, model, macs, most)
        axes.set_xticks(
            range(1, most + 1) if most <= 16 else sorted({c for line in points.values() for c, _, _ in line})
        )
        axes.set_ylim(0, most * 1.12)
        axes.set_xlabel("devices")
        axes.set_ylabel("speed-up over one device")
        axes.grid(True, linewidth=0.6)
        axes.locator_params(axis="y", nbins=6)
        style.legend(figure, axes)
        drawn.append(
            style.Drawing.of(
                figure,
                f"scaling-{number + 1}",
                name,
                "Counted over the window that all devices share; efficiency is the total over the sum of the devices "
                f"alone in the same run. {'; '.join(said)}. {' '.join(f'{cause}.' for cause in causes)}",
            )
        )
    if drawn:
        return drawn
    devices = len(view.study.plan.devices)
    if devices < 2:
        why = f"The study has one device, {', '.join(view.study.plan.devices)}: name several with --devices, or all."
    else:
        why = "No run of several devices at a time has a number; the gaps say why."
    return [style.Empty("scaling", title, why)]


def _points(view: View, cells: list[Cell]) -> list[tuple[int, float, Cell]]:
    """(devices, speed-up over the first device alone, cell), one device first."""
    found: list[tuple[int, float, Cell]] = []
    for cell in sorted(cells, key=lambda cell: cell.spec.count):
        if cell.scaling is None or cell.spec.mode != view.mode or not cell.valid:
            continue
        first = cell.spec.device.split("+")[0]
        alone = cell.scaling.alone.get(first)
        if not alone:
            continue
        if not found:
            one = view.at(cell.spec.model, cell.spec.precision, first, cell.spec.batch)
            if one is not None and one.valid:
                found.append((1, 1.0, one))
        found.append((cell.spec.count, cell.scaling.total_images_per_s / alone, cell))
    return found


def _published(axes: Axes, view: View, model: str, macs: int | None, most: int) -> None:
    lines: dict[tuple[str, str], dict[int, float]] = {}
    for point in view.reference.of(model, macs, devices=None):
        if point.batch == 128 and point.devices <= most:
            lines.setdefault((point.device, point.precision), {})[point.devices] = point.images_per_s
    for (device, precision), rates in lines.items():
        if len(rates) < 2 or 1 not in rates:
            continue
        xs = sorted(rates)
        axes.plot(
            xs,
            [rates[count] / rates[1] for count in xs],
            color=style.MUTED,
            linestyle="",
            marker="o",
            markersize=9,
            markerfacecolor="none",
            label=f"{device} {precision.upper()} (published)",
        )
