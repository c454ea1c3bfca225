"""How much of a device's theoretical peak is used: the roof that no honest number reaches."""

from __future__ import annotations

from trtkit.artifacts.study_peaks import PEAK_RULE
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
                line = view.line(model, precision, device)
                line = (
                    tuple(cell for cell in line if cell.valid) or line
                )  # an INVALID run stands for none that is valid
                shares = [(view.share_of_peak(c) or 0.0, c) for c in line]
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
                    f"The peak is theoretical; {PEAK_RULE} "
                    "(Table 2). Networks like these reach 10 to 70 %; far less is bound by something else than "
                    f"arithmetic, and more than 100 % of a theoretical peak is a bug and INVALID.{dagger(bars)}",
                )
            )
    names = ", ".join(name for _, name in view.devices) or "the device"
    why = f"The theoretical peak of {names} is not known to trtkit, and a guess would be worse than none."
    return drawn or [style.Empty("peak", title, why)]
