"""From an image to the values of a network input, as :class:`trtkit.artifacts.preprocessing.Preprocessing` says.

torchvision's ImageNet recipe on Pillow images (``Resize``, ``CenterCrop``, ``ToTensor``, ``Normalize``), step by step:

1. ``shorter_side``: the shorter side becomes ``resize`` pixels, the longer one ``int(resize · long / short)``;
   ``stretch``: both become ``resize``. Pillow's filters, which antialias when they shrink; 8 bits stay 8 bits.
2. Crop height × width from row ``round((H − height) / 2)`` and column ``round((W − width) / 2)``, half to even.
3. Channel c of pixel value p becomes ``scale · (p − mean[c]) / std[c]``, computed in float64 and rounded to float32
   once, through a table of the 256 values that p can have. Channels first, in ``channel_order``.

Steps 1 and 2 give the pixels that torchvision gives with the same Pillow (large JPEGs apart, see
:mod:`calibration.images`); step 3 differs from its float32 arithmetic in the last bits. Releases of Pillow differ by a
level of 255 in tall pictures, since newer ones may filter rows before columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from calibration.images import Picture, upright
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import UsageError

__all__ = ["PRESETS", "apply", "load_preprocessing", "normalise", "value_table"]

PRESETS = ("imagenet", "caffe", "none")
"""Names that ``--preprocess`` knows."""

_KEYS = ("resize", "crop", "channel_order", "mean", "std", "scale", "resize_mode", "interpolation", "layout")
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}

Floats = npt.NDArray[np.float32]


def apply(preprocessing: Preprocessing, image: Image.Image | Picture, out: Floats | None = None) -> Floats:
    """One image as float32 [3, height, width]; ``out``, if given, is filled and returned.

    Raises:
        calibration.images.UnusableSampleError: the image's pixels have no known white (see there).
    """
    picture = image if isinstance(image, Picture) else upright(image)
    resized = _resize(preprocessing, picture)
    height, width = preprocessing.crop
    left, top = round((resized.width - width) / 2), round((resized.height - height) / 2)
    if resized.size != (width, height):
        resized = resized.crop((left, top, left + width, top + height))
    return normalise(preprocessing, np.asarray(resized), out)


def normalise(preprocessing: Preprocessing, pixels: npt.NDArray[np.uint8], out: Floats | None = None) -> Floats:
    """RGB pixels [height, width, 3] → float32 [3, height, width] in the order, with the mean and std wanted."""
    table = value_table(preprocessing)
    if out is None:
        out = np.empty((3, *pixels.shape[:2]), np.float32)
    for index in range(3):
        channel = index if preprocessing.channel_order == "RGB" else 2 - index
        # Every index is in range; "clip" only spares NumPy a buffered copy of ``out``.
        np.take(table[index], pixels[..., channel], out=out[index], mode="clip")
    return out


def value_table(preprocessing: Preprocessing) -> Floats:
    """[3, 256]: the network's value for each channel (in ``channel_order``) and pixel value 0..255."""
    pixel = np.arange(256, dtype=np.float64)
    mean, std = np.array(preprocessing.mean)[:, None], np.array(preprocessing.std)[:, None]
    values: Floats = (preprocessing.scale * (pixel - mean) / std).astype(np.float32)
    return values


def load_preprocessing(text: str, size: tuple[int, int] = (224, 224), layout: str | None = None) -> Preprocessing:
    """What ``--preprocess`` names.

    * ``imagenet``: torchvision's; RGB, its mean and std, the crop 7/8 of the resized image (256 for 224).
    * ``caffe``: BGR minus (104, 117, 123), stretched to 256 × 256 for crops of 224 or 227, else to 8/7 of the crop.
    * ``none``: RGB values 0..255 as they are, resized to the crop.
    * a JSON file with the keys ``resize``, ``crop`` (a number or [height, width]), ``channel_order``, ``mean``, ``std``
      (pixel units, 0..255) and, if wanted, ``scale``, ``resize_mode``, ``interpolation``, ``layout``.

    Args:
        text: the name or the file.
        size: (height, width) of the network input, for the three names.
        layout: of the network input, ``NCHW`` or ``NHWC``; ``None``: not known, so NCHW unless a file says otherwise.

    Raises:
        UsageError: neither a name nor a readable file, or a file that says something impossible.
    """
    if text in PRESETS:
        return replace(_preset(text, size), layout=layout or "NCHW")
    path = Path(text)
    if path.suffix.lower() != ".json" and not path.is_file():
        raise UsageError(
            f"{text!r} names no preprocessing: known are {', '.join(PRESETS)}, or a JSON file.",
            hint="Choose one of these; a file has the keys " + ", ".join(_KEYS) + ".",
        )
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not JSON ({error})"
        raise UsageError(f"{path} cannot be read as preprocessing: {reason}.", hint="Correct the file.") from error
    return _from_file(path, value, layout)


def _preset(name: str, size: tuple[int, int]) -> Preprocessing:
    wider = round(max(size) * 8 / 7)
    if name == "imagenet":
        mean, std = (0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255)
        return Preprocessing(wider, size, "RGB", mean, std)
    if name == "caffe":
        resize = 256 if max(size) in (224, 227) else wider
        return Preprocessing(resize, size, "BGR", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0), resize_mode="stretch")
    return Preprocessing(max(size), size, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def _from_file(path: Path, value: Any, layout: str | None) -> Preprocessing:
    if not isinstance(value, Mapping):
        raise UsageError(
            f"{path} holds no JSON object with preprocessing, but {type(value).__name__}.",
            hint="Its keys are " + ", ".join(_KEYS) + ".",
        )
    entries = {"layout": layout or "NCHW", **value}
    if layout is not None and entries["layout"] in ("NCHW", "NHWC") and entries["layout"] != layout:
        raise UsageError(
            f"{path}: layout is {entries['layout']}, and the model's input is {layout}.",
            hint="Leave the layout out: it is read off the model's input.",
        )
    if isinstance(entries.get("crop"), int):
        entries["crop"] = [entries["crop"]] * 2
    try:
        result = Preprocessing.from_json(entries)
    except (UsageError, TypeError, ValueError) as error:
        message = error.message if isinstance(error, UsageError) else f"a value is of the wrong type ({error})."
        raise UsageError(f"{path}: {message}", hint="Its keys are " + ", ".join(_KEYS) + ".") from error
    if 0 < max(result.mean) <= 1 and max(result.std) <= 1 and result.scale == 1:
        raise UsageError(
            f"{path}: mean {list(result.mean)} and std {list(result.std)} are in units of 0..1, and pixels are 0..255.",
            hint="Multiply both by 255.",
        )
    return result


def _resize(preprocessing: Preprocessing, picture: Picture) -> Image.Image:
    width, height = picture.size
    side = preprocessing.resize
    if preprocessing.resize_mode == "stretch":
        wanted = (side, side)
    else:
        wanted = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    if picture.image.size == wanted == picture.size:
        return picture.image
    return picture.image.resize(wanted, _FILTERS[preprocessing.interpolation], box=picture.box)
