"""The calibration table: round trips, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trtkit.artifacts.calibration_table import SCHEMA, CalibrationTable, TensorRange
from trtkit.errors import CalibrationError

TABLE = CalibrationTable(
    model="squeezenet1_1",
    model_sha256="ab" * 32,
    dtype="int8",
    method="entropy",
    tensors={
        "input": TensorRange(151.25, "minmax"),
        "größe: 1": TensorRange(0.1, "entropy"),
        "dead": TensorRange(0, "mse"),
    },
    samples=256,
    data={"kind": "images", "count": 256, "skipped": {"corrupt": 1}},
    preprocessing={"resize": 256},
    transforms=("fold-batch-norm", "lrn-as-conv"),
    environment={"trtkit": "0"},
    weights="cd" * 32,
    held_out=64,
)


def test_a_table_comes_back_from_the_disk_unchanged_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "m.calibration.json"
    TABLE.write(path)
    back = CalibrationTable.read(path)
    assert back == TABLE
    assert list(back.tensors) == ["input", "größe: 1", "dead"]
    assert back.amax == {"input": 151.25, "größe: 1": 0.1, "dead": 0}
    assert next(iter(json.loads(path.read_text()))) == "schema"


def test_transforms_before_the_calibration_are_kept(tmp_path: Path) -> None:
    TABLE.write(tmp_path / "t.json")
    assert CalibrationTable.read(tmp_path / "t.json").transforms == ("fold-batch-norm", "lrn-as-conv")


def test_the_same_table_has_the_same_bytes_and_no_time_in_it(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        TABLE.write(tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert not {"created", "command"} & set(TABLE.to_json())


def test_a_table_of_the_first_layout_is_still_read(tmp_path: Path) -> None:
    old = {name: value for name, value in TABLE.to_json().items() if name not in ("weights", "held_out")}
    old |= {"schema": 1, "command": "trtkit calibrate squeezenet1_1", "created": "2026-01-01T00:00:00+00:00"}
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert CalibrationTable.read(tmp_path / "old.json") == replace(TABLE, weights="", held_out=0)


@pytest.mark.parametrize("amax", [0.1, 1 / 3, 5e-324, 3.4028234663852886e38])
def test_amax_survives_to_the_bit(tmp_path: Path, amax: float) -> None:
    table = replace(TABLE, tensors={"x": TensorRange(amax, "minmax")})
    table.write(tmp_path / "t.json")
    assert CalibrationTable.read(tmp_path / "t.json").tensors["x"].amax == amax


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schema": SCHEMA + 1}, "schema"),
        ({"schema": None}, "schema"),
        ({"dtype": "int4"}, "int4"),
        ({"tensors": {"conv": {"amax": -1.0, "method": "mse"}}}, "conv"),
        ({"tensors": {"conv": {"amax": "1", "method": "mse"}}}, "conv"),
        ({"tensors": {"conv": {"amax": True, "method": "mse"}}}, "conv"),
        ({"tensors": {"conv": {"amax": 1.0}}}, "method"),
        ({"tensors": ["conv"]}, "no calibration table"),
        ({"colour": 1}, "colour"),
    ],
)
def test_values_that_are_not_a_table_are_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**TABLE.to_json(), **change}))
    with pytest.raises(CalibrationError, match=named) as caught:
        CalibrationTable.read(path)
    assert "bad.json" in caught.value.message


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "tensors": NaN}'])
def test_files_that_are_not_a_table_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(CalibrationError):
        CalibrationTable.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"none\.json"):
        CalibrationTable.read(tmp_path / "none.json")


def test_an_infinite_range_in_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**TABLE.to_json(), "tensors": {"conv": {"amax": float("inf"), "method": "mse"}}}))
    with pytest.raises(CalibrationError, match="conv"):
        CalibrationTable.read(path)


@pytest.mark.parametrize("amax", [float("nan"), float("inf"), -0.5])
def test_an_unusable_range_is_not_written(tmp_path: Path, amax: float) -> None:
    with pytest.raises(CalibrationError, match="conv"):
        replace(TABLE, tensors={"conv": TensorRange(amax, "mse")}).write(tmp_path / "t.json")
    assert not list(tmp_path.iterdir())
