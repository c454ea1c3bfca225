"""From a matplotlib figure to SVG and PNG: one layout, one walk over what is in the figure, two canvases.

``Figure.savefig`` would lay out, measure and walk for each file anew; that is most of what a report costs.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.transforms import Affine2D, Bbox, TransformedBbox, TransformedPath
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["drawn"]

_POINTS, _PNG_DPI = 72, 150
_PAD = 3.0
"""Points kept free around axes, title and legend."""

_GAP = 8.0
"""Points between axes side by side, so that their last and first ticks are two."""


class _Both(RendererBase):
    """Draws into an SVG file, and the same in pixels beside it.

    Line widths, dashes and font sizes are in points, which each renderer scales by itself; positions are scaled here.
    """

    def __init__(self, width: float, height: float, sink: io.StringIO) -> None:
        super().__init__()
        self.scale = _PNG_DPI / _POINTS
        self.up = Affine2D().scale(self.scale)
        self.svg: Any = RendererSVG(width, height, sink, metadata={"Date": None})  # type: ignore[no-untyped-call]
        self.pixels: Any = RendererAgg(width * self.scale, height * self.scale, _PNG_DPI)  # type: ignore[no-untyped-call]

    def _scaled(self, gc: Any) -> Any:
        box, (path, transform) = gc.get_clip_rectangle(), gc.get_clip_path()
        if box is None and path is None:
            return gc
        other: Any = self.new_gc()
        other.copy_properties(gc)
        other.set_clip_rectangle(None if box is None else TransformedBbox(box, self.up))
        other.set_clip_path(None if path is None else TransformedPath(path, transform + self.up))
        return other

    def draw_path(self, gc: Any, path: Any, transform: Any, rgbFace: Any = None) -> None:  # noqa: N803
        self.svg.draw_path(gc, path, transform, rgbFace)
        self.pixels.draw_path(self._scaled(gc), path, transform + self.up, rgbFace)

    def draw_markers(self, gc: Any, marker: Any, of: Any, path: Any, trans: Any, rgbFace: Any = None) -> None:  # noqa: N803
        self.svg.draw_markers(gc, marker, of, path, trans, rgbFace)
        self.pixels.draw_markers(self._scaled(gc), marker, of + self.up, path, trans + self.up, rgbFace)

    def draw_path_collection(  # type: ignore[override]
        self, gc: Any, master: Any, paths: Any, transforms: Any, offsets: Any, trans: Any, *rest: Any, **named: Any
    ) -> None:
        self.svg.draw_path_collection(gc, master, paths, transforms, offsets, trans, *rest, **named)
        self.pixels.draw_path_collection(
            self._scaled(gc), master + self.up, paths, transforms, offsets, trans + self.up, *rest, **named
        )

    def draw_text(
        self, gc: Any, x: float, y: float, s: str, prop: Any, angle: float, ismath: Any = False, mtext: Any = None
    ) -> None:
        self.svg.draw_text(gc, x, y, s, prop, angle, ismath, mtext)
        self.pixels.draw_text(self._scaled(gc), x * self.scale, y * self.scale, s, prop, angle, ismath, mtext)

    def open_group(self, s: str, gid: str | None = None) -> None:
        self.svg.open_group(s, gid)

    def close_group(self, s: str) -> None:
        self.svg.close_group(s)

    def flipy(self) -> bool:
        return True

    def get_canvas_width_height(self) -> tuple[float, float]:
        return self.svg.width, self.svg.height

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        found: tuple[float, float, float] = self.svg.get_text_width_height_descent(s, prop, ismath)
        return found

    def png(self) -> bytes:
        """What was drawn so far, as a PNG file."""
        sink = io.BytesIO()
        image = Image.fromarray(np.asarray(self.pixels.buffer_rgba())).convert("RGB")
        image.save(sink, "png", compress_level=3, dpi=(_PNG_DPI, _PNG_DPI))
        return sink.getvalue()


def drawn(figure: Figure) -> tuple[str, bytes]:
    """A figure, as the text of an SVG file and as a PNG file of 150 pixels an inch."""
    figure.set_dpi(_POINTS)
    width, height = (float(size) * _POINTS for size in figure.get_size_inches())
    sink = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a browser has the fonts that we have not
        renderer = _Both(width, height, sink)
        _place(figure, renderer)
        figure.draw(renderer)
        renderer.svg.finalize()
        return sink.getvalue(), renderer.png()


def _place(figure: Figure, renderer: _Both) -> None:
    """Give the axes, side by side, all the room that title, legend and their own labels leave."""
    width, height = figure.bbox.size
    top, bottom = _PAD, _PAD
    title = figure._suptitle  # type: ignore[attr-defined]
    if title is not None:
        title.set_y(1 - _PAD / height)
        wide = title.get_window_extent(renderer).width
        if wide > width - 2 * _PAD:  # letters that are wider than most: rather small than cut
            title.set_fontsize(title.get_fontsize() * (width - 2 * _PAD) / wide)
        top += title.get_window_extent(renderer).height + 2 * _PAD
    for legend in figure.legends:
        bottom += legend.get_window_extent(renderer).height + 2 * _PAD
    margins = [_margins(axes, renderer) for axes in figure.axes]
    top += max(over for _, over, _, _ in margins)
    bottom += max(below for _, _, _, below in margins)
    free = width - sum(left + right + 2 * _PAD for left, _, right, _ in margins) - _GAP * (len(margins) - 1)
    shares = _shares(figure)
    x = 0.0
    for axes, (left, _, right, _), share in zip(figure.axes, margins, shares, strict=True):
        x += left + _PAD
        box = Bbox.from_extents(x, bottom, x + free * share, height - top)
        axes.set_position(Bbox(box.get_points() / (width, height)))
        x = box.x1 + right + _PAD + _GAP


def _margins(axes: Any, renderer: _Both) -> tuple[float, float, float, float]:
    """What sticks out of axes: left, top, right, bottom, in points."""
    whole, inner = axes.get_tightbbox(renderer, for_layout_only=True), axes.bbox
    return inner.x0 - whole.x0, whole.y1 - inner.y1, whole.x1 - inner.x1, inner.y0 - whole.y0


def _shares(figure: Figure) -> Sequence[float]:
    specs: list[Any] = [axes.get_subplotspec() for axes in figure.axes]
    ratios = [
        1.0 if spec is None else float(spec.get_gridspec().get_width_ratios()[spec.colspan.start]) for spec in specs
    ]
    return [ratio / sum(ratios) for ratio in ratios]
