"""Horizontal bars in groups, with their numbers in words: the form that several figures share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from trtkit.report import style

__all__ = ["Bar", "draw", "fill"]

_ROW_IN = 0.27
_GROUP_IN = 0.34
_HEIGHT = 0.74


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        group: header that it stands under; bars of one group follow each other.
        name: at the axis.
        value: its length; ``None`` draws no bar, only the text.
        text: behind it: number, unit, what to know.
        colour: of a measurement.
        kind: a measurement is filled, one of another study filled and dotted, a published figure hollow, an INVALID
            one hatched in red.
        link: where the number comes from, an anchor; empty for none.
    """

    group: str
    name: str
    value: float | None
    text: str
    colour: str
    kind: Literal["measured", "other", "published", "invalid", "missing"] = "measured"
    link: str = ""


def draw(title: str, bars: Sequence[Bar], unit: str, *, room: float = 1.05) -> Figure:
    """Draw bars from top to bottom; ``room`` is the part of the axis kept free for their texts."""
    groups = len({bar.group for bar in bars})
    figure, axes = style.axes(title, 1.0 + _ROW_IN * len(bars) + _GROUP_IN * groups)
    fill(axes, bars, unit, room=room)
    return figure


def fill(axes: Axes, bars: Sequence[Bar], unit: str, *, room: float, headers: bool = True) -> None:
    """Draw bars into axes that are there; without ``headers`` the names of groups and bars stand elsewhere."""
    longest = max((bar.value for bar in bars if bar.value is not None), default=0.0) or 1.0
    position, seen = 0.0, ""
    for bar in bars:
        if bar.group != seen:
            position += _GROUP_IN / _ROW_IN if seen else 0.9
            if headers:
                axes.text(
                    0,
                    position - 0.95,
                    style.label(bar.group, 58),
                    va="center",
                    fontsize=9.5,
                    fontweight="bold",
                    bbox={"facecolor": style.PAPER, "edgecolor": "none", "pad": 1.2},
                    zorder=2.2,
                )
            seen = bar.group
        if bar.value is not None:
            _bar(axes, bar, position)
        text = axes.text(
            (bar.value or 0.0) + longest * 0.015,
            position,
            bar.text,
            va="center",
            fontsize=9,
            color={"invalid": style.INVALID, "missing": style.MUTED}.get(bar.kind, style.INK),
        )
        if bar.link:
            text.set_url(bar.link)
        if headers:  # as text: a tick is five things to draw
            name = style.label(bar.name, 26)
            axes.text(-0.012, position, name, ha="right", va="center", transform=axes.get_yaxis_transform())
        position += 1.0
    axes.set_yticks([])
    axes.set_ylim(position - 0.4, -0.75)
    axes.set_xlim(0, longest * (1 + room))
    axes.set_xlabel(unit)
    axes.grid(True, axis="x", linewidth=0.6)
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def _bar(axes: Axes, bar: Bar, position: float) -> None:
    hollow = bar.kind in ("published", "invalid")
    patch = Rectangle(  # barh would ask the axes for their limits and units anew with each
        (0, position - _HEIGHT / 2),
        bar.value or 0.0,
        _HEIGHT,
        facecolor=style.PAPER if hollow else bar.colour,
        edgecolor={"invalid": style.INVALID, "other": style.PAPER}.get(bar.kind, bar.colour),
        linewidth=1.3,
        linestyle="--" if bar.kind == "published" else "-",
        hatch={"invalid": "////", "other": ".."}.get(bar.kind),
    )
    if bar.link:
        patch.set_url(bar.link)
    axes.add_patch(patch)
