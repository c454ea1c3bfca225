"""How figures look, and how they leave matplotlib: inline SVG that follows the page's theme, and files.

Colours are those of Okabe and Ito (Color Universal Design, 2008), which colour-blind readers tell apart; a marker or a
label always says the same as the colour. Colours stand in the inline SVG as CSS variables, so that one drawing serves
light and dark.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "GRID",
    "INK",
    "INVALID",
    "MARKERS",
    "MUTED",
    "PAPER",
    "Drawing",
    "Empty",
    "axes",
    "colour",
    "label",
    "legend",
    "look",
    "render",
]

INK, MUTED, GRID, PAPER, INVALID = "#1b1b1f", "#5f5f6b", "#dcdce3", "#fffffe", "#b3001b"
COLOURS = {"fp32": "#0072b2", "tf32": "#56b4e9", "fp16": "#009e73", "int8": "#d55e00", "fp8": "#cc79a7"}
_OTHER = "#e69f00"
MARKERS = {"fp32": "o", "tf32": "s", "fp16": "^", "int8": "D", "fp8": "v"}
_VARIABLES = {
    INK: "--fig-ink",
    MUTED: "--fig-muted",
    GRID: "--fig-grid",
    PAPER: "--fig-paper",
    INVALID: "--fig-invalid",
    _OTHER: "--fig-other",
    **{value: f"--fig-{name}" for name, value in COLOURS.items()},
}
_RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib; the page names others behind it
    "font.size": 10,
    "text.parse_math": False,  # a $ in a model's name is a $
    "svg.fonttype": "none",  # text stays text: it can be selected, searched and read aloud
    "svg.hashsalt": "trtkit",
    "text.hinting": "none",  # nothing to gain at 150 pixels an inch
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "figure.facecolor": PAPER,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "hatch.linewidth": 0.8,
}
_WIDTH_IN = 5.7
_TITLE = 50
"""Letters of a title, in bold, that fit on one line of that width."""

_COLOUR = re.compile("|".join(map(re.escape, _VARIABLES)))
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_SIZES = tuple(re.compile(rf'(<svg\b[^>]*?) {size}="[^"]*"') for size in ("width", "height"))
_IDS = re.compile(r' id="[A-Za-z0-9.]+_\d+"')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Drawing:
    """A figure, ready for the page.

    Attributes:
        id: its name in anchors and files.
        title: what it shows, short.
        caption: what a reader must know to read it, sentences.
        svg: inline SVG.
        files: ending → bytes, of the figure as a file.
    """

    id: str
    title: str
    caption: str
    svg: str
    files: dict[str, bytes]

    @classmethod
    def of(cls, figure: Figure, id: str, title: str, caption: str) -> Self:
        """Render a figure."""
        inline, svg, png = render(figure)
        return cls(id, title, caption, inline, {"svg": svg, "png": png})


@dataclass(frozen=True)
class Empty:
    """A figure that cannot be drawn.

    Attributes:
        id, title: as in :class:`Drawing`.
        reason: what is missing, and how to get it, sentences.
    """

    id: str
    title: str
    reason: str


def colour(precision: str) -> str:
    """The colour that a precision has in every figure."""
    return COLOURS.get(precision, _OTHER)


def label(text: str, most: int = 30) -> str:
    """A name as it fits into a figure: no control characters, and an ellipsis in the middle of what is too long."""
    text = _CONTROL.sub(" ", text)
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[-(most - 1 - head) :]}"


def look() -> AbstractContextManager[None]:
    """The house's look, while figures are made and rendered."""
    import matplotlib

    return matplotlib.rc_context(_RC)


def axes(title: str, height_in: float) -> tuple[Figure, Axes]:
    """An empty figure of the page's width, 5.7 inches, with its title: the files are shown without the page, too."""
    from matplotlib.figure import Figure

    lines = _lines(title)
    figure = Figure(figsize=(_WIDTH_IN, height_in + 0.18 * (len(lines) - 1)))
    figure.suptitle("\n".join(lines), x=0.008, ha="left", fontsize=10.5, fontweight="bold")
    return figure, figure.add_subplot()


def _lines(title: str) -> list[str]:
    """A title as it fits: what it shows on one line, and of what on another where one does not hold both."""
    what, _, of = title.partition(": ")
    one = label(title, 200)
    return [one] if len(one) <= _TITLE or not of else [f"{label(what, _TITLE - 1)}:", label(of, _TITLE)]


def legend(figure: Figure, *of: Axes) -> None:
    """Each name once, below the plot, where no line runs."""
    found: dict[str, Any] = {}
    for part in of:
        handles, names = part.get_legend_handles_labels()
        found.update(zip(names, handles, strict=True))
    found = dict(sorted(found.items(), key=lambda item: item[0].lower().split()[0] not in COLOURS))  # precisions first
    if found:
        figure.legend(
            list(found.values()),
            list(found),
            loc="outside lower left",
            ncols=max(1, min(6, 64 // (max(map(len, found)) + 6))),
        )


def render(figure: Figure) -> tuple[str, bytes, bytes]:
    """A figure as inline SVG, and as SVG and PNG files in light colours, for slides and papers.

    The inline form has no fixed size, no identifiers that another figure may have, and colours as variables.
    """
    from trtkit.report.rendering import drawn

    svg, png = drawn(figure)
    text = _IDS.sub("", _METADATA.sub("", svg[svg.index("<svg") :]))
    for size in _SIZES:
        text = size.sub(r"\1", text, count=1)
    text = _COLOUR.sub(lambda found: f"var({_VARIABLES[found[0]]})", text)
    return text.strip(), svg.encode(), png
