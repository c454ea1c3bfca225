"""Whether there are samples enough: none is an error, a handful is a sentence for people.

A threshold is the extreme, or close to the extreme, of what the samples showed. Equal samples show it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trtkit.errors import CalibrationError

if TYPE_CHECKING:
    from calibration.dataset import Dataset

__all__ = ["FEW", "few", "left_out_text", "refuse_none"]

FEW = 32
"""Fewer different samples than this are warned about."""


def refuse_none(dataset: Dataset, calibration: Sequence[int]) -> None:
    """Refuse to go on without a single sample.

    Args:
        dataset: after the pass over its calibration samples.
        calibration: their indices.

    Raises:
        CalibrationError: none of them was usable; the reasons are named.
    """
    if not dataset.usable(calibration):
        raise CalibrationError(
            f"None of the {len(calibration)} calibration samples can be used. {left_out_text(dataset.description)}.",
            hint="Give other data, or more of them.",
        )


def few(dataset: Dataset, calibration: Sequence[int]) -> str | None:
    """A warning if fewer than :data:`FEW` different samples were calibrated with; ``None`` if there are enough.

    Made-up samples are not counted: their number is the user's own, and no number of them would say more.
    """
    used, different = len(dataset.usable(calibration)), dataset.distinct(calibration)
    if different >= FEW or dataset.description["synthetic"]:
        return None
    equal = "" if used == different else f" ({used} of them, but equal ones count once)"
    return (
        f"{different} different sample{'s' if different > 1 else ''} to calibrate with{equal}: fewer than {FEW} seldom "
        "show the range of every tensor. Give a few hundred that look like what the model will meet."
    )


def left_out_text(description: Mapping[str, Any]) -> str:
    """``3 samples were left out: 2 × damaged or cut short (a.jpg, b.jpg), 1 × empty file (c.jpg)``.

    Args:
        description: of :attr:`calibration.dataset.Dataset.description`; empty text if nothing was left out.
    """
    reasons, examples = description.get("skipped", {}), description.get("skipped_examples", {})
    total = sum(reasons.values())
    if not total:
        return ""
    parts = []
    for why, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
        names = [name for name, reason in examples.items() if reason == why]
        shown = f" ({', '.join(names)}{', …' if count > len(names) else ''})" if names else ""
        parts.append(f"{count} × {why}{shown}")
    return f"{total} sample{'s were' if total > 1 else ' was'} left out: {', '.join(parts)}"
