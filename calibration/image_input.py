"""Where height, width and colour stand in a model's input that takes images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trtkit.artifacts.model import TensorSpec

__all__ = ["laid_out", "layout_of", "size_of"]


def layout_of(spec: TensorSpec, otherwise: str = "NCHW") -> str | None:
    """``NCHW`` or ``NHWC``, as the input's shape says; ``None`` for an input that cannot take colour images.

    Args:
        spec: the input.
        otherwise: the answer where the shape leaves it open, as N×C×H×W with names for all four does.
    """
    if len(spec.shape) != 4:
        return None
    first, last = (spec.shape[place] == 3 or isinstance(spec.shape[place], str) for place in (1, 3))
    if first and last and (spec.shape[1] == 3) != (spec.shape[3] == 3):
        return "NCHW" if spec.shape[1] == 3 else "NHWC"
    if first and last:
        return otherwise
    return "NCHW" if first else "NHWC" if last else None


def size_of(spec: TensorSpec, layout: str) -> tuple[int, int] | None:
    """(height, width) in pixels of an image input; ``None`` where one of them is open."""
    height, width = spec.shape[1:3] if layout == "NHWC" else spec.shape[2:4]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def laid_out(values: npt.NDArray[np.float32], layout: str) -> npt.NDArray[np.float32]:
    """One image [3, height, width] in the layout's order, contiguous."""
    return np.ascontiguousarray(values.transpose(1, 2, 0)) if layout == "NHWC" else values
