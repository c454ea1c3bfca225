"""Comparing: like with like, ratios that are known, verdicts that noise does not make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.report.studies import bench_result, cell_of, made_up_study
from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.files import write_json
from trtkit.artifacts.study import Study
from trtkit.artifacts.study_plan import StudyPlan
from trtkit.artifacts.timeline import Iteration
from trtkit.cli.compare import markdown
from trtkit.errors import PlanError, UsageError
from trtkit.report.against import Other, align
from trtkit.stages.compare import compare, noise_of, outcome_of, periods_ms


def saved(folder: Path, *results: BenchResult) -> Path:
    for number, result in enumerate(results):
        write_json(folder / f"{number}.bench.json", result.to_json())
    return folder


def test_a_known_speedup_is_found_with_an_interval_around_it(tmp_path: Path) -> None:
    slow = saved(tmp_path / "a", bench_result(iteration_ms=4.0, spread=0.02, count=400, seed=1))
    fast = saved(tmp_path / "b", bench_result(iteration_ms=3.2, spread=0.02, count=400, seed=2))
    (pair,) = compare(slow, fast).pairs
    low, high = pair.speedup_interval
    assert pair.verdict == "faster" and low < 1.25 < high and high - low < 0.02
    assert pair.latency_ratio == pytest.approx(0.8, abs=0.01)
    (back,) = compare(fast, slow).pairs
    assert back.verdict == "slower" and back.speedup == pytest.approx(1 / pair.speedup, rel=1e-9)


def test_two_runs_of_the_same_are_no_difference(tmp_path: Path) -> None:
    for seed in range(20):
        one = saved(tmp_path / f"{seed}a", bench_result(spread=0.03, count=300, seed=seed))
        other = saved(tmp_path / f"{seed}b", bench_result(spread=0.03, count=300, seed=seed + 1000))
        (pair,) = compare(one, other).pairs
        assert pair.verdict == "no difference"


def test_a_change_below_the_floor_does_not_count_however_sure(tmp_path: Path) -> None:
    one = saved(tmp_path / "a", bench_result(iteration_ms=4.0, spread=1e-4, count=400, seed=1))
    other = saved(tmp_path / "b", bench_result(iteration_ms=4.0 * 1.005, spread=1e-4, count=400, seed=2))
    (pair,) = compare(one, other).pairs
    assert pair.speedup_interval[1] < 1 and pair.verdict == "no difference"
    (pair,) = compare(one, other, noise_floor=0.001).pairs
    assert pair.verdict == "slower"


def test_drift_within_a_run_raises_the_floor(tmp_path: Path) -> None:
    steady = np.full(200, 4.0)
    drifting = np.linspace(4.0, 5.0, 200)
    assert noise_of(steady) == 0.0
    assert noise_of(drifting) == pytest.approx(np.std(np.linspace(4.05, 4.95, 10)) / 4.5, rel=0.05)
    assert noise_of(steady[:10]) == 0.0


def test_what_others_took_of_the_processors_raises_the_floor(tmp_path: Path) -> None:
    one, other = bench_result(iteration_ms=4.0), bench_result(iteration_ms=3.0)
    shared = replace(other, conditions=replace(other.conditions, foreign_cpu=0.6))
    (pair,) = compare(saved(tmp_path / "a", one), saved(tmp_path / "b", shared)).pairs
    assert pair.noise == 0.6 and pair.verdict == "cannot tell"


def test_no_verdict_from_a_handful_of_samples_and_the_comparison_says_that_it_cannot_tell(tmp_path: Path) -> None:
    one, other = bench_result(iteration_ms=4.0, count=3), bench_result(iteration_ms=5.0, count=3)
    found = compare(saved(tmp_path / "a", one), saved(tmp_path / "b", other))
    low, high = found.pairs[0].speedup_interval
    assert high < 1 and high - low < 0.1, "what a bootstrap of two periods believes to know"
    assert found.pairs[0].verdict == "cannot tell" and found.undecided == found.pairs
    assert any("In 1 of 1 pairs it cannot be told" in note and "--duration" in note for note in found.notes)
    longer = [bench_result(iteration_ms=ms, count=30) for ms in (4.0, 5.0)]
    found = compare(saved(tmp_path / "c", longer[0]), saved(tmp_path / "d", longer[1]))
    assert found.pairs[0].verdict == "slower" and not found.notes


@pytest.mark.parametrize(
    ("speedup", "interval", "noise", "limit", "verdict"),
    [
        (0.78, (0.74, 0.85), 0.3, 0.03, "slower"),  # noisy, and its whole interval beyond the limit
        (0.78, (0.74, 0.85), 0.3, 0.2, "cannot tell"),
        (0.78, (0.74, 0.85), 0.3, None, "cannot tell"),
        (0.78, (0.74, 0.85), 0.05, None, "slower"),
        (0.985, (0.90, 1.05), 0.3, 0.03, "cannot tell"),  # straddles the limit and is wider than it
        (0.985, (0.90, 1.05), 0.3, None, "no difference"),
        (0.995, (0.975, 1.012), 0.02, 0.03, "no difference"),
        (0.985, (0.98, 0.99), 0.01, 0.03, "slower"),  # by less than the limit
        (0.995, (0.994, 0.996), 0.01, 0.0, "no difference"),  # below the floor
        (1.3, (1.2, 1.4), 0.5, 0.03, "cannot tell"),
    ],
)
def test_the_four_verdicts(
    speedup: float, interval: tuple[float, float], noise: float, limit: float | None, verdict: str
) -> None:
    def told(enough: bool) -> str:
        return outcome_of(speedup, interval, noise=noise, floor=0.01, enough=enough, limit=limit)

    assert told(True) == verdict and told(False) == "cannot tell"


def test_the_rates_beside_a_ratio_are_of_its_statistic(tmp_path: Path) -> None:
    steady, burst = (
        bench_result(batch=8, iteration_ms=4.0, spread=0.0),
        bench_result(batch=8, iteration_ms=4.0, spread=0.0),
    )
    rows = list(burst.timeline.rows)
    late = 400.0  # one batch of forty was held up: the mean falls to a third, the median stays
    rows[20:] = [Iteration(*(time + late for time in row)) for row in rows[20:]]
    burst = replace(burst, timeline=replace(burst.timeline, rows=tuple(rows)))
    (pair,) = compare(saved(tmp_path / "a", steady), saved(tmp_path / "b", burst)).pairs
    assert pair.speedup == pytest.approx(pair.second_images_per_s / pair.first_images_per_s)
    assert pair.second_images_per_s == pytest.approx(2000.0) and (burst.throughput_images_per_s or 0) < 700
    assert "median" in str(compare(tmp_path / "a", tmp_path / "b").to_json()["statistic"])
    here, there = (Study(StudyPlan(("googlenet",), ("fp32",), (8,)), cells=(cell_of(r),)) for r in (burst, steady))
    (drawn,) = align(here, [Other(there, "there")]).pairs
    assert drawn.medians and drawn.ratio == pytest.approx(pair.speedup)


def test_periods_are_what_throughput_is_made_of() -> None:
    result = bench_result(batch=8, iteration_ms=4.0, spread=0.0)
    assert periods_ms(result) == pytest.approx(np.full(39, 4.0))
    assert result.throughput_images_per_s == pytest.approx(8 / 4e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda r: replace(r, subject=replace(r.subject, model_sha256="c" * 64)),
            "model's SHA-256 differs: aaaaaaaaaaaa",
        ),
        (
            lambda r: replace(r, subject=replace(r.subject, observed="fp16")),
            "precision observed differs: fp32 and fp16",
        ),
        (lambda r: replace(r, settings=replace(r.settings, input_dtype="uint8")), "data type differs"),
        (lambda r: replace(r, settings=replace(r.settings, shapes={"x": (8, 3)})), "input shapes differs"),
        (lambda r: replace(r, settings=replace(r.settings, data="photos.npz")), "kind of data differs"),
        (lambda r: replace(r, settings=replace(r.settings, spin=False)), "Spin waiting differs"),
        (lambda r: bench_result(valid=False), "The second is INVALID: throttled"),
        (lambda r: bench_result(count=1), "1 samples"),
    ],
)
def test_unlike_pairs_are_refused_by_name(tmp_path: Path, change: object, says: str) -> None:
    result = bench_result()
    found = compare(saved(tmp_path / "a", result), saved(tmp_path / "b", change(result)))  # type: ignore[operator]
    assert found.pairs == ()
    (refusal,) = found.refusals
    assert refusal.kind == "unlike" and says in " ".join(refusal.reasons)


def test_devices_versions_and_drivers_are_what_is_compared(tmp_path: Path) -> None:
    other = bench_result(device="cuda:3", name="Another GPU")
    other = replace(other, subject=replace(other.subject, version="1.7.0"))
    (pair,) = compare(saved(tmp_path / "a", bench_result()), saved(tmp_path / "b", other)).pairs
    assert "device: Imaginary GPU → Another GPU" in pair.differs
    assert any(text.startswith("family: tensorrt-rtx 1.6.1.120 → ") for text in pair.differs)


def test_missing_and_new_runs_are_named_and_the_newest_of_equals_counts(tmp_path: Path) -> None:
    older = replace(bench_result(iteration_ms=9.0), created="2026-01-01T00:00:00+00:00")
    first = saved(tmp_path / "a", older, bench_result(iteration_ms=4.0), bench_result(batch=64))
    second = saved(tmp_path / "b", bench_result(iteration_ms=4.0), bench_result(batch=128))
    found = compare(first, second)
    assert [pair.what for pair in found.pairs] == ["googlenet FP32, batch 8, compute"]
    assert found.pairs[0].verdict == "no difference"
    assert {refusal.kind: refusal.what for refusal in found.refusals} == {
        "missing": "googlenet FP32, batch 64, compute",
        "new": "googlenet FP32, batch 128, compute",
    }
    assert [refusal.kind for refusal in found.incomparable] == ["missing"]
    assert any("several runs" in note for note in found.notes)


def test_studies_are_read_by_their_results(tmp_path: Path) -> None:
    study = made_up_study(("googlenet",), ("fp32",), (1, 8), devices=("cuda:0",))
    study.write(tmp_path)
    for cell in study.cells:
        if cell.run is not None:
            write_json(tmp_path / cell.run.file, bench_result(batch=cell.spec.batch or 1).to_json())
    write_json(tmp_path / "stray" / "x.bench.json", bench_result(batch=99).to_json())
    found = compare(tmp_path, tmp_path / "results.json")
    assert len(found.pairs) == 2 and found.refusals == ()


def test_what_cannot_be_compared_at_all(tmp_path: Path) -> None:
    one = saved(tmp_path / "a", bench_result())
    (tmp_path / "empty").mkdir()
    with pytest.raises(PlanError, match="no run in common"):
        compare(one, saved(tmp_path / "b", bench_result("alexnet")))
    with pytest.raises(PlanError, match="holds no benchmark"):
        compare(one, tmp_path / "empty")
    with pytest.raises(PlanError, match="does not exist"):
        compare(one, tmp_path / "nowhere")
    with pytest.raises(UsageError, match="share"):
        compare(one, one, noise_floor=1.5)


def test_markdown_is_a_table_that_names_cannot_break(tmp_path: Path) -> None:
    name = "a|b <script>\n"
    found = compare(saved(tmp_path / "a", bench_result(name)), saved(tmp_path / "b", bench_result(name)))
    lines = markdown(found).splitlines()
    row = next(line for line in lines if line.startswith("| a"))
    assert row.replace("\\|", "").count("|") == 7 and "<script" not in row and "no difference" in row
