"""Accuracy beside speed, so that nobody reads one without the other."""

from __future__ import annotations

from trtkit.report import style
from trtkit.report.figures.bars import Bar, fill
from trtkit.report.numbers import decibels, percent, times
from trtkit.report.view import MOST_MODELS, View, anchor

__all__ = ["draw_accuracy"]


def draw_accuracy(view: View) -> list[style.Drawing | style.Empty]:
    """Speed-up over FP32 on the left, how close the scores are to FP32's on the right."""
    title = "Accuracy beside speed"
    speed, noise = [], []
    for model in view.models[:MOST_MODELS]:
        for precision in view.precisions:
            prepared = view.artifacts.get((model, precision))
            accuracy = prepared.accuracy if prepared else None
            if accuracy is None or precision == "fp32":
                continue
            top1 = f" · top-1 {percent(accuracy.top1_agreement)}" if accuracy.top1_agreement is not None else ""
            made_up = " *" if accuracy.synthetic else ""
            text = f"{'equal' if accuracy.exact else decibels(accuracy.sqnr_db)}{top1}{made_up}"
            link = f"#artifact-{view.artifact_id(model, precision)}"
            colour = style.colour(precision)
            name = _name(view, model, precision)
            noise.append(Bar(style.label(model, 26), name, accuracy.sqnr_db, text, colour, "measured", link))
            speed.append(_speed(view, model, precision))
    if not noise:
        why = "No precision but the source's own was compared with it: validation says why in the table of artifacts."
        return [style.Empty("accuracy", title, why)]
    rows = len(noise) + 1.3 * len({bar.group for bar in noise})
    figure, left = style.axes(f"{title}: mode {view.mode}", 1.2 + 0.27 * rows)
    grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.2))
    left.set_subplotspec(grid[0])
    right = figure.add_subplot(grid[1])
    fill(left, speed, "throughput over FP32 (×)", room=0.6)
    fill(right, noise, "signal to noise against FP32 (dB)", room=1.1, headers=False)
    left.set_xlim(0, max(left.get_xlim()[1], 1.25))  # FP32 itself is on it, and its label stands clear
    left.axvline(1, color=style.MUTED, linewidth=1, linestyle="--")
    for words in left.texts:  # the line passes behind them
        words.set_bbox({"facecolor": style.PAPER, "edgecolor": "none", "pad": 0.6})
    caption = (
        "Scores against those of the FP32 source: 20 dB is an error of 10 %, 40 dB of 1 %. Top-1 is the share of "
        "inputs with the same first class; it says nothing about right or wrong classes."
    )
    if any(bar.text.endswith("*") for bar in noise):
        caption += " * made-up data: the precision's own noise, and no statement about accuracy on real images."
    if any(bar.name.endswith("†") for bar in speed):
        caption += " † its runs computed in another precision than asked: All results says in which."
    return [style.Drawing.of(figure, "accuracy", title, caption)]


def _name(view: View, model: str, precision: str) -> str:
    other = view.named(model, precision, view.devices[0][0]) if view.devices else precision.upper()
    return precision.upper() if other == precision.upper() else f"{precision.upper()} †"


def _speed(view: View, model: str, precision: str) -> Bar:
    for device, _ in view.devices:
        cell = view.at(model, precision, device, view.common_batch(model, device))
        ratio = view.speedup(cell, "fp32") if cell is not None else None
        if cell is not None and ratio is not None:
            colour = style.colour(precision)
            name = _name(view, model, precision)
            return Bar(style.label(model, 26), name, ratio, times(ratio), colour, "measured", anchor(cell))
    return Bar(
        style.label(model, 26), _name(view, model, precision), None, "no valid pair", style.colour(precision), "missing"
    )
