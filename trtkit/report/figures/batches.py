"""Figure 6: throughput against batch size up to the limit, with the reason at the last point."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from trtkit.artifacts.study_cell import Cell
from trtkit.report import style
from trtkit.report.figures.throughput import why_missing
from trtkit.report.view import View, anchor, named, ran_in

__all__ = ["draw_batches", "draw_dots", "draw_line"]

_WIDE = 4.6  # inches of the axis of batch sizes
_SLANTED = 0.2  # inches between two slanted labels
_BECAUSE = re.compile(r"largest that was to be tried \(([^()]+)\)$")


def draw_batches(view: View) -> list[style.Drawing | style.Empty]:
    """One figure for each model and kind of device."""
    title = "Batch size"
    drawn: list[style.Drawing | style.Empty] = []
    for number, (model, device, name) in enumerate(view.shown):
        lines = {precision: view.line(model, precision, device) for precision in view.precisions}
        if max((len(line) for line in lines.values()), default=0) < 2:
            continue
        heading = f"{title}: {style.label(model, 28)}, {style.label(name, 30)}"
        figure, axes = style.axes(heading, 3.9)
        ends: dict[tuple[int, str], list[str]] = {}
        limits: dict[tuple[int, str], list[Cell]] = {}  # of ladders that nothing stopped but what was to be tried
        rough = False  # whether the edge may lie between the last that ran and the first that failed
        batches = {cell.spec.batch or 1 for line in lines.values() for cell in line}
        for precision, line in lines.items():
            if not line:
                continue
            draw_line(axes, precision, line, [cell.spec.batch or 1 for cell in line])
            stop = view.stop(model, precision, device)
            if stop is not None and stop.spec.batch is not None:
                batches.add(stop.spec.batch)
                rough |= stop.spec.batch > (line[-1].spec.batch or 1) + 1 and stop.kind != "timeout"
                in_table = view.ladder(model, precision, device) is not None
                reason = "" if in_table else f": {(stop.reason or 'unknown').rstrip('.')}"
                alike = ends.setdefault((line[-1].spec.batch or 1, reason), [])
                _end(axes, precision, line[-1], stop)
                alike.append(_label(precision, line))
            elif (ladder := view.ladder(model, precision, device)) is not None and ladder.reason:
                found = ladder.run.settings.batch if ladder.run is not None else line[-1].spec.batch
                at = next((cell for cell in line if cell.spec.batch == found), line[-1])
                top = at.spec.batch or 1
                ends.setdefault((top, f": {ladder.reason.rstrip('.')}"), []).append(_label(precision, line))
                limits.setdefault((top, _limit(ladder.reason, top)), []).append(at)
        for (top, why), cells in limits.items():
            rate = max(cell.images_per_s or 0.0 for cell in cells)
            axes.annotate(why, (top, rate), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=8).set_url(
                anchor(cells[0])
            )
        axes.set_xscale("log", base=2)
        ran = {cell.spec.batch or 1 for line in lines.values() for cell in line}
        ticks, crowded = _ticks(ran, batches - ran)
        axes.set_xticks(ticks, [f"{batch:,}" for batch in ticks], rotation=45 if crowded else 0)
        axes.minorticks_off()
        axes.set_xlim(min(batches) / 1.25, max(batches) * 1.6)
        _axis(axes, "batch size (images, log scale)", "images/s")
        style.legend(figure, axes)
        told = " ".join(
            f"{_and(names)} {'ends' if len(names) == 1 else 'end'} at {batch:,}{reason}."
            for (batch, reason), names in ends.items()
        )
        told += " The table tells why." if any(not reason for _, reason in ends) else ""
        if rough and view.study.plan.sweep_within:
            told += f" The largest batch was looked for within {100 * view.study.plan.sweep_within:g} %."
        drawn.append(
            style.Drawing.of(
                figure,
                f"batch-{number + 1}",
                heading,
                f"Mode {view.mode}, one device. {told or 'No attempt failed: larger batch sizes were not tried.'}",
            )
        )
    why = "It needs two batch sizes or more: give for example --batch 1,8,32 or --batch 1,8,auto."
    return drawn or [style.Empty("batch", title, why)]


def _ticks(ran: set[int], failed: set[int]) -> tuple[list[int], bool]:
    """The batch sizes that can be named without touching, and whether they must be slanted for it.

    The largest that ran is named first, then the others that ran, then those that failed.
    """
    every = sorted(ran | failed)
    inch = _WIDE / (math.log2(every[-1] / every[0]) + 1)
    steps = [math.log2(high / low) * inch for low, high in itertools.pairwise(every)]
    crowded = bool(steps) and min(steps) < 0.08 * len(f"{every[-1]:,}")
    named: list[int] = []
    for batch in (max(ran), *sorted(ran), *sorted(failed)):
        if all(abs(math.log2(batch / other)) * inch >= _SLANTED for other in named):
            named.append(batch)
    return sorted(named), crowded


def draw_line(axes: Axes, precision: str, line: tuple[Cell, ...], xs: list[float] | list[int]) -> None:
    """A precision's runs as a line; INVALID ones as red crosses that the line passes by."""
    colour, marker = style.colour(precision), style.MARKERS.get(precision, "P")
    valid = [(x, cell) for x, cell in zip(xs, line, strict=True) if cell.valid]
    draw_dots(
        axes,
        [(x, cell.images_per_s or 0.0, anchor(cell)) for x, cell in valid],
        colour,
        marker,
        _label(precision, line),
    )
    wrong = [(x, cell) for x, cell in zip(xs, line, strict=True) if not cell.valid]
    if wrong:
        crosses = axes.scatter(
            [x for x, _ in wrong],
            [cell.images_per_s or 0.0 for _, cell in wrong],
            marker="X",
            s=60,
            facecolors=style.PAPER,
            edgecolors=style.INVALID,
            linewidths=1.4,
            zorder=3,
            label="INVALID",
        )
        crosses.set_urls([anchor(cell) for _, cell in wrong])


def draw_dots(axes: Axes, points: Sequence[tuple[float, float, str]], colour: str, marker: str, label: str) -> None:
    """A line through points that can be clicked on; each is (x, y, link)."""
    xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
    named: dict[str, Any] = {
        "marker": marker,
        "markersize": 5.5,
        "markevery": [],
        "label": label,
    }  # markers in the legend
    axes.plot(xs, ys, color=colour, linewidth=1.6, **named)
    if points:
        axes.scatter(xs, ys, s=36, color=colour, marker=marker, zorder=2.5).set_urls([link for _, _, link in points])


def _label(precision: str, line: Sequence[Cell]) -> str:
    """A line's name; what its runs really computed in goes along."""
    return next((named(cell) for cell in line if ran_in(cell)), precision.upper())


def _limit(reason: str, top: int) -> str:
    """What kept a ladder from a larger batch, in a word or two: ``--sweep-limit 64``."""
    because = _BECAUSE.search(reason)
    return f"{because[1]} {top:,}" if because else "not tried further"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _end(axes: Axes, precision: str, last: Cell, stop: Cell) -> None:
    x, y = [last.spec.batch or 1, stop.spec.batch or 1], [last.images_per_s or 0.0] * 2
    axes.plot(x, y, color=style.colour(precision), linewidth=1.2, linestyle=":")
    axes.plot(x[1:], y[1:], color=style.colour(precision), marker="x", markersize=8, markeredgewidth=2, linestyle="")
    note = axes.annotate(
        why_missing(stop).removeprefix("failed: "),
        (x[1], y[1]),
        xytext=(0, -13),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )
    note.set_url(anchor(stop))


def _axis(axes: Axes, x: str, y: str) -> None:
    axes.set_ylim(0, axes.get_ylim()[1] * 1.1)  # the highest marker, and what is said above it, stand clear of the edge
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, linewidth=0.6)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
