"""What lifts the numbers and where the time goes: both commands on a small model, and what they write."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from tests.contract.test_families import conv_net
from tests.perf import bench_lifts, layer_profile


@pytest.fixture
def model(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    onnx.save(conv_net(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.mark.slow
def test_each_change_stands_beside_the_default(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--models", str(model), "--device", "cpu", "--duration", "0.05", "--batches", "1,2"]
    assert bench_lifts.main([str(tmp_path / "out"), *common, "--only", "base,one-buffer,launched"]) == 0
    document = json.loads((tmp_path / "out" / "bench_lifts.json").read_text())
    rows = {row["name"].partition(": ")[2]: row for row in document["rows"] if "batch 2" in row["name"]}
    assert len(document["rows"]) == 4, "two batches of two changes; CUDA graphs mean nothing on a CPU"
    changed, base = rows[bench_lifts.CHANGES["one-buffer"].words], rows["by default"]
    assert changed["beside"] == base["measured"] and base["beside"] is None
    assert changed["judged"] == pytest.approx(changed["measured"] / base["measured"])
    assert {case["facts"]["buffers"] for case in document["calls"][0]["found"]["cases"]} == {1, 8}
    # Another call adds to the file, and what the time does not allow is named.
    spent = ["--only", "no-rewrites", "--append", "--seconds-budget", "1e-9"]
    assert bench_lifts.main([str(tmp_path / "out"), *common, *spent]) == 1
    text = (tmp_path / "out" / "bench_lifts.md").read_text()
    assert "no-rewrites, net: left out, for the time was up" in text and text.count("by default") >= 2
    assert "net.onnx" in document["calls"][0]["command"] and str(tmp_path) not in document["calls"][0]["command"]
    with pytest.raises(SystemExit):
        bench_lifts.main([str(tmp_path / "out"), "--only", "magic"])
    assert "no such change: magic" in capsys.readouterr().err


@pytest.mark.slow
def test_the_largest_layers_of_both_graphs(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert layer_profile.main([str(out), "--models", f"{model},missing.onnx", "--device", "cpu", "--batch", "2"]) == 1
    document = json.loads((out / "layer_profile.json").read_text())
    profiles = document["found"]["profiles"]
    assert [(profile["model"], profile["rewrite"]) for profile in profiles] == [("net", "none"), ("net", "safe")]
    assert all(profile["images_per_s"] > 0 and profile["layers"] for profile in profiles)
    assert all(layer["ms"] >= 0 for profile in profiles for layer in profile["layers"])
    assert list(document["found"]["failed"]) == ["missing, rewrites none", "missing, rewrites safe"]
    text = (out / "layer_profile.md").read_text()
    assert text.count("## net, rewrites") == 2 and "does not exist" in text
    assert max(profiles[0]["layers"], key=lambda layer: layer["ms"])["name"] in text


def test_a_table_shows_ten_layers_and_the_rest_as_one() -> None:
    layers = [{"name": f"layer|{index}" if index else "x" * 200, "ms": float(index)} for index in range(13)]
    found = {"family": "f", "precision": "fp16", "batch": 8, "failed": {}}
    profile = {"model": "m", "rewrite": "safe", "images_per_s": 1234.5, "compute_ms": 80.0, "layers": layers}
    about = {"gpu": None, "cpu": "C", "cores": 2, "python": "3", "packages": {}}
    text = layer_profile.page({"found": {**found, "profiles": [profile]}, "environment": about, "command": "c"})
    assert "| layer/12 | 12 | 15.4% |" in text and "| 3 more | 3 | 3.8% |" in text
    assert "1,234 images/s, 80 ms; the layers one by one take 78 ms" in text
