"""A study as data: the matrix, its cells, what goes to disk and comes back."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.report.studies import bench_result, made_up_study
from trtkit.artifacts.run_record import RunRecord
from trtkit.artifacts.study import CSV_COLUMNS, Study
from trtkit.artifacts.study_cell import Cell
from trtkit.artifacts.study_plan import CellSpec, StudyPlan, slug
from trtkit.errors import PlanError


def test_a_study_comes_back_from_the_disk_as_it_was(tmp_path: Path) -> None:
    study = made_up_study()
    study.write(tmp_path)
    assert Study.read(tmp_path) == study


def test_the_matrix_is_every_combination_and_devices_together_behind() -> None:
    plan = StudyPlan(
        ("a", "b"), ("fp32", "int8"), (1, 8, None), ("compute", "overlapped"), ("cuda:0", "cuda:1"), (1, 2)
    )
    single = [cell for cell in plan.cells if cell.count == 1]
    together = plan.cells[len(single) :]
    assert len(single) == 2 * 2 * 3 * 2 * 2
    assert len(together) == 2 * 2 * 2 and {cell.device for cell in together} == {"cuda:0+cuda:1"}
    assert {cell.batch for cell in together} == {8}
    assert len({cell.id for cell in plan.cells}) == len(plan.cells)
    assert StudyPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_the_latency_budget_is_drawn_and_decides_no_run() -> None:
    plan = StudyPlan(("a",), ("fp32",), (1,))
    assert plan.key == StudyPlan(("a",), ("fp32",), (1,), latency_budget_ms=5.0).key
    assert plan.key != StudyPlan(("a",), ("fp32",), (2,)).key


@given(some.text(max_size=200), some.text(max_size=200))
def test_names_become_safe_and_stay_apart(one: str, other: str) -> None:
    assert all(letter in "abcdefghijklmnopqrstuvwxyz0123456789_-" for letter in slug(one))
    assert len(slug(one)) <= 70
    assert (slug(one) == slug(other)) == (one == other)


def test_a_cell_replaces_its_older_self_and_keeps_its_place() -> None:
    study = made_up_study(("googlenet",), ("fp32",), (1, 8))
    first = study.cells[0]
    changed = study.with_cells(Cell(first.spec, "failed", "It broke.", "other"))
    assert [cell.spec for cell in changed.cells] == [cell.spec for cell in study.cells]
    assert changed.cells[0].verdict == "failed" and first.verdict == "valid"
    new = Cell(CellSpec("googlenet", "fp32", 3, "compute", "cuda:0"))
    assert study.with_cells(new).cells[-1] == new


def test_csv_has_a_row_for_each_cell_and_no_invented_numbers(tmp_path: Path) -> None:
    study = made_up_study()
    study.write(tmp_path)
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == len(study.cells)
    for row, cell in zip(rows, study.cells, strict=True):
        assert (row["images_per_s"] == "") == (cell.images_per_s is None)
        assert row["status"] != "failed" or row["reason"]
    invalid = next(row for row in rows if row["verdict"] == "INVALID")
    assert "SM clock fell" in invalid["reason"]


def test_a_record_keeps_the_figures_and_not_the_samples() -> None:
    result = bench_result(batch=128)
    record = RunRecord.of(result, "runs/x.bench.json")
    assert "timeline" not in record.to_json()
    assert record.images_per_s == result.throughput_images_per_s
    assert record.fraction_of_peak == result.fraction_of_peak
    assert record.images_per_joule == pytest.approx(record.images_per_s / 410.0)
    assert record.latency_ms(99) == result.timeline.summary()["latency"]["p99_ms"]
    older = replace(record, summary={name: v for name, v in record.summary.items() if name != "mean_power_w"})
    assert older.images_per_joule is None, "it took readings of what was before the run"
    assert record.conditions["power_w"] == [400.0, 410.0, 420.0]
    assert RunRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 99}, "schema 99"),
        ({"cells": [{"id": "x"}]}, "incomplete"),
        ({"plan": {"models": []}}, "incomplete"),
    ],
)
def test_what_is_not_a_study_is_refused(change: dict[str, object], says: str) -> None:
    value = {**made_up_study(("googlenet",), ("fp32",), (1, 8)).to_json(), **change}
    with pytest.raises(PlanError, match=says):
        Study.from_json(value)
