"""Figures say what the study says: numbers, INVALID runs, reasons, published references, and why there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.report.studies import bench_result, cell_of, made_up_study
from trtkit.artifacts.finding import Finding, Verdict
from trtkit.artifacts.study import Study
from trtkit.artifacts.study_cell import Cell
from trtkit.artifacts.study_plan import CellSpec, StudyPlan
from trtkit.report import style
from trtkit.report.cells import unsteady
from trtkit.report.figures import accuracy, batches, energy, latency, peak, references, scaling, throughput
from trtkit.report.findings import counts_of, findings_of
from trtkit.report.machine import peak_table, ranges
from trtkit.report.numbers import percent
from trtkit.report.published import load
from trtkit.report.run_section import section_of
from trtkit.report.tables import accuracy_table, artifact_table, run_table
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


def test_what_it_really_ran_in_is_said_wherever_its_speed_is() -> None:
    study = made_up_study(("googlenet",), ("fp32", "int8"), (1, 128), devices=("cuda:0",))

    def as_fp32(cell: Cell) -> Cell:
        run = cell.run if cell.spec.precision == "int8" else None
        return replace(cell, run=replace(run, subject=replace(run.subject, observed="fp32"))) if run else cell

    study = replace(study, cells=tuple(map(as_fp32, study.cells)))
    for draw in (
        throughput.draw_throughput,
        references.draw_references,
        batches.draw_batches,
        latency.draw_latency,
        peak.draw_peak,
        energy.draw_energy,
    ):
        shown = words(draw(view(study))[0])
        assert shown.count("ran in FP32") == 1, draw
    (figure,) = accuracy.draw_accuracy(view(study))
    assert "INT8 †" in words(figure) and isinstance(figure, style.Drawing)
    assert "computed in another precision than asked" in figure.caption
    assert "INT8 (ran in FP32) at batch" in " ".join(text for text, _ in findings_of(view(study)))
    for table in (accuracy_table(view(study)), artifact_table(view(study)), run_table(view(study))):
        assert any("INT8 (ran in FP32)" in value.text for row in table.rows for value in row), table.id


def test_models_that_failed_are_not_called_absent() -> None:
    study = made_up_study(("googlenet",), ("fp32",), (8,), devices=("cuda:0",))
    plan = replace(study.plan, models=("googlenet", "broken"), precisions=("fp32", "fp16"))
    broken = tuple(
        Cell(replace(cell.spec, model="broken"), "failed", "The model has no outputs.")
        for cell in study.cells
        if cell.spec.count == 1
    )
    seen = view(replace(study, plan=plan, cells=(*study.cells, *broken)))
    shown = words(throughput.draw_throughput(seen)[0])
    assert shown.count("failed") == 1 and "not in the plan" in shown, "FP16 is in no cell"
    verdicts = {value.text for row in run_table(seen).rows for value in row}
    assert "failed" in verdicts and not any("failed: failed" in text for text in verdicts)


def test_the_share_of_the_peak_is_that_of_a_valid_run() -> None:
    cells = [
        cell_of(bench_result(batch=1, iteration_ms=2.0, spread=0)),
        cell_of(bench_result(batch=8, iteration_ms=1.0, spread=0, valid=False)),
    ]
    study = Study(StudyPlan(("googlenet",), ("fp32",), (1, 8), devices=("cuda:0",)), cells=tuple(cells))
    assert "at batch 1" in words(peak.draw_peak(view(study))[0])
    study = replace(study, cells=study.cells[1:])
    assert "INVALID" in words(peak.draw_peak(view(study))[0]), "with nothing else it is shown as what it is"


def test_a_measured_peak_is_filed_under_what_was_measured() -> None:
    result = bench_result(precision="fp16", name="CPU", device="cpu")
    result = replace(result, subject=replace(result.subject, observed=None), peak_ops_per_s=1.87e11)
    result = replace(result, peak_source="measured GEMM: FP32, 512³ and 1024³, same threads")
    study = Study(StudyPlan(("mine",), ("fp16",), (8,), devices=("cpu",)), cells=(cell_of(result),))
    table = peak_table(view(study))
    row = dict(zip((name for name, _ in table.columns), (value.text for value in table.rows[0]), strict=True))
    assert row["FP32"] == "0.187" and row.get("FP16", "–") == "–"


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
        share = seen.share_of_peak(cell)
        assert share == pytest.approx(2 * macs * speed / 4e11)
        csv = next(row for row in seen.study.rows() if row["batch"] == cell.spec.batch)
        assert csv["fraction_of_peak"] == share, "the CSV has the same rule"
        (told,) = [text for name, text, _ in section_of(cell, seen.peaks).facts if name == "of the peak"]
        assert told.startswith(percent(share)) and "highest rate" in told, "and each run's section"


def _ladder(reason: str) -> Study:
    runs = [cell_of(bench_result(batch=batch, spread=0)) for batch in (1, 2, 64)]
    auto = replace(runs[-1], spec=replace(runs[-1].spec, batch=None), reason=reason)
    return Study(StudyPlan(("googlenet",), ("fp32",), (1, None), devices=("cuda:0",)), cells=(*runs, auto))


def test_the_last_point_tells_what_kept_the_ladder_from_going_on() -> None:
    study = _ladder("batch 64 is the largest that was to be tried (--sweep-limit)")
    (drawing,) = batches.draw_batches(view(study))
    assert "--sweep-limit 64" in words(drawing) and isinstance(drawing, style.Drawing)
    assert "FP32 ends at 64: batch 64 is the largest that was to be tried (--sweep-limit)." in drawing.caption


def test_the_largest_run_of_a_ladder_is_counted_once() -> None:
    study = _ladder("batch 64 ran")
    assert counts_of(study) == [(3, "valid")]
    rows = study.rows()
    assert [(row["batch"], row["batch_asked"]) for row in rows] == [(1, 1), (2, 2), (64, 64), (64, "auto")]
    assert [row[2].text for row in run_table(view(study)).rows] == ["1", "2", "64 max"]
    mixed = replace(study, cells=tuple(reversed(study.cells)))
    assert run_table(view(mixed)).rows == run_table(view(study)).rows, "sorted by batch, whenever they were run"


def test_a_card_at_its_power_limit_is_not_disturbed() -> None:
    def noted(*ids: str) -> Cell:
        cell = _ladder("batch 64 ran").cells[0]
        assert cell.run is not None
        notes = tuple(Finding(name, "text", "step") for name in ids)
        return replace(cell, run=replace(cell.run, verdict=Verdict(notes=notes)))

    assert unsteady(noted("clock-moved")) == ("clock-moved",)
    assert unsteady(noted("clock-moved", "power-capped")) == ()
    assert unsteady(noted("power-capped", "unstable")) == ("unstable",)
    study = replace(_ladder("batch 64 ran"), cells=(noted("power-capped", "clock-moved"),))
    told = [text for text, _ in findings_of(view(study))]
    assert "1 of 1 runs were at the card's power limit" in told[0] and "†" not in " ".join(told)


@pytest.mark.parametrize(
    ("ran", "failed", "named", "slanted"),
    [
        ({1, 4, 8}, set(), [1, 4, 8], False),
        ({1, 64, 1024, 2048, 31568}, {32768}, [1, 64, 1024, 2048, 31568], True),
        ({1, 64, 1024, 31000, 31568}, {32768}, [1, 64, 1024, 31568], True),
        ({1, 64}, {8192}, [1, 64, 8192], False),
        ({7}, {8}, [7, 8], False),
    ],
)
def test_batch_sizes_are_named_where_there_is_room(
    ran: set[int], failed: set[int], named: list[int], slanted: bool
) -> None:
    assert batches._ticks(ran, failed) == (named, slanted)


def test_processors_are_listed_as_ranges() -> None:
    assert [ranges(numbers) for numbers in ((), (3,), (0, 1, 2, 3, 8), (5, 4, 1))] == ["", "3", "0-3, 8", "1, 4-5"]


@pytest.mark.parametrize("model", ["squeezenet1_1", "a_model_of_a_long_name_indeed", "W" * 40])
def test_titles_and_markers_stay_within_the_figure(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figures: list[Any] = []
    real = style.render

    def render(figure: Any) -> tuple[str, bytes, bytes]:
        figures.append(figure)
        return real(figure)

    monkeypatch.setattr(style, "render", render)
    study = made_up_study((model,), ("fp32",), (1, 8), devices=("cuda:0",), name="AMD EPYC 9554 64-Core Processor X")
    found = view(study)
    for draw in (batches.draw_batches, latency.draw_latency, throughput.draw_throughput):
        draw(found)
    assert len(figures) == 3
    for figure in figures:
        renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
        box = figure._suptitle.get_window_extent(renderer)
        assert box.x1 <= figure.bbox.x1, figure._suptitle.get_text()
        axes = figure.axes[0]
        if axes.lines:
            assert max(max(line.get_ydata()) for line in axes.lines) <= 0.95 * axes.get_ylim()[1]
