"""``study``, ``report`` and ``compare`` on the command line: matrix, exit codes, JSON, Markdown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.studies import bench_result, made_up_study
from trtkit.artifacts.files import write_json
from trtkit.cli.main import main


def test_the_matrix_is_shown_without_running_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    matrix = ["--models", "alexnet,googlenet", "-p", "fp32,int8", "--batch", "1,8,auto", "--devices", "cpu"]
    assert main(["study", *matrix, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "alexnet, googlenet" in shown and "1, 8, auto" in shown and "12 to do of 12" in shown and "on disk" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        "study --batch 1,x --devices cpu --dry-run",
        "study --models nowhere --devices cpu --dry-run",
        "study --devices cpu --mode transfers --dry-run",
        "study --devices cpu -p fp12 --dry-run",
        "study --devices cpu -p int8 --data nowhere --dry-run",
        "compare a b --fail-if-slower lots",
    ],
)
def test_contradictions_exit_with_2(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    assert "hint:" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def _sets(folder: Path, ratio: float) -> list[str]:
    for name, ms in (("a", 4.0), ("b", 4.0 * ratio)):
        write_json(folder / name / "x.bench.json", bench_result(iteration_ms=ms, spread=0.001, count=200).to_json())
    return [str(folder / "a"), str(folder / "b")]


@pytest.mark.parametrize(("ratio", "code"), [(1.10, 9), (1.02, 0), (0.9, 0)])
def test_fail_if_slower(tmp_path: Path, capsys: pytest.CaptureFixture[str], ratio: float, code: int) -> None:
    assert main(["compare", *_sets(tmp_path, ratio), "--fail-if-slower", "3%"]) == code
    captured = capsys.readouterr()
    assert ("slower by 9.1%" in captured.err) == (code == 9)
    assert main(["compare", *_sets(tmp_path, ratio)]) == 0


@pytest.mark.parametrize(("ratio", "code"), [(1.3, 9), (1.02, 0)])
def test_fail_if_slower_between_noisy_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ratio: float, code: int
) -> None:
    for name, ms in (("a", 4.0), ("b", 4.0 * ratio)):
        noisy = bench_result(iteration_ms=ms, spread=0.15, count=60, seed=len(name))
        noisy = replace(noisy, conditions=replace(noisy.conditions, foreign_cpu=0.5))
        write_json(tmp_path / name / "x.bench.json", noisy.to_json())
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--fail-if-slower", "3%", "--json"]) == code
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    if code:
        assert document["pairs"][0]["verdict"] == "slower" and "whole 95 % interval" in document["objections"][0]
        assert "disturbed by 50%" in captured.err
    else:
        assert document["pairs"][0]["verdict"] == "cannot tell" and document["objections"] == []
        assert "cannot tell whether googlenet FP32" in captured.err and "--duration" in captured.err


@pytest.mark.parametrize("columns", ["40", "60", "94", "95", "200"])
def test_every_run_is_named_however_narrow_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["compare", *_sets(tmp_path, 1.5)]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= int(columns)
    words = " ".join(shown.split())
    assert "googlenet" in words and "FP32" in words and "0.667×" in words and "slower" in words and "median" in words


def test_what_could_not_be_compared_does_not_pass_by_accident(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = _sets(tmp_path, 1.0)
    write_json(tmp_path / "a" / "y.bench.json", bench_result(batch=64).to_json())
    assert main(["compare", *sets, "--fail-if-slower", "3%", "--json"]) == 9
    document = json.loads(capsys.readouterr().out)
    assert "could not be compared" in document["objections"][0] and len(document["pairs"]) == 1


def test_markdown_goes_to_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *_sets(tmp_path, 1.5), "--markdown"]) == 0
    shown = capsys.readouterr().out
    assert "| googlenet FP32, batch 8, compute |" in shown and "**slower**" in shown


def test_nothing_in_common_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "a" / "x.bench.json", bench_result("one").to_json())
    write_json(tmp_path / "b" / "x.bench.json", bench_result("two").to_json())
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 7
    assert "no run in common" in " ".join(capsys.readouterr().err.split())


def test_report_draws_the_page_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up_study(("googlenet",), ("fp32",), (1, 8), devices=("cuda:0",)).write(tmp_path)
    assert main(["report", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert Path(document["page"]).exists() and "throughput-1" in document["figures"]
    assert main(["report", str(tmp_path / "nowhere")]) == 7


def test_a_study_in_which_everything_failed_says_why_and_exits_with_9(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"this is no model")
    words = [
        "study",
        "--models",
        str(tmp_path / "broken.onnx"),
        "-p",
        "fp32,fp16",
        "--batch",
        "1,2",
        "--devices",
        "cpu",
    ]
    for extra in ([], ["--json"]):
        assert main([*words, "-o", str(tmp_path / "out"), *extra]) == 9
        captured = capsys.readouterr()
        reasons = [line for line in captured.err.splitlines() if line.startswith("failed: ")]
        assert len(reasons) == 1 and "(4 cells)" in reasons[0] and "broken.onnx" in reasons[0]
        assert "nothing could be measured" in captured.err
