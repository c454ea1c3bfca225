"""Preprocessing against a resampler written out in plain NumPy from its definition, and torchvision's sizes."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_defs
from calibration.preprocess import apply, load_preprocessing, normalise
from model_defs.definition import IMAGENET_RGB
from tests.calibration.images import picture, pixels
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import UsageError

SMALL = dataclasses.replace(IMAGENET_RGB, resize=32, crop=(28, 28))


def triangle_resize(image: np.ndarray, height: int, width: int, columns_first: bool = True) -> np.ndarray:
    """Bilinear with antialiasing on 8 bits: a triangle filter over columns and one over rows, see :func:`weights`."""
    if columns_first:
        return filtered(filtered(image.transpose(1, 0, 2), width).transpose(1, 0, 2), height)
    return filtered(filtered(image, height).transpose(1, 0, 2), width).transpose(1, 0, 2)


def filtered(image: np.ndarray, new: int) -> np.ndarray:
    """Axis 0 brought to ``new`` entries: weights of 22 bits, sums rounded half up to 8 bits, as Pillow documents."""
    if new == len(image):
        return image
    fixed = np.floor(weights(len(image), new) * 2**22 + 0.5).astype(np.int64)
    return (np.tensordot(fixed, image.astype(np.int64), 1) + 2**21 >> 22).clip(0, 255)


def weights(old: int, new: int) -> np.ndarray:
    """[new, old]: a triangle around each new pixel's centre, widened by the factor of shrinking; rows sum to 1."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale
    distance = np.abs(np.arange(old)[None, :] + 0.5 - centres[:, None]) / max(scale, 1.0)
    triangle = np.clip(1 - distance, 0, None)
    return triangle / triangle.sum(axis=1, keepdims=True)


def torchvision_recipe(image: np.ndarray, resize: int, crop: int, columns_first: bool) -> np.ndarray:
    """Resize, CenterCrop, ToTensor and Normalize of torchvision's classification presets, in float64 after resizing."""
    height, width = image.shape[:2]
    short, long = min(height, width), max(height, width)
    longer = int(resize * long / short)
    height, width = (longer, resize) if height > width else (resize, longer)
    resized = triangle_resize(image, height, width, columns_first)
    top, left = int(round((height - crop) / 2.0)), int(round((width - crop) / 2.0))  # noqa: RUF046 - as published
    tensor = resized[top : top + crop, left : left + crop].transpose(2, 0, 1) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return (tensor - mean[:, None, None]) / std[:, None, None]


@pytest.mark.parametrize("size", [(32, 32), (50, 50), (48, 71), (71, 48), (20, 31), (131, 64), (33, 32), (32, 33)])
def test_equals_torchvisions_recipe(size: tuple[int, int]) -> None:
    ours = apply(SMALL, picture(*size))
    assert ours.shape == (3, 28, 28)
    assert ours.dtype == np.float32
    # Pillow, and with it torchvision, takes columns or rows first, whichever is cheaper.
    references = [torchvision_recipe(pixels(*size), 32, 28, columns_first) for columns_first in (True, False)]
    assert min(np.abs(ours - reference).max() for reference in references) < 5e-7  # every pixel equal; float32 rounds
    one_level = 1 / np.array([0.229, 0.224, 0.225]) / 255
    assert all((np.abs(ours - each).max(axis=(1, 2)) < 1.001 * one_level).all() for each in references)


def test_without_resizing_the_values_are_the_formula_rounded_once() -> None:
    image = pixels(32, 32)
    recipe = dataclasses.replace(SMALL, scale=0.5)
    mean, std = np.array(SMALL.mean), np.array(SMALL.std)
    expected = (0.5 * (image[2:30, 2:30] - mean) / std).astype(np.float32).transpose(2, 0, 1)
    np.testing.assert_array_equal(apply(recipe, picture(32, 32)), expected)


def test_arithmetic_agrees_with_torchvisions_float32_in_all_but_the_last_bits() -> None:
    every = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=-1)
    tensor = every.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    theirs = (tensor - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(normalise(IMAGENET_RGB, every), theirs, rtol=0, atol=5e-7)


def test_bgr_reverses_the_channels_and_mean_and_std_are_listed_in_that_order() -> None:
    recipe = Preprocessing(32, (32, 32), "BGR", (1.0, 2.0, 3.0), (1.0, 1.0, 2.0), resize_mode="stretch")
    image = pixels(32, 32).astype(np.float32)
    ours = apply(recipe, picture(32, 32))
    np.testing.assert_array_equal(ours[0], image[..., 2] - 1)
    np.testing.assert_array_equal(ours[2], (image[..., 0] - 3) / 2)


def test_stretch_ignores_the_aspect_ratio_and_crops_need_not_be_square() -> None:
    recipe = Preprocessing(30, (20, 26), "RGB", (0.0,) * 3, (1.0,) * 3, resize_mode="stretch")
    expected = triangle_resize(pixels(45, 90), 30, 30)[5:25, 2:28]
    np.testing.assert_array_equal(apply(recipe, picture(45, 90)).transpose(1, 2, 0), expected)


def test_an_odd_margin_is_rounded_half_to_even_as_torchvision_does() -> None:
    recipe = Preprocessing(29, (28, 24), "RGB", (0.0,) * 3, (1.0,) * 3)
    raw = pixels(29, 29).transpose(2, 0, 1)
    np.testing.assert_array_equal(apply(recipe, picture(29, 29)), raw[:, 0:28, 2:26])  # margins 0.5 and 2.5


def test_an_output_array_is_filled_in_place() -> None:
    out = np.full((3, 28, 28), np.nan, np.float32)
    assert apply(SMALL, picture(40, 50), out) is out
    np.testing.assert_array_equal(out, apply(SMALL, picture(40, 50)))


def test_named_recipes_are_those_of_the_definitions() -> None:
    assert load_preprocessing("imagenet") == model_defs.get("resnet50").preprocessing
    assert load_preprocessing("caffe") == model_defs.get("googlenet").preprocessing
    assert load_preprocessing("imagenet", (299, 299)).resize == 342  # torchvision's Inception v3
    assert load_preprocessing("caffe", (227, 227)).resize == 256
    assert load_preprocessing("none", (96, 128)).value_range == (0.0, 255.0)


def write(folder: Path, value: Any) -> str:
    path = folder / "recipe.json"
    path.write_text(json.dumps(value) if not isinstance(value, str) else value)
    return str(path)


GIVEN = {"resize": 40, "crop": 32, "channel_order": "BGR", "mean": [104, 117, 123], "std": [1, 1, 1], "layout": "NCHW"}


def test_a_file_says_the_same_as_the_noun(tmp_path: Path) -> None:
    expected = Preprocessing(40, (32, 32), "BGR", (104, 117, 123), (1, 1, 1))
    assert load_preprocessing(write(tmp_path, GIVEN)) == expected
    assert load_preprocessing(write(tmp_path, {**GIVEN, "crop": [32, 24], "scale": 0.5})).crop == (32, 24)
    assert load_preprocessing(write(tmp_path, IMAGENET_RGB.to_json())) == IMAGENET_RGB


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("{", "not JSON"),
        ([], "no JSON object"),
        ({**GIVEN, "layout": "HWC"}, "layout"),
        ({**GIVEN, "gamma": 2}, "gamma"),
        ({**GIVEN, "crop": 41}, "crop"),
        ({**GIVEN, "crop": "big"}, ""),
        ({**GIVEN, "mean": "x"}, ""),
        ({**GIVEN, "mean": [1, None, 2]}, ""),
        ({**GIVEN, "resize": None}, ""),
        ({k: v for k, v in GIVEN.items() if k != "std"}, "std"),
        ({**GIVEN, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, "0..1"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, value: Any, named: str) -> None:
    path = write(tmp_path, value)
    with pytest.raises(UsageError) as caught:
        load_preprocessing(path)
    assert path in caught.value.message
    assert named in caught.value.message
    assert caught.value.hint


def test_an_unknown_name_shows_the_known_ones() -> None:
    with pytest.raises(UsageError, match="imagenet, caffe, none"):
        load_preprocessing("imagnet")
    with pytest.raises(UsageError, match=r"missing\.json"):
        load_preprocessing("missing.json")


def test_the_longer_side_is_cut_to_an_integer() -> None:
    """500×375 becomes 341×256, not 342: torchvision truncates."""
    recipe = dataclasses.replace(IMAGENET_RGB, crop=(256, 256), mean=(0.0,) * 3, std=(1.0,) * 3)
    left = round((math.floor(256 * 500 / 375) - 256) / 2)
    expected = triangle_resize(pixels(375, 500), 256, 341)[:, left : left + 256]
    np.testing.assert_array_equal(apply(recipe, picture(375, 500)).transpose(1, 2, 0), expected)
