"""NumPy files as calibration data: rows equal what NumPy loads, memory stays small, odd files are refused by name."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration import DataSpec, open_dataset
from trtkit.artifacts.model import TensorSpec
from trtkit.errors import CalibrationError

ONE = (TensorSpec("x", "float32", ("N", 3, 5, 7)),)
TWO = (TensorSpec("ids", "int64", ("N", "T")), TensorSpec("mask", "bool", ("N", "T")))
VALUES = np.random.default_rng(0).standard_normal((11, 3, 5, 7)).astype(np.float32)


def saved(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "data.npz", **arrays)  # type: ignore[arg-type]
    return folder / "data.npz"


@pytest.mark.parametrize("form", ["npy", "npz", "compressed"])
def test_rows_are_what_numpy_loads(tmp_path: Path, form: str) -> None:
    path = tmp_path / ("data.npy" if form == "npy" else "data.npz")
    if form == "npy":
        np.save(path, VALUES)
    else:
        (np.savez_compressed if form == "compressed" else np.savez)(path, x=VALUES)
    dataset = open_dataset(DataSpec(path), ONE)
    batches = list(dataset.batches(batch_size=4))
    np.testing.assert_array_equal(np.concatenate([batch.feeds["x"] for batch in batches]), VALUES)
    assert batches[0].ids == ("row 0", "row 1", "row 2", "row 3")
    np.testing.assert_array_equal(next(iter(dataset.batches((2, 5, 10)))).feeds["x"], VALUES[[2, 5, 10]])
    assert dataset.description["kind"] == "array"


def test_the_same_values_have_the_same_identity_in_every_container(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    np.savez_compressed(tmp_path / "b.npz", VALUES)
    np.save(tmp_path / "c.npy", VALUES.astype(np.float64))
    np.save(tmp_path / "d.npy", VALUES.astype(">f4"))
    assert len({open_dataset(DataSpec(path), ONE).identity for path in tmp_path.iterdir()}) == 1


def test_several_inputs_come_from_arrays_of_their_names(tmp_path: Path) -> None:
    ids = np.arange(12).reshape(4, 3)
    path = saved(tmp_path, mask=ids % 2 == 0, ids=ids.astype(np.int32))
    (batch,) = open_dataset(DataSpec(path), TWO).batches()
    np.testing.assert_array_equal(batch.feeds["ids"], ids)
    np.testing.assert_array_equal(batch.feeds["mask"], ids % 2 == 0)
    assert (batch.feeds["ids"].dtype, batch.feeds["mask"].dtype) == (np.int64, np.bool_)


def test_a_limit_draws_rows_with_the_seed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    dataset = open_dataset(DataSpec(tmp_path / "a.npy", limit=4), ONE)
    (batch,) = dataset.batches()
    rows = [int(name.removeprefix("row ")) for name in batch.ids]
    assert rows == sorted(rows)
    assert len(rows) == 4
    np.testing.assert_array_equal(batch.feeds["x"], VALUES[rows])
    assert open_dataset(DataSpec(tmp_path / "a.npy", limit=4, seed=1), ONE).names != dataset.names


def test_no_array_is_held_as_a_whole(tmp_path: Path) -> None:
    big = np.zeros((64, 3, 224, 224), np.float32)
    np.savez_compressed(tmp_path / "big.npz", big)
    inputs = (TensorSpec("x", "float32", ("N", 3, 224, 224)),)
    tracemalloc.start()
    try:
        dataset = open_dataset(DataSpec(tmp_path / "big.npz"), inputs)
        assert sum(len(batch.ids) for batch in dataset.batches(batch_size=4)) == 64
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * big[0].nbytes


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        (VALUES.transpose(0, 2, 3, 1).copy(), "5×7×3", r"transpose\(0, 3, 1, 2\)"),
        (VALUES[0], "5×7", "batch first"),
        (VALUES[:, :2], "2×5×7", ""),
        (np.asfortranarray(VALUES), "Fortran", ""),
        (VALUES[:0], "positive number of samples", ""),
        (np.float32(3), "single number", ""),
        (VALUES.astype(np.complex64), "complex64", ""),
        (np.array([{}, []], object), "object", ""),
        (VALUES > 0, "holds bool", "float32"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, values: Any, message: str, hint: str) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(CalibrationError, match=message) as caught:
        open_dataset(DataSpec(tmp_path / "a.npy"), ONE)
    assert re.search(hint, caught.value.hint)


def test_channels_first_for_a_model_that_wants_them_last_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    with pytest.raises(CalibrationError) as caught:
        open_dataset(DataSpec(tmp_path / "a.npy"), (TensorSpec("x", "float32", ("N", 5, 7, 3)),))
    assert "transpose(0, 2, 3, 1)" in caught.value.hint


def test_values_that_the_input_cannot_hold_are_refused_with_their_row(tmp_path: Path) -> None:
    half = (TensorSpec("x", "float16", ("N", 2)),)
    np.save(tmp_path / "a.npy", np.array([[1, 2], [3, 1e6]], np.float32))
    with pytest.raises(CalibrationError, match=r"row 1 .* 1000000\.0"):
        open_dataset(DataSpec(tmp_path / "a.npy"), half)
    np.save(tmp_path / "b.npy", np.array([[1, 2], [3, 256]]))
    with pytest.raises(CalibrationError, match="uint8"):
        open_dataset(DataSpec(tmp_path / "b.npy"), (TensorSpec("x", "uint8", ("N", 2)),))


def test_a_name_that_is_no_input_is_refused_and_none_is_taken(tmp_path: Path) -> None:
    one = (TensorSpec("x", "float32", ("N", *VALUES.shape[1:])),)
    with pytest.raises(CalibrationError, match="holds pixels, and the model's inputs are x") as caught:
        open_dataset(DataSpec(saved(tmp_path, pixels=VALUES)), one)
    assert "(arr_0)" in caught.value.hint
    np.savez(tmp_path / "unnamed.npz", VALUES)
    assert len(open_dataset(DataSpec(tmp_path / "unnamed.npz"), one)) == len(VALUES)


def test_names_and_counts_of_several_arrays_must_match(tmp_path: Path) -> None:
    ids = np.zeros((4, 3), np.int64)
    with pytest.raises(CalibrationError, match="holds ids, and the model's inputs are ids, mask"):
        open_dataset(DataSpec(saved(tmp_path, ids=ids)), TWO)
    with pytest.raises(CalibrationError, match="ids: 4, mask: 3"):
        open_dataset(DataSpec(saved(tmp_path, ids=ids, mask=ids[:3] == 0)), TWO)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_damaged_files_are_calibration_errors(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, VALUES)
    else:
        np.savez_compressed(path, VALUES)
    whole = path.read_bytes()
    for data in (b"", b"hello", whole[:40], whole[: len(whole) // 2], whole[:-100], bytes(len(whole))):
        path.write_bytes(data)
        with pytest.raises(CalibrationError, match=rf"a\.{suffix} cannot be read"):
            open_dataset(DataSpec(path), ONE)
    if suffix == "npz":  # one changed byte in the compressed values: the archive's checksum tells
        broken = bytearray(whole)
        broken[len(whole) // 2] ^= 0xFF
        path.write_bytes(bytes(broken))
        with pytest.raises(CalibrationError, match="cannot be read"):
            open_dataset(DataSpec(path), ONE)


def test_a_file_that_changes_while_it_is_used_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    dataset = open_dataset(DataSpec(tmp_path / "a.npy"), ONE)
    np.save(tmp_path / "a.npy", VALUES[::-1].copy())
    with pytest.raises(CalibrationError, match=r"changed .*row 0"):
        list(dataset.batches())
