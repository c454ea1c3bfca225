"""Other studies beside one: like runs in pairs, the rest said, everything escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.studies import bench_result, cell_of
from trtkit.artifacts.study import Study
from trtkit.artifacts.study_cell import Cell
from trtkit.artifacts.study_plan import StudyPlan
from trtkit.errors import PlanError, UsageError
from trtkit.report.against import Other, align
from trtkit.report.page import render, write_report
from trtkit.stages.report import report

NASTY = "<b>other</b>"


def study(*cells: Cell, title: str = "One") -> Study:
    plan = StudyPlan(("googlenet",), ("fp32", "fp16", "int8"), (8, 64), ("compute",), ("cuda:0",))
    return Study(plan, cells=cells, title=title, command=("trtkit", "study"), created="2026-11-23T12:00:00+00:00")


def run(
    precision: str, batch: int, ms: float, *, name: str = "Imaginary GPU", family: str = "", **other: object
) -> Cell:
    result = bench_result(precision=precision, batch=batch, iteration_ms=ms, spread=0, name=name)
    subject = replace(result.subject, **other)  # type: ignore[arg-type]
    if family:
        subject = replace(subject, family=family, version="1.31.1")
    return cell_of(replace(result, subject=subject))


MINE = study(run("fp32", 8, 4.0), run("fp32", 64, 20.0), run("fp16", 8, 2.0), run("int8", 8, 1.0))
THEIRS = study(
    run("fp32", 8, 8.0, name=NASTY, family="onnxruntime", observed=None),
    run("fp32", 64, 10.0, name=NASTY, family="onnxruntime"),
    run("fp16", 8, 4.0, name=NASTY, family="onnxruntime", model_sha256="c" * 64),
    run("int8", 8, 1.0, name=NASTY, family="onnxruntime", observed="fp32"),
    run("fp8", 8, 1.0, name=NASTY, family="onnxruntime"),
    title="<i>Two</i>",
)


def test_like_runs_are_paired_and_the_rest_is_said_with_its_reason() -> None:
    found = align(MINE, [Other(THEIRS, "two")])
    assert [(p.cell.spec.precision, p.cell.spec.batch, p.ratio) for p in found.pairs] == [
        ("fp32", 8, pytest.approx(2.0, rel=0.01)),
        ("fp32", 64, pytest.approx(0.5, rel=0.01)),
    ]
    said = {reason: runs for _, reason, runs in found.refusals}
    assert said["This study has no such run."] == ("googlenet FP8, batch 8, compute",)
    (model,) = (runs for reason, runs in said.items() if "model's SHA-256 differs" in reason)
    (observed,) = (runs for reason, runs in said.items() if "precision observed differs: int8 and fp32" in reason)
    assert model == ("googlenet FP16, batch 8, compute",) and observed == ("googlenet INT8, batch 8, compute",)


def test_an_invalid_run_is_no_pair() -> None:
    bad = cell_of(bench_result(batch=8, valid=False))
    found = align(study(run("fp32", 8, 4.0)), [Other(study(bad), "two")])
    assert found.pairs == () and found.refusals[0][1] == "The other is INVALID: throttled."


def test_the_figure_and_the_table_show_both_and_lead_to_the_source() -> None:
    drawn = render(MINE, [Other(THEIRS, "two")])
    (figure,) = (drawing for drawing in drawn.drawings if drawing.id == "devices-1")
    words = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", figure.svg))
    assert "&lt;b&gt;other&lt;/b&gt; · onnxruntime 1.31.1, batch 64" in words
    assert "Imaginary GPU · tensorrt-rtx 1.6.1.120, batch 64" in words and "6,400" in words and "3,200" in words
    assert "#against-1" in figure.svg and "Dotted" in figure.caption and "ratios are of medians" in figure.caption
    page = drawn.html
    assert 'id="against-1"' in page and "&lt;i&gt;Two&lt;/i&gt;" in page and "<code>trtkit study</code>" in page
    assert "<b>other" not in page and "<i>Two" not in page
    assert ">0.500×<" in page and ">2.00×<" in page and "FP32 ‡" in page


def test_a_study_without_like_runs_is_named_and_not_drawn() -> None:
    other = study(run("fp32", 8, 4.0, model_sha256="c" * 64))
    drawn = render(study(run("fp32", 8, 4.0, macs_per_image=1)), [Other(other, "two")])
    assert [empty.id for empty in drawn.empty if empty.id == "devices"] == ["devices"]
    assert "SHA-256 differs" in drawn.html and 'id="against-1"' in drawn.html


def test_folders_are_read_before_anything_is_drawn(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    MINE.write(one)
    THEIRS.write(two)
    with pytest.raises(UsageError, match="nothing stands against itself"):
        report(one, against=[two, one])
    with pytest.raises(PlanError, match="is not a folder"):
        report(one, against=[tmp_path / "three"])
    assert not (one / "report.html").exists()
    done = report(one, against=[two])
    assert "devices-1" in done.figures and "Folder two;" in done.page.read_text(encoding="utf-8")


def test_the_same_device_and_version_are_told_apart_by_the_folder() -> None:
    drawn = render(MINE, [Other(study(run("fp32", 64, 10.0), title="Later"), "later")])
    (figure,) = (drawing for drawing in drawn.drawings if drawing.id == "devices-1")
    words = re.findall(r"<text[^>]*>([^<]*)</text>", figure.svg)
    assert [word for word in words if "batch 64" in word] == [
        "later: Imaginary GPU · tensorrt-rtx 1.6.1.120, batch 64",
        "Imaginary GPU · tensorrt-rtx 1.6.1.120, batch 64",
    ]


def test_without_others_nothing_is_said_of_them(tmp_path: Path) -> None:
    page, _ = write_report(MINE, tmp_path)
    assert "against-1" not in page.read_text(encoding="utf-8")
