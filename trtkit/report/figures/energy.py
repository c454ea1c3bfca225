"""Energy: joules for each image, where power was measured."""

from __future__ import annotations

from trtkit.report import style
from trtkit.report.figures.bars import draw
from trtkit.report.figures.throughput import bar_of, dagger
from trtkit.report.numbers import images, significant
from trtkit.report.view import MOST_DEVICES, MOST_MODELS, View

__all__ = ["draw_energy"]


def draw_energy(view: View) -> list[style.Drawing | style.Empty]:
    """One figure for each kind of device that tells its power."""
    title = "Energy for each image"
    drawn: list[style.Drawing | style.Empty] = []
    for number, (device, name) in enumerate(view.devices[:MOST_DEVICES]):
        bars = []
        for model in view.models[:MOST_MODELS]:
            batch = view.common_batch(model, device)
            for precision in view.precisions:
                cell = view.at(model, precision, device, batch)
                if cell is None or cell.run is None or not cell.run.images_per_joule:
                    continue
                joules = 1e3 / cell.run.images_per_joule
                text = f"{significant(joules)} mJ · {images(cell.run.images_per_joule)} images/J"
                bars.append(
                    bar_of(f"{style.label(model, 40)}, batch {batch:,}", precision.upper(), cell, text, value=joules)
                )
        if bars:
            drawn.append(
                style.Drawing.of(
                    draw(f"{title}: {name}", bars, "mJ for each image (board power, less is better)"),
                    f"energy-{number + 1}",
                    f"{title}: {name}",
                    f"Mean board power during the run over throughput, mode {view.mode}; the host's is not in it."
                    f"{dagger(bars)}",
                )
            )
    names = ", ".join(name for _, name in view.devices) or "the device"
    why = f"Power was not measured: {names} tells none to this process (NVML does on NVIDIA GPUs)."
    return drawn or [style.Empty("energy", title, why)]
