"""The tables' own parts: what bounds a line, the numbers to beat, and a rehearsal that is stopped and continued."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.contract.test_families import conv_net
from tests.measurement.scripted import clean, timeline
from tests.perf import bench_tables
from tests.perf.bench_lines import KNOWN, Line, bounds, known_of, line_of, markdown
from trtkit.artifacts.device import Device
from trtkit.backends.null_timed import VARIABLE
from trtkit.measurement import peaks

H100 = "NVIDIA H100 80GB HBM3"


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def line(batch: int, ms: float, **more: Any) -> Line:
    values = {"images_per_s": batch / ms * 1e3, "compute_ms": ms, **more}
    return Line("alexnet", "tensorrt-rtx", "fp16", "compute-graph", batch, **values)


def test_shares_are_what_the_measurement_says() -> None:
    result = clean(timeline=timeline([10.0] * 50, enqueue_ms=4.0), device={"name": H100, "device": "cuda:0"})
    found = line_of(result, 1_000_000)
    elements_per_s = 1_000_000 * (result.throughput_images_per_s or 0)
    size = {"fp32": 4, "tf32": 4, "fp16": 2}[result.subject.precision]
    bandwidth = peaks.lookup(H100)
    assert bandwidth is not None
    assert found.shares["memory"] == pytest.approx(2 * size * elements_per_s / bandwidth.memory_bytes_per_s)
    assert found.shares["launches"] == pytest.approx(0.4, rel=1e-3)
    assert found.shares.get("arithmetic") == result.fraction_of_peak
    assert "timeline" not in found.result and found.result["summary"]["count"] == 50
    saved = json.loads(json.dumps(found.to_json()))
    assert json.loads(json.dumps(Line.from_json(saved).to_json())) == saved
    assert line_of(result, None).shares.keys() == found.shares.keys() - {"memory"}


def test_what_bounds_is_named_largest_first() -> None:
    one, many = line(1, 0.3, shares={"launches": 0.1, "arithmetic": 0.02}), line(8, 0.4, shares={"arithmetic": 0.1})
    assert bounds(one, [one, many]) == "a chain of kernels too small for the device (launches 10%, arithmetic 2%)"
    assert bounds(many, [one, many]) == "latency 75%, arithmetic 10%"
    big = line(1024, 10, shares={"memory": 0.6, "arithmetic": 0.55}, findings=("power-capped",))
    assert bounds(big, [one, big]) == "memory 60%, arithmetic 55%, latency 3%; at its power limit"
    assert bounds(line(2, 1.0, shares={"arithmetic": 0.3}), []) == "none above half (arithmetic 30%)"
    assert bounds(replace(one, images_per_s=None), []) == ""


def test_the_numbers_to_beat_are_the_best_of_their_kind_and_flagged() -> None:
    assert known_of("googlenet", "tensorrt-rtx", "fp16", "compute-graph", 1024) == (
        35144, KNOWN["googlenet", "tensorrt-rtx", "fp16"][0].words,
    )  # fmt: skip
    fp32 = known_of("alexnet", "tensorrt-rtx", "fp32", "compute-graph", 64)
    assert fp32 is not None and fp32[0] == 48714 and "TF32 in fact" in fp32[1]
    assert known_of("alexnet", "onnxruntime", "fp32", "compute-graph", 64) == (
        12925, "CUDA provider, IO binding, no copies, no graph, TF32 off, 224²",
    )  # fmt: skip
    assert known_of("alexnet", "tensorrt-rtx", "fp16", "compute", 1) is None, "another mode"
    assert known_of("alexnet", "tensorrt-rtx", "fp16", "compute-graph", 3) is None
    table = markdown([line(1024, 1024 / 218.804)])
    assert "H100, by hand" in table and "| 109,402 (2.00 ×) |" in table


def rehearse(tmp_path: Path, *options: str) -> dict[str, Any]:
    net = tmp_path / "net.onnx"
    if not net.exists():
        onnx.save(conv_net(), net)
    arguments = [str(tmp_path / "out"), "--models", str(net), "--families", "null", "--device", "cpu", *options]
    assert bench_tables.main([*arguments, "--duration", "0.01"]) == 0
    found: dict[str, Any] = json.loads((tmp_path / "out" / "bench_tables.json").read_text())
    return found


@pytest.mark.slow
def test_a_rehearsal_writes_every_line_and_a_later_call_adds_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rehearse(tmp_path, "--batches", "1,4", "--precisions", "fp32,tf32")
    assert [(x["precision"], x["batch"], bool(x["images_per_s"]), bool(x["problem"])) for x in found["lines"]] == [
        ("fp32", 1, True, False), ("fp32", 4, True, False), ("tf32", 1, False, True), ("tf32", 4, False, True),
    ]  # fmt: skip
    assert all(x["problem"] == "There is no TF32 arithmetic on a CPU." for x in found["lines"][2:])
    assert not found["left_out"] and str(tmp_path) not in found["command"]
    monkeypatch.setenv(VARIABLE, json.dumps({"fail_from_batch": 3, "compute_ms": 5.0}))
    found = rehearse(tmp_path, "--batches", "1", "--append", "--ladder")
    assert [(x["precision"], x["batch"]) for x in found["lines"]] == [
        ("fp32", 1), ("fp32", 2), ("fp32", 4), ("tf32", 1), ("tf32", 4),
    ]  # fmt: skip
    assert found["lines"][0]["compute_ms"] > 5 > found["lines"][2]["compute_ms"], "measured anew, and kept"
    (ladder,) = found["ladders"]
    assert (
        ladder["what"] == "net fp32, null, compute, ladder"
        and ladder["largest"] == 2
        and "out of memory" in ladder["stopped"]
    )
    text = (tmp_path / "out" / "bench_tables.md").read_text()
    assert text.count("\n| net |") == len(found["lines"]) and "Largest batch:" in text


def test_when_the_seconds_are_up_it_says_what_was_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, now = bench_tables.measuring, [0.0]

    def slow(*arguments: Any) -> Any:
        measure = real(*arguments)

        def one(prepared: Any, target: Any, settings: Any, seconds: float | None) -> Any:
            assert seconds is not None and seconds <= 100 - now[0], "an attempt gets no more than what is left"
            now[0] += 48
            return measure(prepared, target, settings, seconds)

        return one

    tables = bench_tables.Tables
    monkeypatch.setattr(bench_tables, "measuring", slow)
    monkeypatch.setattr(bench_tables, "Tables", lambda *given: tables(*given, clock=lambda: now[0]))
    options = ("--batches", "1,2,4", "--precisions", "fp32,fp16", "--seconds-budget", "100")
    found = rehearse(tmp_path, *options)
    assert [(x["precision"], x["batch"]) for x in found["lines"]] == [("fp32", 1), ("fp32", 2)]
    assert found["left_out"] == ["net fp32, null, compute, batches 4", "net fp16, null, compute, batches 1, 2, 4"]
    assert "* net fp32, null, compute, batches 4" in (tmp_path / "out" / "bench_tables.md").read_text()


def test_on_a_gpu_graphs_are_measured_at_every_batch_and_plain_launches_at_one(tmp_path: Path) -> None:
    parser_made = bench_tables.arguments_of([str(tmp_path), "--batches", "1,64", "--models", "alexnet", "--ladder"])
    parts = list(bench_tables.Tables(parser_made, Device("cuda"), []).parts())
    assert [part.text for part in parts][:4] == [
        "alexnet fp16, tensorrt-rtx, compute-graph, batches 1, 64",
        "alexnet fp16, tensorrt-rtx, compute, batches 1",
        "alexnet fp16, onnxruntime, compute-graph, batches 1, 64",
        "alexnet fp16, onnxruntime, compute, batches 1",
    ]
    assert sorted({(part.family, part.precision) for part in parts}) == [
        ("onnxruntime", "fp16"), ("onnxruntime", "fp32"),
        *(("tensorrt-rtx", precision) for precision in ("fp16", "fp32", "fp8", "tf32")),
    ]  # fmt: skip
    assert [part.batches for part in parts[-6:]] == [()] * 6 and parts[-7].batches, "ladders come last"
