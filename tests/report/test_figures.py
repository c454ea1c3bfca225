"""Figures say what the study says: numbers, INVALID runs, reasons, published references, and why there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.report.studies import bench_result, cell_of, made_up_study
from trtkit.artifacts.study import Study
from trtkit.artifacts.study_cell import Cell
from trtkit.artifacts.study_plan import CellSpec, StudyPlan
from trtkit.report import style
from trtkit.report.figures import accuracy, batches, energy, latency, peak, references, scaling, throughput
from trtkit.report.published import load
from trtkit.report.view import View

EVERY = (
    throughput.draw_throughput,
    accuracy.draw_accuracy,
    scaling.draw_scaling,
    references.draw_references,
    batches.draw_batches,
    latency.draw_latency,
    peak.draw_peak,
    energy.draw_energy,
)


@pytest.fixture(autouse=True)
def _look() -> Iterator[None]:
    with style.look():
        yield


def view(study: Study) -> View:
    return View.of(study, load())


def words(drawing: style.Drawing | style.Empty) -> str:
    assert isinstance(drawing, style.Drawing), drawing
    return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", drawing.svg))


def test_every_figure_of_a_full_study_is_drawn() -> None:
    found = view(made_up_study(batches=(1, 8, 128)))
    for draw in EVERY:
        for drawing in draw(found):
            assert isinstance(drawing, style.Drawing), draw
            assert drawing.files["png"].startswith(b"\x89PNG") and drawing.files["svg"].startswith(b"<?xml")
            assert "#0072b2" not in drawing.svg  # the page's theme decides
            assert not re.search(r'id="\w+_\d+"', drawing.svg)


def test_an_empty_study_says_why_each_figure_is_missing() -> None:
    found = view(
        Study(StudyPlan(("mine",), ("fp32",), (1,)), cells=(Cell(CellSpec("mine", "fp32", 1, "compute", "cpu")),))
    )
    for draw in EVERY:
        (only,) = draw(found)
        assert isinstance(only, style.Empty) and len(only.reason) > 30, draw


def test_speedups_over_fp32_and_tf32_are_named_separately_and_never_from_an_invalid_run() -> None:
    cells = [
        cell_of(bench_result(precision="fp32", batch=8, iteration_ms=8.0, spread=0)),
        cell_of(bench_result(precision="tf32", batch=8, iteration_ms=4.0, spread=0)),
        cell_of(bench_result(precision="fp16", batch=8, iteration_ms=2.0, spread=0)),
        cell_of(bench_result(precision="int8", batch=8, iteration_ms=1.0, spread=0, valid=False)),
    ]
    study = Study(
        StudyPlan(("googlenet",), ("fp32", "tf32", "fp16", "int8"), (8,), devices=("cuda:0",)), cells=tuple(cells)
    )
    (drawing,) = throughput.draw_throughput(view(study))
    shown = words(drawing)
    assert "1,000" in shown and "4,000 · 4.00× FP32 · 2.00× TF32" in shown
    assert "8,000 INVALID (throttled)" in shown and "8.00×" not in shown
    assert "× TF32 · " not in shown.split("2,000")[0], "FP32 is no gain over TF32"


def test_what_it_really_ran_in_is_said() -> None:
    result = bench_result(precision="int8", batch=8)
    cells = (cell_of(replace(result, subject=replace(result.subject, observed="fp32"))),)
    study = Study(StudyPlan(("googlenet",), ("int8",), (8,), devices=("cuda:0",)), cells=cells)
    assert "ran in FP32" in words(throughput.draw_throughput(view(study))[0])


def test_the_batch_line_ends_with_the_reason() -> None:
    drawings = batches.draw_batches(view(made_up_study()))
    assert "device memory" in words(drawings[0]) and "2,048" in words(drawings[0])
    assert isinstance(drawings[0], style.Drawing)
    assert "end at 1,024: Device memory: 81 GiB needed, 79 GiB free." in drawings[0].caption


def test_an_edge_that_was_looked_for_within_a_share_is_told() -> None:
    study = made_up_study(batches=(1, 8))
    exact, near = (
        batches.draw_batches(view(replace(study, plan=replace(study.plan, sweep_within=share))))[0]
        for share in (0.0, 0.05)
    )
    assert isinstance(exact, style.Drawing) and isinstance(near, style.Drawing)
    assert near.caption == f"{exact.caption} The largest batch was looked for within 5 %."


def test_the_budget_picks_the_fastest_valid_batch_whose_p99_keeps_it() -> None:
    cells = []
    for batch, ms in ((1, 1.0), (8, 3.0), (32, 6.0), (64, 4.0)):
        cells.append(cell_of(bench_result(batch=batch, iteration_ms=ms, spread=0, valid=batch != 64)))
    found = latency.within_budget(tuple(cells), 5.0)
    assert found is not None and found.spec.batch == 8  # 32 is too late, and 64 is INVALID
    assert latency.within_budget(tuple(cells), 0.5) is None
    plan = StudyPlan(("googlenet",), ("fp32",), (1, 8), devices=("cuda:0",), latency_budget_ms=0.5)
    (drawing,) = latency.draw_latency(view(Study(plan, cells=tuple(cells))))
    assert isinstance(drawing, style.Drawing) and "No valid run keeps the budget of 0.500 ms" in drawing.caption


def test_published_figures_are_hollow_and_belong_to_the_same_model_only() -> None:
    plan = StudyPlan(("googlenet",), ("fp32",), (128,), devices=("cuda:0",))
    result = bench_result(batch=128)
    (drawing,) = references.draw_references(view(Study(plan, cells=(cell_of(result),))))
    assert "6,410" in words(drawing) and "published 2017" in words(drawing)
    assert isinstance(drawing, style.Drawing) and "stroke-dasharray" in drawing.svg
    other = replace(result, subject=replace(result.subject, macs_per_image=1_498_376_192))
    (empty,) = references.draw_references(view(Study(plan, cells=(cell_of(other),))))
    assert isinstance(empty, style.Empty), "another network of the same name has no published figures"


def test_the_published_study_as_it_stands_in_print() -> None:
    rates = {(p.model, p.device, p.precision, p.batch, p.devices): p.images_per_s for p in load().points}
    p40, m40 = "Tesla P40", "Tesla M40"
    assert rates["googlenet", p40, "fp32", 128, 1] / rates["googlenet", m40, "fp32", 128, 1] == pytest.approx(
        1.53, abs=0.005
    )
    assert rates["alexnet", p40, "fp32", 128, 1] / rates["alexnet", m40, "fp32", 128, 1] == pytest.approx(
        1.62, abs=0.005
    )
    assert rates["googlenet", p40, "int8", 128, 1] / rates["googlenet", p40, "fp32", 128, 1] == pytest.approx(
        2.89, abs=0.005
    )
    assert rates["alexnet", p40, "int8", 128, 4] == 64691
    assert max(b for m, _, _, b, _ in rates if m == "alexnet") == 4096
    assert any("1.7×" in note["text"] and "1.53×" in note["text"] for note in load().notes)


def test_names_in_figures_are_short_and_no_mathematics() -> None:
    assert style.label("a" * 100, 30) == f"{'a' * 14}…{'a' * 15}"
    assert style.label("x\x00\ny") == "x  y"
    study = made_up_study((r"$\frac{1}{2}$ <b>&", "ünï-网络"), ("fp32",), (1, 8))
    shown = words(throughput.draw_throughput(view(study))[0])
    assert "frac" in shown and "网络" in shown and "&lt;b&gt;" in shown


def test_energy_is_joules_for_an_image() -> None:
    study = made_up_study(("googlenet",), ("fp32",), (1, 8))
    best = study.cells[1].run
    assert best is not None and best.images_per_s is not None
    assert f"{410 / best.images_per_s * 1e3:.1f} mJ" in words(energy.draw_energy(view(study))[0])


def test_a_processors_share_of_the_peak_is_of_the_highest_rate_measured_beside_any_run() -> None:
    runs = [
        replace(bench_result(batch=batch, name="CPU", iteration_ms=100.0), peak_ops_per_s=rate, peak_source="measured")
        for batch, rate in ((1, 4e11), (8, 1e11))
    ]
    seen = view(
        Study(StudyPlan(("googlenet",), ("fp32",), (1, 8), ("compute",), ("cpu",)), (), tuple(map(cell_of, runs)))
    )
    for cell, run in zip(seen.study.cells, runs, strict=True):
        macs, speed = run.subject.macs_per_image, run.throughput_images_per_s
        assert macs is not None and speed is not None
        assert seen.share_of_peak(cell) == pytest.approx(2 * macs * speed / 4e11)
