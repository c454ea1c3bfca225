"""``trtkit convert`` with data: it takes what ``calibrate`` takes, and its last line says why it ends with 9."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.graph.models import perceptron
from trtkit.artifacts.files import read_json
from trtkit.cli.main import main


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A conversion to int8 by ONNX Runtime, but for its data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    Path("net.onnx").write_bytes(perceptron(hidden=16).SerializeToString())
    np.save("data.npy", np.random.default_rng(0).standard_normal((40, 8), dtype=np.float32))
    return ["convert", "net.onnx", "-p", "int8", "--family", "onnxruntime", "-o", "out"]


def test_limit_and_holdout_reach_the_calibration(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--data", "data.npy", "--limit", "12", "--holdout", "4", "--method", "minmax", "--json"]) == 0
    made = json.loads(capfd.readouterr().out)["manifest"]
    report = read_json(Path("out/net.calibration-report.json"))
    assert (report["samples"], report["held_out"]) == (8, 4)
    assert made["validation"]["status"] == "not_judged"
    assert made["validation"]["needed_relative_l2"] > 0


def test_data_root_reaches_the_calibration(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    Path("names.txt").write_text("a.png\nb.png\n")
    images = ["convert", "squeezenet1_1", *words[2:]]  # which takes images
    assert main([*images, "--data", "names.txt", "--data-root", "elsewhere", "--json"]) == 5
    assert "elsewhere" in json.loads(capfd.readouterr().out)["error"]["message"]


@pytest.mark.slow
def test_equal_data_reuse_the_plan_and_other_data_do_not(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    def reused(*more: str) -> bool:
        assert main([*words, "--data", "data.npy", *more, "--json"]) == 0
        return bool(json.loads(capfd.readouterr().out)["reused"])

    assert not reused("--limit", "12")
    assert reused("--limit", "12")
    assert not reused("--limit", "13")
    np.save("data.npy", np.random.default_rng(1).standard_normal((41, 8), dtype=np.float32))
    assert not reused("--limit", "13")


def test_a_share_that_nothing_proves_is_9_and_said_last(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--synthetic", "16", "--require-int8", "0.5"]) == 9
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith(
        "exit code 9: --require-int8 0.5 asks for 50% of Conv, Gemm and MatMul in INT8, and the onnx"
    )
    assert last.endswith("does not show its layers, so nothing is proven.")


def test_a_tolerance_makes_a_verdict_of_a_quantization_error(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--data", "data.npy", "--tolerance", "1e-6"]) == 9
    assert capfd.readouterr().err.splitlines()[-1] == "exit code 9: the plan disagrees with its reference."
    assert main([*words, "--data", "data.npy", "--tolerance", "0.9"]) == 0
    assert "passed on" in capfd.readouterr().out
