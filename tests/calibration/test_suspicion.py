"""Suspicions: each fires on what it is about, and good data of every kind raises none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from calibration import DataSpec, open_dataset, suspect
from calibration.source import Batch
from calibration.suspicion import colour_of
from model_defs.definition import IMAGENET_RGB
from tests.calibration.images import IMAGE_INPUT, write_folder
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import CalibrationError

SPEC = TensorSpec("x", "float32", ("N", 3, 16, 16))
RAW = Preprocessing(16, (16, 16), "RGB", (0.0,) * 3, (1.0,) * 3)
MEAN, STD = (np.array(v).reshape(3, 1, 1) for v in (IMAGENET_RGB.mean, IMAGENET_RGB.std))


def photographs(count: int = 32, seed: int = 0) -> np.ndarray:
    """RGB pixels [N, 3, 16, 16], whole numbers; red brighter than blue in most, as in photographs."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(40, 200, (count, 1, 1, 1)) + np.array([10, 2, -12]).reshape(3, 1, 1)
    cast = rng.normal(0, 12, (count, 3, 1, 1))
    return np.rint(base + cast + rng.normal(0, 40, (count, 3, 16, 16))).clip(0, 255)


def batches(values: np.ndarray, decoded: bool = False) -> list[Batch]:
    ids = tuple(f"row {index}" for index in range(len(values)))
    halves = np.array_split(np.arange(len(values)), 2)
    return [
        Batch({"x": values[h].astype(np.float32)}, tuple(ids[i] for i in h), tuple(map(int, h)), decoded)
        for h in halves
    ]


def normalised(pixels: np.ndarray) -> np.ndarray:
    return (pixels - MEAN) / STD


def test_good_data_raises_no_suspicion(tmp_path: Path) -> None:
    assert suspect(batches(normalised(photographs())), SPEC, IMAGENET_RGB) == []
    assert suspect(batches(photographs()), SPEC, RAW) == []
    assert suspect(batches(np.random.default_rng(0).standard_normal((8, 3, 16, 16))), SPEC) == []
    recipe = dataclasses.replace(IMAGENET_RGB, resize=28, crop=(24, 24))
    dataset = open_dataset(DataSpec(write_folder(tmp_path, 20)), IMAGE_INPUT, recipe)
    assert suspect(dataset.batches(), IMAGE_INPUT, recipe) == []
    assert suspect(open_dataset(DataSpec(synthetic=20), IMAGE_INPUT, recipe).batches(), IMAGE_INPUT, recipe) == []


def test_raw_pixels_for_a_model_that_wants_them_normalised() -> None:
    (warning,) = suspect(batches(photographs()), SPEC, IMAGENET_RGB)
    assert "raw pixels 0..255" in warning
    assert "-2.118 to 2.64" in warning
    (warning,) = suspect(batches(photographs()), SPEC)
    assert "raw 8-bit pixels" in warning


def test_pixels_scaled_to_one_without_mean_and_std() -> None:
    (warning,) = suspect(batches(photographs() / 255), SPEC, IMAGENET_RGB)
    assert "without mean and std" in warning


def test_pixels_scaled_to_one_for_a_model_that_wants_255() -> None:
    (warning,) = suspect(batches(photographs() / 255), SPEC, RAW)
    assert "scaled to 0..1" in warning


def test_values_prepared_in_another_way() -> None:
    (warning,) = suspect(batches(normalised(photographs()) * 3), SPEC, IMAGENET_RGB)
    assert "another way" in warning


def test_swapped_channels_are_seen_in_photographs_and_only_there() -> None:
    swapped = photographs()[:, ::-1]
    (warning,) = suspect(batches(normalised(swapped)), SPEC, IMAGENET_RGB)
    assert "seem to be BGR" in warning
    assert "says RGB" in warning
    # What trtkit decoded itself is in the order that was asked for, however blue.
    assert suspect(batches(normalised(swapped), decoded=True), SPEC, IMAGENET_RGB) == []
    assert suspect(batches(normalised(swapped[:10])), SPEC, IMAGENET_RGB) == []  # too few to tell


def test_the_colour_order_of_noise_is_unclear() -> None:
    assert colour_of(photographs()) == "RGB"
    assert colour_of(photographs()[:, ::-1]) == "BGR"
    guesses = [colour_of(np.random.default_rng(s).uniform(0, 255, (32, 3, 8, 8))) for s in range(200)]
    assert sum(guess is not None for guess in guesses) <= 2
    green = photographs()[:, [1, 0, 2]]  # the brightest in the middle is neither order
    assert colour_of(green) is None


def test_constant_and_equal_samples_are_named() -> None:
    values = normalised(photographs(8))
    values[5] = 0.25
    (warning,) = suspect(batches(values), SPEC, IMAGENET_RGB)
    assert "1 of 8 samples" in warning
    assert "row 5" in warning
    (warning,) = suspect(batches(np.repeat(normalised(photographs(1)), 8, 0)), SPEC, IMAGENET_RGB)
    assert "all of the first 8 samples are equal" in warning
    everything = suspect(batches(np.zeros((4, 3, 16, 16))), SPEC, IMAGENET_RGB)
    assert len(everything) == 2


def test_channels_last_where_the_shape_leaves_it_open() -> None:
    free = TensorSpec("x", "float32", ("N", "C", "H", "W"))
    last = np.random.default_rng(0).standard_normal((4, 16, 16, 3))
    (warning,) = suspect(batches(last), free)
    assert "channels last" in warning
    assert suspect(batches(last.transpose(0, 3, 1, 2)), free) == []


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_what_is_not_finite_is_an_error_that_names_tensor_and_sample(value: float, word: str) -> None:
    values = normalised(photographs(8))
    values[6, 1, 2, 3] = value
    with pytest.raises(CalibrationError, match=rf"input 'x' holds {word} in row 6 \(1 of 4"):
        suspect(batches(values), SPEC, IMAGENET_RGB)


def test_integer_and_boolean_inputs_are_only_looked_at_for_variety() -> None:
    spec = TensorSpec("ids", "int64", ("N", 4))
    batch = Batch({"ids": np.arange(8).reshape(2, 4)}, ("a", "b"), (0, 1))
    assert suspect([batch], spec) == []
    flags = Batch({"ids": np.eye(4, dtype=bool)}, ("a", "b", "c", "d"), (0, 1, 2, 3))
    assert suspect([flags], TensorSpec("ids", "bool", ("N", 4))) == []
    assert suspect([], spec) == []
