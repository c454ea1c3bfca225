"""The page from saved results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.studies import bench_result, made_up_study
from trtkit.artifacts.files import write_json
from trtkit.errors import PlanError, UsageError
from trtkit.stages.report import gather, report


def test_a_study_is_drawn_again_with_another_budget(tmp_path: Path) -> None:
    made_up_study(("googlenet",), ("fp32",), (1, 8), devices=("cuda:0",), budget_ms=None).write(tmp_path)
    done = report(tmp_path, latency_budget_ms=5.0, title="Again & again")
    page = done.page.read_text(encoding="utf-8")
    assert "within 5.00 ms" in page and "<title>Again &amp; again</title>" in page
    assert {f"{name}.png" for name in done.figures} <= {path.name for path in (tmp_path / "figures").iterdir()}
    assert any("Several devices" in title for title, _ in done.empty)


def test_benchmarks_in_a_folder_become_a_page(tmp_path: Path) -> None:
    old = replace(bench_result(iteration_ms=9.0), created="2026-01-01T00:00:00+00:00")
    write_json(tmp_path / "one" / "z.bench.json", old.to_json())
    write_json(tmp_path / "two" / "a.bench.json", bench_result(iteration_ms=4.0).to_json())
    write_json(tmp_path / "two" / "b.bench.json", bench_result(batch=32).to_json())
    study = gather(tmp_path)
    assert study.plan.batches == (8, 32)
    eight = next(cell for cell in study.cells if cell.spec.batch == 8)
    assert eight.run is not None and eight.run.file == "two/a.bench.json", "the newest counts"
    assert report(tmp_path, tmp_path / "page").page.exists()


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"neither results\.json nor"):
        report(tmp_path)
    with pytest.raises(PlanError, match="not a folder"):
        report(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="above 0 ms"):
        report(tmp_path, latency_budget_ms=0.0)
