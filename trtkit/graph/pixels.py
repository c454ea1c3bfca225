"""Images as bytes, channels last, and as the floating-point numbers that a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trtkit.artifacts.preprocessing import Preprocessing

__all__ = ["channel_axis", "mean_and_factor", "normalized"]

_CHANNELS = (1, 3)


def channel_axis(shape: Sequence[Any] | None) -> int | None:
    """The axis of an image's channels: 1 or 3; ``None`` if it is no image."""
    if shape is None or len(shape) != 4:
        return None
    return next((axis for axis in (1, 3) if shape[axis] in _CHANNELS), None)


def normalized(pixels: npt.NDArray[Any], axis: int, preprocessing: Preprocessing | None) -> npt.NDArray[np.float32]:
    """What the source model takes for uint8 pixels N×H×W×C; ``axis`` is where it has its channels."""
    values = pixels.astype(np.float64)
    if preprocessing is not None:
        mean, factor = mean_and_factor(preprocessing, pixels.shape[3])
        values = (values - mean) * factor
    return (values.transpose(0, 3, 1, 2) if axis == 1 else values).astype(np.float32)


def mean_and_factor(
    preprocessing: Preprocessing, channels: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and s/std a channel; a single channel takes the averages."""
    mean, std = np.array(preprocessing.mean, np.float64), np.array(preprocessing.std, np.float64)
    if channels == 1:
        mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
    return mean, preprocessing.scale / std
