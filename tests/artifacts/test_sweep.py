"""The state of a sweep: round trip, the largest batch, and files of others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trtkit.artifacts.sweep import Attempt, Sweep
from trtkit.errors import PlanError

SWEEP = Sweep("k" * 64, "net", "fp16", "null", "cuda:0", "compute", "each", limit=64).with_attempt(
    Attempt(1, "measured", images_per_s=12.5, file="net.b1.bench.json", estimate_bytes=10, available_bytes=20)
)
FAILED = SWEEP.with_attempt(Attempt(2, "failed", "device_memory", "out of memory"))


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    FAILED.write(tmp_path / "s.json")
    assert Sweep.read(tmp_path / "s.json") == FAILED
    listed = replace(SWEEP, batches=(1, 8), complete=True)
    assert Sweep.from_json(json.loads(json.dumps(listed.to_json()))) == listed


def test_what_it_says_of_its_attempts() -> None:
    assert (SWEEP.largest, SWEEP.first_failure, SWEEP.is_ladder) == (1, None, True)
    assert FAILED.first_failure is not None and FAILED.first_failure.batch == 2
    assert FAILED.largest == FAILED.to_json()["largest"] == 1
    again = FAILED.with_attempt(Attempt(2, "probed"))
    assert again.latest(2) == Attempt(2, "probed") and again.latest(3) is None
    assert again.largest == 2
    assert not replace(SWEEP, batches=(1,)).is_ladder


@pytest.mark.parametrize(
    ("change", "message"),
    [({"schema": 2}, "schema 2"), ({"attempts": [{"batch": 1}]}, "incomplete"), ({"key": ...}, "incomplete")],
)
def test_other_layouts_are_refused(change: dict[str, Any], message: str) -> None:
    value = {name: entry for name, entry in {**SWEEP.to_json(), **change}.items() if entry is not ...}
    with pytest.raises(PlanError, match=message):
        Sweep.from_json(value)


def test_a_file_from_before_a_field_has_its_default() -> None:
    value = replace(FAILED, within=0.05).to_json()
    assert Sweep.from_json(value).within == 0.05
    del value["within"]
    for attempt in value["attempts"]:
        del attempt["device_bytes"], attempt["device_total_bytes"]
    assert Sweep.from_json(value) == FAILED


def test_an_unknown_outcome_is_refused() -> None:
    value = SWEEP.to_json()
    value["attempts"][0]["outcome"] = "guessed"
    with pytest.raises(PlanError, match="measured, probed, failed, skipped"):
        Sweep.from_json(value)
