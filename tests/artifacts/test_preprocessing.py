"""The preprocessing noun: JSON round trip, range, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import UsageError

CAFFE = Preprocessing(
    resize=256,
    crop=(227, 224),
    channel_order="BGR",
    mean=(104.0, 117.0, 123.0),
    std=(1.0, 1.0, 1.0),
    resize_mode="stretch",
)


def test_round_trip_through_json_text() -> None:
    odd = dataclasses.replace(CAFFE, scale=0.017, std=(57.375, 57.12, 58.395), interpolation="bicubic", layout="NHWC")
    for value in (CAFFE, odd):
        assert Preprocessing.from_json(json.loads(json.dumps(value.to_json()))) == value


def test_value_range_is_the_formula_at_black_and_white() -> None:
    assert CAFFE.value_range == (-123.0, 255.0 - 104.0)
    halves = dataclasses.replace(CAFFE, mean=(127.5,) * 3, std=(51.0,) * 3, scale=0.4)
    assert halves.value_range == pytest.approx((-1.0, 1.0))


@pytest.mark.parametrize(
    "change",
    [
        {"resize": 0},
        {"crop": (257, 224)},
        {"crop": (224,)},
        {"channel_order": "GBR"},
        {"mean": (1.0, 2.0)},
        {"mean": (1.0, 2.0, float("nan"))},
        {"std": (1.0, 0.0, 1.0)},
        {"scale": 0.0},
        {"resize_mode": "longer_side"},
        {"interpolation": "linear"},
        {"layout": "CHWN"},
    ],
)
def test_refused_values_name_the_field(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        dataclasses.replace(CAFFE, **change)


def test_json_with_unknown_or_missing_fields_is_refused() -> None:
    value = CAFFE.to_json()
    with pytest.raises(UsageError, match="unknown gamma"):
        Preprocessing.from_json({**value, "gamma": 1})
    del value["mean"], value["crop"]
    with pytest.raises(UsageError, match=r"it lacks crop, mean\. Its fields"):
        Preprocessing.from_json(value)
