"""Batch ladders on the page: the batch that stands for a model, limits that are no failures, what does not pay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.report.studies import bench_result, cell_of
from trtkit.artifacts.study import Study
from trtkit.artifacts.study_cell import Cell
from trtkit.artifacts.study_plan import StudyPlan
from trtkit.report import style
from trtkit.report.figures import batches, latency
from trtkit.report.findings import counts_of, findings_of, reasons_of
from trtkit.report.gaps import gap_table
from trtkit.report.ladders import ladder_table
from trtkit.report.published import load
from trtkit.report.tables import Table, Value, alike_aside
from trtkit.report.view import View


@pytest.fixture(autouse=True)
def _look() -> Iterator[None]:
    with style.look():
        yield


def run(precision: str, batch: int, rate: float, *, observed: str | None = None) -> Cell:
    result = bench_result(precision=precision, batch=batch, iteration_ms=1e3 * batch / rate, spread=0)
    return cell_of(replace(result, subject=replace(result.subject, observed=observed or precision)))


def climbed(precision: str, rates: dict[int, float], wall: int, kind: str = "device_memory") -> tuple[Cell, ...]:
    """A ladder: its runs, the one that asked for it, and where it ended."""
    runs = [run(precision, batch, rate) for batch, rate in rates.items()]
    auto = replace(runs[-1], spec=replace(runs[-1].spec, batch=None), reason=f"batch {max(rates)} is the largest")
    end = Cell(replace(runs[-1].spec, batch=wall), "failed", "81 GiB needed, 79 GiB free", kind)
    return (*runs, auto, end)


def study(*cells: Cell) -> Study:
    precisions = tuple(dict.fromkeys(cell.spec.precision for cell in cells))
    plan = StudyPlan(("googlenet",), precisions, (1, None), devices=("cuda:0",), sweep_within=0.05)
    return Study(plan, cells=cells)


FP16 = climbed("fp16", {1: 1000.0, 64: 8000.0, 4096: 9000.0, 9000: 6000.0}, 9300)
FP8 = climbed("fp8", {1: 990.0, 64: 4000.0, 4096: 5000.0, 9000: 4500.0}, 9300)


def view(study: Study) -> View:
    return View.of(study, load())


def told(study: Study) -> str:
    return " ".join(text for text, _ in findings_of(view(study)))


def columns(table: Table, *names: str) -> list[list[str]]:
    at = [[name for name, _ in table.columns].index(name) for name in names]
    return [[row[column].text for column in at] for row in table.rows]


def test_the_batch_that_stands_for_a_model_is_the_fastest_of_those_that_most_precisions_have() -> None:
    assert view(study(*FP16, *FP8)).common_batch("googlenet", "cuda:0") == 4096, "not 9,000, the largest"
    few = (*FP16, run("fp8", 1, 990.0), run("fp8", 64, 4000.0))
    assert view(study(*few)).common_batch("googlenet", "cuda:0") == 64, "4,096 has one precision only"
    equal = (run("fp16", 8, 100.0), run("fp16", 16, 100.0))
    assert view(study(*equal)).common_batch("googlenet", "cuda:0") == 8, "the smaller of two alike"
    assert view(study(*equal)).common_batch("alexnet", "cuda:0") is None


def test_the_limit_that_a_ladder_looked_for_is_no_failure() -> None:
    found = study(*FP16, *FP8)
    assert counts_of(found) == [(8, "valid"), (2, "beyond a limit")]
    assert reasons_of(found) == [] and gap_table(view(found)).rows == ()
    crashed = study(*climbed("fp16", {1: 1000.0, 64: 8000.0}, 128, "other"))
    assert counts_of(crashed) == [(2, "valid"), (1, "failed")], "the runtime failed, and nobody knows why"
    assert len(reasons_of(crashed)) == 1 and len(gap_table(view(crashed)).rows) == 1
    listed = replace(found, plan=replace(found.plan, batches=(1, 9300, None)))
    assert (2, "failed") in counts_of(listed), "this batch was asked for"


def test_the_table_of_ladders_tells_the_best_batch_from_the_largest() -> None:
    table = ladder_table(view(study(*FP16, *FP8)))
    names = ("Precision", "Best batch", "images/s at best", "Largest that ran", "Largest ÷ best", "Why")
    assert columns(table, *names) == [
        ["FP16", "4,096", "9,000", "9,000", "0.667×", "device memory"],
        ["FP8", "4,096", "5,000", "9,000", "0.900×", "device memory"],
    ]
    assert "device Imaginary GPU" in table.caption and "within 5 %" in table.caption
    limited = tuple(cell for cell in FP16 if cell.status == "done")
    (row,) = columns(ladder_table(view(study(*limited))), "First that did not", "Why")
    assert row == ["–", "batch 9000 is the largest"]
    assert ladder_table(view(study(run("fp16", 1, 1000.0)))).rows == ()


def test_the_caption_leaves_reasons_to_the_table() -> None:
    (drawing,) = batches.draw_batches(view(study(*FP16)))
    assert isinstance(drawing, style.Drawing)
    assert "FP16 ends at 9,000. The table tells why." in drawing.caption


def test_a_narrow_precision_that_is_not_faster_is_said_to_be_so() -> None:
    assert "googlenet on Imaginary GPU: FP8 does not pay: 0.500× to 0.990× of FP16's rate" in told(study(*FP16, *FP8))
    faster = climbed("fp8", {1: 1100.0, 64: 4000.0, 4096: 5000.0, 9000: 4500.0}, 9300)
    assert "does not pay" not in told(study(*FP16, *faster)), "at batch 1 it does"
    close = climbed("fp8", {1: 995.0, 64: 7900.0, 4096: 8900.0}, 9300)
    assert "does not pay" not in told(study(*FP16, *close)), "within a measurement's doubt"
    fp32 = climbed("fp32", {1: 1000.0, 64: 9000.0}, 128)
    int8 = climbed("int8", {1: 600.0, 64: 6300.0}, 128)
    slow = climbed("fp16", {1: 300.0, 64: 3000.0}, 128)
    assert "INT8 does not pay: 0.600× to 0.700× of FP32's rate" in told(study(*fp32, *slow, *int8)), "not of FP16's"


def test_what_was_computed_in_another_precision_is_said_first() -> None:
    cells = (run("fp32", 1, 100.0, observed="tf32"), run("fp32", 8, 100.0, observed="tf32"), run("fp32", 9, 100.0))
    assert "FP32 was asked for and TF32 computed, in 2 of 3 runs: where FP32 stands, read TF32." in told(study(*cells))


def test_batch_sizes_at_the_points_do_not_cover_each_other() -> None:
    rates = {1: 1000.0, 64: 8000.0, 1024: 9000.0, 1100: 9001.0, 1200: 8990.0}
    (drawing,) = latency.draw_latency(view(study(*(run("fp16", batch, rate) for batch, rate in rates.items()))))
    assert isinstance(drawing, style.Drawing)
    assert all(f">{batch}<" in drawing.svg for batch in ("1,100", "64", "1")), "the fastest of a crowd is named"
    assert ">1,024<" not in drawing.svg and ">1,200<" not in drawing.svg


def test_a_study_without_a_title_is_called_by_its_models_and_devices() -> None:
    found = study(*FP16)
    assert found.heading == "googlenet on Imaginary GPU, tensorrt-rtx 1.6.1.120"
    assert replace(found, title="Mine").heading == "Mine"
    empty = replace(found, cells=(), plan=replace(found.plan, models=("a", "b", "c", "d"), devices=("cpu",)))
    assert empty.heading == "a, b and 2 more on cpu"


def test_columns_that_say_the_same_in_every_row_are_said_once() -> None:
    rows = [(Value("a"), Value("x"), Value("1")), (Value("b"), Value("x"), Value("1"))]
    header = [("Name", False), ("Mode", False), ("Batch", True)]
    assert alike_aside(header, rows, ("Name", "Mode")) == (
        [("Name", False), ("Batch", True)],
        [(Value("a"), Value("1")), (Value("b"), Value("1"))],
        ["mode x"],
    )
