"""The page from saved results."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.report.studies import bench_result, made_up_study
from trtkit.artifacts.files import write_json
from trtkit.artifacts.study import Study
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


def _links(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [unquote(html.unescape(link)) for link in re.findall(r'<a href="([^"#]+)"', text)]


def _study_with_files(folder: Path) -> Study:
    study = made_up_study(("googlenet",), ("fp32",), (1, 8), devices=("cuda:0",))
    study.write(folder)
    for cell in study.cells:
        if cell.run is not None:
            write_json(folder / cell.run.file, bench_result(batch=cell.spec.batch or 1).to_json())
    return study


@pytest.mark.parametrize("where", [".", "../page", "page in #1", "../p: 1/deep"])
def test_every_link_leads_to_a_file_wherever_the_page_is(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "the study"
    _study_with_files(folder)
    page = report(folder, folder / where).page
    links = _links(page)
    assert sum(link.endswith(".bench.json") for link in links) == 2
    assert {"results.json", "results.csv"} <= {Path(link).name for link in links}, "the footer's"
    assert [link for link in links if not (page.parent / link).is_file()] == []
    assert "bench.json is missing" not in page.read_text(encoding="utf-8")


def test_a_page_of_loose_benchmarks_promises_no_results(tmp_path: Path) -> None:
    write_json(tmp_path / "one" / "a.bench.json", bench_result().to_json())
    page = report(tmp_path, tmp_path / "page").page
    links = [link for link in _links(page) if not link.startswith("figures/")]
    assert links == ["../one/a.bench.json"] and "results.json" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_lost_samples_are_named_and_not_linked(tmp_path: Path, damage: str) -> None:
    study = _study_with_files(tmp_path)
    assert study.cells[1].run is not None
    file = tmp_path / study.cells[1].run.file
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:2000])
    page = report(tmp_path).page
    text = page.read_text(encoding="utf-8")
    assert f"{study.cells[1].run.file} is {damage}" in text and study.cells[1].run.file not in _links(page)
    assert f"its file of raw samples is {damage}: run trtkit study again" in text and f"samples {damage}" in text


def test_a_damaged_file_among_loose_benchmarks_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "a.bench.json", bench_result().to_json())
    (tmp_path / "cut.bench.json").write_text("{")
    page = report(tmp_path).page.read_text(encoding="utf-8")
    assert "cut.bench.json</td>" in page and "file damaged" in page
    (tmp_path / "a.bench.json").unlink()
    with pytest.raises(PlanError, match="that can be read"):
        report(tmp_path)
