"""Python callables, lists and made-up samples as calibration data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration import DataSpec, open_dataset
from calibration.preprocess import apply
from model_defs.definition import IMAGENET_RGB
from tests.calibration.images import IMAGE_INPUT, picture
from trtkit.artifacts.model import TensorSpec
from trtkit.errors import CalibrationError, UsageError

ONE = (TensorSpec("x", "float32", ("N", 3)),)
TWO = (TensorSpec("a", "float32", ("N", 3)), TensorSpec("b", "int64", ("N", "T")))
VALUES = np.arange(30, dtype=np.float32).reshape(10, 3)
RECIPE = dataclasses.replace(IMAGENET_RGB, resize=28, crop=(24, 24))


def stacked(spec: DataSpec, inputs: tuple[TensorSpec, ...] = ONE, **options: Any) -> np.ndarray:
    return np.concatenate([b.feeds[inputs[0].name] for b in open_dataset(spec, inputs).batches(**options)])


def test_samples_batches_and_mappings_come_out_the_same() -> None:
    for make in (
        lambda: iter(VALUES),
        lambda: [VALUES[:4], VALUES[4:9], VALUES[9:]],
        lambda: ({"x": row.tolist()} for row in VALUES),
        lambda: (row.astype(np.float64) for row in VALUES),
    ):
        np.testing.assert_array_equal(stacked(DataSpec(make), batch_size=3), VALUES)
    np.testing.assert_array_equal(stacked(DataSpec(list(VALUES))), VALUES)


def test_a_part_of_a_callables_samples_can_be_read() -> None:
    dataset = open_dataset(DataSpec(lambda: iter(VALUES)), ONE)
    np.testing.assert_array_equal(next(iter(dataset.batches((1, 3, 9)))).feeds["x"], VALUES[[1, 3, 9]])
    assert dataset.description["kind"] == "callable"
    assert dataset.names[3] == "sample 3"


def test_a_limit_stops_an_endless_callable() -> None:
    def endless() -> Iterator[np.ndarray]:
        while True:
            yield from VALUES

    dataset = open_dataset(DataSpec(endless, limit=12), ONE)
    assert (len(dataset), dataset.description["distinct"]) == (12, 10)
    assert sum(len(batch.ids) for batch in dataset.batches()) == 12


def test_samples_of_different_shapes_never_share_a_batch() -> None:
    lengths = [2, 2, 3, 3, 3, 2]

    def make() -> list[dict[str, np.ndarray]]:
        return [{"a": VALUES[i], "b": np.full(length, i)} for i, length in enumerate(lengths)]

    batches = list(open_dataset(DataSpec(make), TWO).batches(batch_size=4))
    assert [batch.feeds["b"].shape for batch in batches] == [(2, 2), (3, 3), (1, 2)]
    assert [index for batch in batches for index in batch.indices] == list(range(6))


def test_pillow_images_are_preprocessed() -> None:
    images = [picture(30, 40), picture(50, 28, seed=1)]
    (batch,) = open_dataset(DataSpec(images), IMAGE_INPUT, RECIPE).batches()
    np.testing.assert_array_equal(batch.feeds["image"], np.stack([apply(RECIPE, image) for image in images]))
    last = (TensorSpec("image", "float32", ("N", 24, 24, 3)),)
    (turned,) = open_dataset(DataSpec(images), last, RECIPE).batches()
    np.testing.assert_array_equal(turned.feeds["image"], batch.feeds["image"].transpose(0, 2, 3, 1))
    with pytest.raises(UsageError, match="nothing says how"):
        open_dataset(DataSpec(images), IMAGE_INPUT)


def test_a_module_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_samples_for_a_test.py").write_text(
        "import numpy as np\ndef some():\n    return [np.full(3, i, np.float32) for i in range(5)]\nnumber = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(stacked(DataSpec("my_samples_for_a_test:some"))[:, 0], range(5))
    for wrong in ("my_samples_for_a_test:other", "my_samples_for_a_test:number", "no_such_module_anywhere:some"):
        with pytest.raises(UsageError, match=r"no (callable|module)"):
            open_dataset(DataSpec(wrong), ONE)
    (tmp_path / "broken_for_a_test.py").write_text("1 / 0\n")
    with pytest.raises(CalibrationError, match="ZeroDivisionError"):
        open_dataset(DataSpec("broken_for_a_test:some"), ONE)


def test_a_callable_that_shuffles_is_found_out() -> None:
    rng = np.random.default_rng(0)
    dataset = open_dataset(DataSpec(lambda: rng.permutation(VALUES)), ONE)
    with pytest.raises(CalibrationError, match="another sample") as caught:
        list(dataset.batches())
    assert "shuffling" in caught.value.hint


def test_a_callable_that_runs_dry_is_found_out() -> None:
    counts = iter([10, 6])
    dataset = open_dataset(DataSpec(lambda: iter(VALUES[: next(counts)])), ONE)
    with pytest.raises(CalibrationError, match="another sample 6"):
        list(dataset.batches())


def test_errors_in_the_users_code_name_the_sample() -> None:
    def failing() -> Iterator[np.ndarray]:
        yield VALUES[0]
        raise KeyError("label")

    with pytest.raises(CalibrationError, match=r"failing failed at sample 1: KeyError: 'label'") as caught:
        open_dataset(DataSpec(failing), ONE)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "not an iterable"),
        ("text", "not an iterable"),
        ([], "no usable sample"),
        ([np.zeros(4, np.float32)], "samples of shape 4"),
        ([np.zeros((2, 4), np.float32)], "samples of shape 4"),
        ([["a", "b", "c"]], "no array of numbers"),
        ([object()], "no array of numbers"),
        ([[[1], [2, 3]]], "no array"),
        ([{"y": VALUES[0], "x": VALUES[0]}], "inputs are x"),
    ],
)
def test_what_is_no_sample_is_refused(made: Any, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        open_dataset(DataSpec(lambda: made), ONE)


def test_a_one_shot_iterator_is_refused() -> None:
    with pytest.raises(UsageError, match="only once"):
        open_dataset(DataSpec(iter(VALUES)), ONE)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [("N", 3, 24, 24), ("N", 24, 24, 3), ("N", 3, "H", "W")])
def test_synthetic_images_are_varied_pixels_through_the_preprocessing(shape: tuple[int | str, ...]) -> None:
    inputs = (TensorSpec("x", "float32", shape),)
    dataset = open_dataset(DataSpec(synthetic=6), inputs, RECIPE)
    values = np.concatenate([batch.feeds["x"] for batch in dataset.batches(batch_size=4)])
    assert values.shape == (6, *((24, 24, 3) if shape[1] == 24 else (3, 24, 24)))
    low, high = RECIPE.value_range
    assert low - 1e-6 <= values.min() < -1 < 1 < values.max() <= high + 1e-6
    assert len({value.tobytes() for value in values}) == len(set(dataset.content_ids)) == 6
    assert dataset.description["synthetic"] is True
    again = open_dataset(DataSpec(synthetic=6), inputs, RECIPE)
    np.testing.assert_array_equal(next(iter(again.batches((4,)))).feeds["x"], values[4:5])
    assert again.identity == dataset.identity != open_dataset(DataSpec(synthetic=6, seed=1), inputs, RECIPE).identity


def test_synthetic_values_for_other_inputs() -> None:
    inputs = (
        TensorSpec("a", "float16", ("N", 500)),
        TensorSpec("b", "int64", ("N", 50)),
        TensorSpec("c", "bool", (1, 50)),
    )
    (batch,) = open_dataset(DataSpec(synthetic=3), inputs).batches()
    assert {name: (v.dtype, v.shape) for name, v in batch.feeds.items()} == {
        "a": (np.float16, (3, 500)),
        "b": (np.int64, (3, 50)),
        "c": (np.bool_, (3, 50)),
    }
    assert 0.9 < batch.feeds["a"].std() < 1.1
    assert not np.array_equal(batch.feeds["a"][0], batch.feeds["a"][1])
    with pytest.raises(UsageError, match="fixed size"):
        open_dataset(DataSpec(synthetic=3), TWO)
    with pytest.raises(UsageError, match="rate int64 scalar has no batch dimension"):
        open_dataset(DataSpec(synthetic=3), (TensorSpec("rate", "int64", ()),))
