"""What happens to an image before a network sees it, as a noun: resize, crop, channel order, mean, std, layout."""

from __future__ import annotations

import math
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from trtkit.errors import UsageError

__all__ = ["Preprocessing"]

_CHOICES = {
    "resize_mode": ("shorter_side", "stretch"),
    "interpolation": ("bilinear", "bicubic", "nearest"),
    "channel_order": ("RGB", "BGR"),
    "layout": ("NCHW", "NHWC"),
}


@dataclass(frozen=True)
class Preprocessing:
    """From an 8-bit image to the values of one network input.

    The image is resized, its centre is cropped, the channels are put in order, and every pixel ``p`` in 0..255 of
    channel ``c`` becomes ``scale * (p - mean[c]) / std[c]``. The result is laid out channels first or last.

    Attributes:
        resize: pixels; what it fixes is said by ``resize_mode``.
        crop: (height, width) in pixels of the centre crop; equals the network input's spatial shape.
        channel_order: ``RGB`` or ``BGR``; ``mean`` and ``std`` are listed in this order.
        mean: one value a channel, in pixel units (0..255).
        std: one positive value a channel, in pixel units (0..255).
        scale: a common positive factor, applied last (Caffe's ``transform_param.scale``).
        resize_mode: ``shorter_side`` keeps the aspect ratio and makes the shorter side ``resize`` long (torchvision);
            ``stretch`` makes both sides ``resize`` long (Caffe's ``convert_imageset``).
        interpolation: ``bilinear``, ``bicubic`` or ``nearest``.
        layout: ``NCHW`` (channels first) or ``NHWC``; where the network input's shape says it, the shape decides.

    Raises:
        UsageError: a field holds a value that is not allowed.
    """

    resize: int
    crop: tuple[int, int]
    channel_order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float = 1.0
    resize_mode: str = "shorter_side"
    interpolation: str = "bilinear"
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        for field, allowed in _CHOICES.items():
            if getattr(self, field) not in allowed:
                raise _refused(field, getattr(self, field), "one of " + ", ".join(allowed))
        if self.resize < 1:
            raise _refused("resize", self.resize, "a positive number of pixels")
        if len(self.crop) != 2 or not all(1 <= side <= self.resize for side in self.crop):
            raise _refused("crop", self.crop, f"(height, width), each from 1 to resize ({self.resize} pixels)")
        if len(self.mean) != 3 or not all(map(math.isfinite, self.mean)):
            raise _refused("mean", self.mean, "three finite numbers in pixel units (0..255)")
        if len(self.std) != 3 or not all(0 < value < math.inf for value in self.std):
            raise _refused("std", self.std, "three positive numbers in pixel units (0..255)")
        if not 0 < self.scale < math.inf:
            raise _refused("scale", self.scale, "a positive number")

    @property
    def value_range(self) -> tuple[float, float]:
        """The smallest and the largest value that the network input can hold."""
        low = min(-mean / std for mean, std in zip(self.mean, self.std, strict=True))
        high = max((255.0 - mean) / std for mean, std in zip(self.mean, self.std, strict=True))
        return self.scale * low, self.scale * high

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Preprocessing:
        """The inverse of :meth:`to_json`.

        Raises:
            UsageError: a field is missing, unknown, or holds a value that is not allowed.
        """
        known = {field.name for field in fields(cls)}
        try:
            if unknown := sorted(value.keys() - known):
                raise TypeError(f"unknown {', '.join(unknown)}")
            if missing := [field.name for field in fields(cls) if field.default is MISSING and field.name not in value]:
                raise TypeError(f"it lacks {', '.join(missing)}")
            entries: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
            return cls(**entries)
        except TypeError as error:
            raise UsageError(
                f"This is no preprocessing: {error}. Its fields are {', '.join(sorted(known))}.",
                hint="Write it with Preprocessing.to_json.",
            ) from error


def _refused(field: str, value: object, allowed: str) -> UsageError:
    return UsageError(f"Preprocessing: {field} is {value!r}, and must be {allowed}.", hint="Correct this field.")
