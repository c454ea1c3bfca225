"""How much of a device's theoretical peak is used: the roof that no honest number reaches."""

from __future__ import annotations

from trtkit.report import style
from trtkit.report.figures.bars import draw
from trtkit.report.figures.throughput import bar_of, dagger
from trtkit.report.numbers import images, percent
from trtkit.report.view import MOST_DEVICES, MOST_MODELS, View

__all__ = ["draw_peak"]


def draw_peak(view: View) -> list[style.Drawing | style.Empty]:
    """One figure for each kind of device whose peak is known."""
    title = "Share of the peak"
    drawn: list[style.Drawing | style.Empty] = []
    for number, (device, name) in enumerate(view.devices[:MOST_DEVICES]):
        bars = []
        for model in view.models[:MOST_MODELS]:
            for precision in view.precisions:
                shares = [(view.share_of_peak(c) or 0.0, c) for c in view.line(model, precision, device)]
                share, cell = max(shares, key=lambda entry: entry[0], default=(0.0, None))
                if cell is None or not share:
                    continue
                text = f"{percent(share)} · {images(cell.images_per_s)} images/s at batch {cell.spec.batch:,}"
                bars.append(bar_of(model, precision.upper(), cell, text, value=share * 100))
        if bars:
            drawn.append(
                style.Drawing.of(
                    draw(
                        f"{title}: {name}",
                        bars,
                        "% of the device's peak in the precision that ran",
                        room=1.4,
                    ),
                    f"peak-{number + 1}",
                    f"{title}: {name}",
                    "Two operations for each multiply-accumulate of the model, at the batch size that comes closest. "
                    "The peak is theoretical, of a processor it is the highest rate of matrix products measured beside "
                    "any run (Table 2). Networks like these reach 10 to 70 %; far less is bound by something else than "
                    f"arithmetic, and more than 100 % of a theoretical peak is a bug and INVALID.{dagger(bars)}",
                )
            )
    names = ", ".join(name for _, name in view.devices) or "the device"
    why = f"The theoretical peak of {names} is not known to trtkit, and a guess would be worse than none."
    return drawn or [style.Empty("peak", title, why)]
