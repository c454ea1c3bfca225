"""Python objects as calibration data for another process: written sample by sample, read back to the bit."""

from __future__ import annotations

import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from calibration.dataset import open_dataset
from calibration.preprocess import load_preprocessing
from calibration.source import DataSpec
from calibration.staged_samples import staged
from trtkit.artifacts.model import TensorSpec
from trtkit.errors import CalibrationError, UsageError

ONE = (TensorSpec("x", "float32", ("N", 3)),)
TWO = (TensorSpec("x", "float32", ("N", 3)), TensorSpec("y", "int64", ("N", "L")))
VALUES = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)


class Loader:
    """What a data loader looks like: iterable, and nothing else."""

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((VALUES[:4], VALUES[4:8], VALUES[8:]))


@pytest.mark.parametrize(
    ("source", "kind", "label"),
    [
        (VALUES, "array", "a NumPy array 10×3 float32, 10 samples, SHA-256 "),
        (VALUES.astype(np.float64), "array", "a NumPy array 10×3 float64, "),
        ({"x": VALUES}, "array", "a mapping of x to arrays, "),
        (list(VALUES), "iterable", "a list of samples, 10 samples, "),
        ([{"x": row} for row in VALUES], "iterable", "a list of samples, "),
        (Loader(), "iterable", "a Loader of samples, "),
        ((row for row in VALUES), "iterable", "a generator of samples, "),
        (lambda: iter(VALUES), "callable", "<lambda>, "),
    ],
)
def test_every_python_object_gives_the_same_samples(source: Any, kind: str, label: str, tmp_path: Path) -> None:
    spec = staged(DataSpec(source), tmp_path, ONE, None)
    dataset = open_dataset(DataSpec.from_json(spec.to_json()), ONE)
    (batch,) = dataset.batches(batch_size=16)
    np.testing.assert_array_equal(batch.feeds["x"], VALUES)
    if kind != "array":
        assert batch.ids[3] == "sample 3"
    described = dataset.description
    assert described["kind"] == kind
    assert label in described["source"]
    assert described["identity"][:12] in described["source"]
    assert dataset.identity == open_dataset(DataSpec(lambda: VALUES), ONE).identity


def test_samples_of_several_inputs_and_shapes_and_a_limit(tmp_path: Path) -> None:
    samples = [{"x": VALUES[i], "y": np.arange(i + 1)} for i in range(6)]
    spec = staged(DataSpec(samples, limit=5), tmp_path, TWO, None)
    found = list(open_dataset(spec, TWO).batches((1, 2, 4)))
    assert [batch.feeds["y"].tolist() for batch in found] == [[[0, 1]], [[0, 1, 2]], [[0, 1, 2, 3, 4]]]


def test_pillow_images_are_prepared(tmp_path: Path) -> None:
    inputs = (TensorSpec("x", "float32", ("N", 3, 8, 8)),)
    recipe = load_preprocessing("imagenet", (8, 8))
    images = [Image.new("RGB", (16, 12), (40 * i, 9, 200)) for i in range(3)]
    dataset = open_dataset(staged(DataSpec(images), tmp_path, inputs, recipe), inputs)
    direct = open_dataset(DataSpec(lambda: images), inputs, recipe)
    assert dataset.content_ids == direct.content_ids


def test_what_has_a_name_stays_as_it_is(tmp_path: Path) -> None:
    for spec in (DataSpec(tmp_path), DataSpec("package.module:function"), DataSpec(synthetic=3)):
        assert staged(spec, tmp_path, ONE, None) is spec
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    inputs = (TensorSpec("x", "float32", ("N", 3, 64, 64)),)

    def peak(count: int) -> int:
        tracemalloc.start()
        staged(DataSpec(np.full((3, 64, 64), i, np.float32) for i in range(count)), tmp_path, inputs, None)
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high

    peak(4)
    assert peak(200) < peak(20) + (1 << 20)  # all of the samples: 9 MiB


def test_nothing_is_pickled_or_compressed(tmp_path: Path) -> None:
    spec = staged(DataSpec(VALUES), tmp_path, ONE, None)
    with zipfile.ZipFile(str(spec.source)) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        with archive.open("000002/0.npy") as stream:
            np.testing.assert_array_equal(np.load(stream, allow_pickle=False), VALUES[2])


def _gone_through() -> Iterator[np.ndarray]:
    rows = iter(VALUES)
    list(rows)
    return rows


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (_gone_through, CalibrationError, "gave no usable sample"),
        (lambda: 3, UsageError, "type int cannot be gone through"),
        (lambda: [np.zeros(4, np.float32)], CalibrationError, "samples of shape 4"),
        (lambda: {"z": VALUES, "y": VALUES}, CalibrationError, "inputs are x"),
    ],
)
def test_what_cannot_be_used_is_refused(
    make: Callable[[], Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        staged(DataSpec(make()), tmp_path, ONE, None)


def test_another_file_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.samples").write_bytes(b"text")
    with pytest.raises(CalibrationError, match="holds no samples that trtkit wrote"):
        open_dataset(DataSpec(tmp_path / "x.samples"), ONE)
