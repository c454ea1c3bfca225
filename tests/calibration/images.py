"""Small pictures for the tests, and files of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trtkit.artifacts.model import TensorSpec

IMAGE_INPUT = (TensorSpec("image", "float32", ("N", 3, 24, 24)),)


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [height, width, 3]: smooth colours with some noise, so that every filter has work to do."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return (smooth + rng.integers(-9, 10, smooth.shape)).clip(0, 255).astype(np.uint8)


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(pixels(height, width, seed))


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def write_folder(folder: Path, count: int, suffix: str = ".png") -> Path:
    """``count`` different images named 000.png, 001.png, …"""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        picture(30 + index, 40, seed=index).save(folder / f"{index:03}{suffix}")
    return folder
