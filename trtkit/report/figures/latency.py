"""Latency against throughput: what a larger batch buys, and which batch a latency budget allows."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from trtkit.artifacts.study_cell import Cell
from trtkit.report import style
from trtkit.report.figures.batches import draw_line
from trtkit.report.numbers import images, milliseconds
from trtkit.report.view import View, anchor, fastest, named

__all__ = ["PERCENT", "draw_latency", "within_budget"]

PERCENT = 99
"""A budget is kept if 99 of 100 batches keep it: the median would break it half of the time."""


def within_budget(cells: tuple[Cell, ...], budget_ms: float) -> Cell | None:
    """The fastest valid run whose 99th percentile of latency keeps the budget; ``None`` if none does."""
    return fastest(
        [c for c in cells if c.valid and c.run and (c.run.latency_ms(PERCENT) or budget_ms + 1) <= budget_ms]
    )


_LETTER, _GAP, _LINE = 7.0, 6.0, 14.0
"""Pixels of a digit, between two numbers, and of a line, at the figures' 100 pixels an inch."""


def draw_latency(view: View) -> list[style.Drawing | style.Empty]:
    """One figure for each model and kind of device."""
    title = "Latency against throughput"
    budget = view.study.plan.latency_budget_ms
    drawn: list[style.Drawing | style.Empty] = []
    for number, (model, device, name) in enumerate(view.shown):
        lines = {precision: view.line(model, precision, device) for precision in view.precisions}
        lines = {
            precision: tuple(cell for cell in line if cell.run and cell.run.latency_ms(PERCENT))
            for precision, line in lines.items()
        }
        if max((len(line) for line in lines.values()), default=0) < 2:
            continue
        heading = f"{title}: {style.label(model, 28)}, {style.label(name, 30)}"
        figure, axes = style.axes(heading, 4.0)
        xs: list[float] = []
        for precision, line in lines.items():
            here = [cell.run.latency_ms(PERCENT) or 0.0 for cell in line if cell.run]
            xs += here
            if line:
                draw_line(axes, precision, line, here)
        axes.set_xscale("log")
        axes.set_xlim(min([*xs, budget or xs[0]]) / 1.3, max([*xs, budget or xs[0]]) * 1.4)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.set_ylim(0, axes.get_ylim()[1] * 1.08)
        _name_batches(axes, lines)
        axes.set_xlabel(f"latency of a batch, {PERCENT}th percentile (ms, log scale)")
        axes.set_ylabel("images/s")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.grid(True, linewidth=0.6)
        said = _budget(axes, lines, budget) if budget is not None else "No latency budget was given."
        style.legend(figure, axes)
        drawn.append(
            style.Drawing.of(
                figure,
                f"latency-{number + 1}",
                heading,
                f"Mode {view.mode}; the numbers at the points are batch sizes. {said}",
            )
        )
    why = "It needs two batch sizes or more: give for example --batch 1,8,32."
    return drawn or [style.Empty("latency", title, why)]


def _name_batches(axes: Axes, lines: dict[str, tuple[Cell, ...]]) -> None:
    """Batch sizes at the fastest precision's points, the fastest first, as far as they do not cover each other."""
    best = max(lines.values(), key=lambda line: max((cell.images_per_s or 0 for cell in line), default=0))
    named: list[tuple[float, float, float]] = []  # where a name stands, in pixels, and how wide it is
    for cell in sorted(best, key=lambda cell: -(cell.images_per_s or 0.0)):
        if cell.run is None:
            continue
        text, at = f"{cell.spec.batch:,}", (cell.run.latency_ms(PERCENT) or 0.0, cell.images_per_s or 0.0)
        x, y = axes.transData.transform(at)
        width = len(text) * _LETTER + _GAP
        if all(abs(x - other) >= (width + wide) / 2 or abs(y - high) >= _LINE for other, high, wide in named):
            named.append((x, y, width))
            axes.annotate(
                text, at, xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8, color=style.MUTED
            )


def _budget(axes: Axes, lines: dict[str, tuple[Cell, ...]], budget: float) -> str:
    axes.axvline(budget, color=style.INK, linewidth=1.1, linestyle="--", label=f"budget {milliseconds(budget)} ms")
    picks = [pick for line in lines.values() if (pick := within_budget(line, budget))]
    best = fastest(picks)
    if best is None or best.run is None:
        return f"No valid run keeps the budget of {milliseconds(budget)} ms."
    star = axes.scatter(
        [best.run.latency_ms(PERCENT) or 0.0],
        [best.images_per_s or 0.0],
        marker="*",
        s=230,
        facecolors=style.colour(best.spec.precision),
        edgecolors=style.INK,
        linewidths=0.9,
        zorder=4,
        label="best in budget",
    )
    star.set_urls([anchor(best)])
    return (
        f"Within {milliseconds(budget)} ms the best is {named(best)} at batch {best.spec.batch:,}: "
        f"{images(best.images_per_s)} images/s, {milliseconds(best.run.latency_ms(PERCENT))} ms."
    )
