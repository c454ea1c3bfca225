"""From the bytes of an image file to upright 8-bit RGB pixels, or the reason why there are none.

What a training pipeline does with ``PIL.Image.convert("RGB")`` is done here too: alpha is dropped, a palette looked up,
grayscale repeated, CMYK converted. On top of that 16-bit pixels are brought to 8 bits (their high byte, as Pillow does
for 16-bit colour), the EXIF orientation is applied, and of an animation or a multi-page file the first picture counts.

A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size where the result stays at least twice as large as it is needed.
After resizing it differs from the full decoding by less than 0.5 levels of 255 on average; a 12-megapixel photograph
takes 1/16 of the memory and less than half of the time. Photographs of the size of ImageNet's are decoded in full.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["SUFFIXES", "Picture", "UnusableSampleError", "decode", "probe", "upright"]

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2", ".avif")
)
"""Lower-case suffixes of the files that a folder is searched for."""

_MOST_PIXELS = 50_000_000
"""Pixels that may be decoded at once: 200 MB in Pillow's memory, which takes four bytes a pixel of RGB."""
_LONGEST_ASPECT = 100
_DRAFT_MARGIN = 2
_ORIENTATION = 0x0112  # EXIF 2.3, section 4.6.4, tag Orientation
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnusableSampleError(Exception):
    """A sample that is left out; the message is the reason, in words that fit many samples."""


@dataclass(frozen=True)
class Picture:
    """Upright RGB pixels and what they show.

    Attributes:
        image: mode ``RGB``.
        box: left, upper, right, lower edge of the picture within ``image``, in its pixels; a JPEG decoded at a fraction
            of its size ends in a part of a pixel.
        size: width and height of the picture at full size, in pixels.
        notes: what had to be done on the way: ``grayscale``, ``rotated``, ``16-bit`` …
    """

    image: Image.Image
    box: tuple[float, float, float, float]
    size: tuple[int, int]
    notes: tuple[str, ...] = ()


def probe(data: bytes) -> None:
    """Read the header only.

    Raises:
        UnusableSampleError: this is no image, or one that is too large or too long.
    """
    with _open(data) as image:
        _check_aspect(image.size)


def decode(data: bytes, needed: int = 0) -> Picture:
    """Decode an image file.

    Args:
        data: the file's bytes.
        needed: pixels that the shorter side will be resized to; 0 decodes at full size whatever the cost.

    Raises:
        UnusableSampleError: the bytes are no image, damaged or cut short, or the image is too large or too long.
    """
    with _open(data) as image:
        size = image.size
        _check_aspect(size)
        box: tuple[float, float, float, float] = (0, 0, *size)
        if needed and image.format == "JPEG" and (draft := _draft(image, needed)) is not None:
            box = draft
        if image.width * image.height > _MOST_PIXELS:
            raise UnusableSampleError(f"more than {_MOST_PIXELS // 10**6} million pixels")
        try:
            image.load()
            return upright(image, box=box, size=size)
        except (UnusableSampleError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise a dozen types on damaged files
            raise UnusableSampleError("damaged or cut short") from error


def upright(
    image: Image.Image,
    *,
    box: tuple[float, float, float, float] | None = None,
    size: tuple[int, int] | None = None,
) -> Picture:
    """RGB pixels of a loaded image of any mode, turned as its EXIF data says.

    Raises:
        UnusableSampleError: the pixels are floating-point or beyond 16 bits, so that nobody knows what white is, or
            of a mode that has no conversion to RGB.
    """
    box, size = box or (0, 0, *image.size), size or image.size
    orientation = _orientation(image)
    notes = tuple(
        note
        for note, holds in (
            ("animated", getattr(image, "is_animated", False)),
            ("rotated", orientation in _TURNS),
            (_MODE_NOTES.get(image.mode, image.mode), image.mode != "RGB"),
        )
        if holds
    )
    rgb = _to_rgb(image)
    if orientation not in _TURNS:
        return Picture(rgb, box, size, notes)
    left, upper, right, lower = box
    if orientation >= 5:
        left, upper, right, lower, size = upper, left, lower, right, (size[1], size[0])
    rgb = rgb.transpose(_TURNS[orientation])
    if orientation in (2, 3, 6, 7):
        left, right = rgb.width - right, rgb.width - left
    if orientation in (3, 4, 7, 8):
        upper, lower = rgb.height - lower, rgb.height - upper
    return Picture(rgb, (left, upper, right, lower), size, notes)


_MODE_NOTES = {
    "1": "grayscale", "L": "grayscale", "LA": "grayscale", "La": "grayscale", "P": "palette", "PA": "palette",
    "RGBA": "alpha", "RGBa": "alpha", "RGBX": "alpha", "CMYK": "CMYK", "I": "16-bit", "I;16": "16-bit",
    "I;16B": "16-bit", "I;16L": "16-bit", "I;16N": "16-bit",
}  # fmt: skip


def _open(data: bytes) -> Image.Image:
    if not data:
        raise UnusableSampleError("empty file")
    try:
        return Image.open(io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableSampleError(f"more than {_MOST_PIXELS // 10**6} million pixels") from error
    except Exception as error:
        raise UnusableSampleError("not an image that Pillow can read") from error


def _check_aspect(size: tuple[int, int]) -> None:
    if max(size) > _LONGEST_ASPECT * min(size):
        raise UnusableSampleError(f"more than {_LONGEST_ASPECT} times as long as wide")


def _draft(image: Image.Image, needed: int) -> tuple[float, float, float, float] | None:
    """Let the JPEG decoder scale down, leaving the shorter side at least ``needed * _DRAFT_MARGIN`` pixels long."""
    scale = min(image.size) // (needed * _DRAFT_MARGIN)
    if scale < 2:
        return None
    drafted = image.draft(None, (image.width // scale, image.height // scale))
    return None if drafted is None else drafted[1]


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise UnusableSampleError("floating-point pixels, whose white is unknown")
    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise UnusableSampleError("32-bit pixels, whose white is unknown")
        return Image.fromarray((pixels >> 8).astype(np.uint8)).convert("RGB")
    # Pillow wants a palette with several transparent entries to go through RGBA; the colours are the same.
    through = image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image
    try:
        return through.convert("RGB")
    except ValueError as error:  # premultiplied alpha, for one
        raise UnusableSampleError(f"mode {image.mode}, which Pillow cannot turn into RGB") from error
