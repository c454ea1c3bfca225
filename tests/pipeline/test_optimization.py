"""optimize and --rewrite auto, for real on ONNX Runtime's CPU: measured, remembered, interrupted, without a GPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from tests.graph.rewrites.oracle import agree, net, node, normal, ops
from tests.pipeline.conversions import asked, everything, saved
from tests.pipeline.small_calibration import Notes
from trtkit.artifacts.files import read_json
from trtkit.artifacts.rewrites import RewriteReport
from trtkit.errors import ModelError, RunError, UsageError
from trtkit.graph.rewrites import ALL
from trtkit.pipeline import rewrite_ground
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.optimization import OptimizeRequest, explain, optimize, report_path
from trtkit.stages.export import SourceRequest

ORT_CPU = "onnxruntime:cpu"


def heavy():
    """An LRN that takes nearly all of the time in ONNX Runtime, behind a stem."""
    weights = {"w": normal(64, 3, 3, 3, scale=0.2), "b": normal(64)}
    nodes = [
        node("Conv", ["x", "w", "b"], "c", "conv1", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("LRN", ["c"], "n", "norm1", size=5),
        node("GlobalAveragePool", ["n"], "y", "pool"),
    ]
    return net(nodes, {"x": ("N", 3, 96, 96)}, weights)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(heavy(), tmp_path / "source")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "trtkit" / "rewrites"


def request(model: Path | str, output: Path, **changes: object) -> OptimizeRequest:
    return OptimizeRequest(SourceRequest(str(model)), output, **{"target": ORT_CPU, **changes})


def test_the_result_computes_the_same_and_its_report_says_how_it_was_checked(model, tmp_path):
    done = optimize(request(model, tmp_path / "out" / "faster.onnx"))
    assert everything(tmp_path / "out") == {"faster.onnx", "faster.rewrites.json"}
    made = onnx.load(done.onnx.path)
    agree(heavy(), made)
    assert "LRN" not in ops(made) and done.report.names == ("lrn_band",) and done.target == ORT_CPU
    record = read_json(done.report_path)
    assert RewriteReport.from_json(record["report"]) == done.report
    assert record["onnx"]["sha256"] == done.onnx.sha256 and record["target"] == ORT_CPU
    assert json.loads(json.dumps(done.to_json()))["kept"] == ["lrn_band"]
    # Once more over the result: nothing is left to be done.
    again = optimize(request(done.onnx.path, tmp_path / "out" / "again.onnx"))
    assert again.report.kept == () and ops(onnx.load(again.onnx.path)) == ops(made)


def test_the_target_decides_what_is_safe(model, tmp_path):
    gpu = optimize(request(model, tmp_path / "gpu.onnx", target="tensorrt-rtx:9.0"))
    assert gpu.report.names == ("lrn_band", "stem_space_to_depth_16")
    agree(heavy(), onnx.load(gpu.onnx.path))
    none = optimize(request(model, tmp_path / "none.onnx", rewrite="none"))
    assert none.report.rewrites == () and ops(onnx.load(none.onnx.path)) == ops(heavy())


def test_an_interface_changes_only_when_asked(tmp_path):
    done = optimize(request("squeezenet1_1", tmp_path / "pixels.onnx", rewrite="uint8_nhwc_input"))
    (given,) = done.onnx.inputs
    assert (given.dtype, given.shape) == ("uint8", ("N", 224, 224, 3)) and done.report.kept[0].difference < 1e-5
    plain = optimize(request("squeezenet1_1", tmp_path / "plain.onnx", target="tensorrt-rtx"))
    assert plain.onnx.inputs[0].shape == ("N", 3, 224, 224)


@pytest.mark.usefixtures("short_contests")
def test_auto_measures_once_and_remembers(model, tmp_path, cache, monkeypatch):
    first = optimize(request(model, tmp_path / "a.onnx", rewrite="auto", batch="4"))
    (band,) = [item for item in first.report.rewrites if item.name == "lrn_band"]
    assert band.kept and band.gain > 1.2 and band.gain_interval[0] > 1 and "batch 4" in band.gain_source
    assert "measured contests" in first.report.chosen_because
    kept = sorted(cache.glob("*.json"))
    assert kept and all(read_json(path)["gain"] > 0 for path in kept)

    def never(*args: object, **options: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(rewrite_ground, "contest", never)
    second = optimize(request(model, tmp_path / "b.onnx", rewrite="auto", batch="4"))
    assert second.report.names == first.report.names and "remembered contests" in second.report.chosen_because
    assert second.onnx.sha256 == first.onnx.sha256
    # The same regions in another file are the same contest; in convert too.
    plan = convert(asked(model, tmp_path / "plans", family="onnxruntime", batch="4", rewrite="auto"))
    assert plan.manifest.rewrites.names == first.report.names
    # Another batch is another contest, and a damaged memory is none.
    with pytest.raises(AssertionError, match="measured again"):
        optimize(request(model, tmp_path / "c.onnx", rewrite="auto", batch="5"))
    for path in kept:
        path.write_text("{}")
    with pytest.raises(AssertionError, match="measured again"):
        optimize(request(model, tmp_path / "c.onnx", rewrite="auto", batch="4"))
    assert not (tmp_path / "c.onnx").exists()


def test_what_cannot_be_executed_has_lost(model, tmp_path, monkeypatch):
    def breaks(*args: object, **options: object) -> None:
        raise RunError("The worker process was killed by SIGKILL.", hint="Free memory.")

    monkeypatch.setattr(rewrite_ground, "contest", breaks)
    done = optimize(request(model, tmp_path / "a.onnx", rewrite="auto"))
    assert done.report.names == ("lrn_band",)  # where nothing is known the safe ones stay
    stem = next(item for item in done.report.rewrites if item.name == "stem_space_to_depth")
    assert not stem.kept and "could not be measured: The worker process was killed" in stem.reason


def test_the_time_is_kept(model, tmp_path):
    notes = Notes()
    done = optimize(request(model, tmp_path / "a.onnx", rewrite="auto", seconds=0.0), notes)
    assert done.report.names == ("lrn_band",) and any("time for measuring" in text for text in notes.texts)


def test_without_a_gpu_auto_falls_back_and_says_so(model, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    notes = Notes()
    done = optimize(request(model, tmp_path / "a.onnx", rewrite="auto", target="tensorrt-rtx"), notes)
    if any("cannot measure here" in text for text in notes.texts):
        assert done.report.names == ("lrn_band", "stem_space_to_depth_16")
        assert "auto could not measure here" in done.report.chosen_because
    else:
        assert "contests" in done.report.chosen_because


@pytest.mark.usefixtures("short_contests")
def test_a_rewrite_that_fails_does_not_end_the_search(model, tmp_path, monkeypatch):
    class Broken(type(ALL["merge_parallel_1x1"])):
        def edits(self, graph):
            raise ValueError("need at least one array")
            yield

    monkeypatch.setitem(ALL, "merge_parallel_1x1", Broken())
    notes = Notes()
    done = optimize(request(model, tmp_path / "a.onnx", rewrite="auto", batch="4"), notes)
    assert "lrn_band" in done.report.names
    told = [text for text in notes.texts if "merge_parallel_1x1" in text]
    assert len(told) == 1 and "bug in trtkit (ValueError: need at least" in told[0]


def test_explain_lists_every_rewrite_and_its_places(model):
    rows = {row["rewrite"]: row for row in explain(SourceRequest(str(model)), ORT_CPU)}
    assert rows["lrn_band"]["safe"] and rows["lrn_band"]["places"][0]["anchor"] == "norm1"
    assert not rows["stem_space_to_depth"]["safe"] and rows["stem_space_to_depth"]["places"]
    assert rows["merge_parallel_1x1"]["places"] == [] and rows["uint8_nhwc_input"]["changes_interface"]


def test_refusals(model, tmp_path):
    (tmp_path / "theirs.onnx").write_bytes(b"theirs")
    for changes, message in (
        ({"rewrite": "fastest"}, "no rewrite 'fastest'"),
        ({"target": "tensorflow"}, "no family 'tensorflow'"),
        ({"target": "onnxruntime:tpu"}, "does not run on 'tpu'"),
        ({"target": "tensorrt:x"}, "does not run on 'x'"),
        ({"precision": "fp64"}, "no precision 'fp64'"),
        ({"output": tmp_path / "faster.plan"}, r"does not end in \.onnx"),
        ({"output": tmp_path / "theirs.onnx"}, "no report beside it"),
        ({"output": model}, "written over its source"),
    ):
        with pytest.raises(UsageError, match=message):
            optimize(replace(request(model, tmp_path / "out.onnx"), **changes))
    assert (tmp_path / "theirs.onnx").read_bytes() == b"theirs" and not (tmp_path / "out.onnx").exists()
    optimize(request(model, tmp_path / "theirs.onnx", force=True))
    optimize(request(model, tmp_path / "theirs.onnx"))  # now it is ours
    assert report_path(tmp_path / "theirs.onnx").exists()


def test_a_source_that_is_not_there_is_named_wherever_the_output_is(model, tmp_path):
    optimize(request(model, tmp_path / "ours.onnx"))
    for output in ("ours.onnx", "new.onnx"):
        with pytest.raises(ModelError, match=r"nofile\.onnx does not exist"):
            optimize(request(tmp_path / "nofile.onnx", tmp_path / output))
    assert (tmp_path / "ours.onnx").exists()


def test_a_quantized_model_is_refused(tmp_path):
    weights = {"s": normal() * 0 + 1, "w": normal(4, 4)}
    nodes = [
        node("QuantizeLinear", ["x", "s"], "q", "q"),
        node("DequantizeLinear", ["q", "s"], "d", "d"),
        node("MatMul", ["d", "w"], "y", "m"),
    ]
    with pytest.raises(ModelError, match="quantized already"):
        optimize(request(saved(net(nodes, {"x": ("N", 4)}, weights), tmp_path), tmp_path / "o.onnx"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupted_measurement_leaves_nothing_but_what_is_known(model, tmp_path, cache):
    folder = tmp_path / "out"
    words = [
        "optimize",
        str(model),
        "-o",
        str(folder / "f.onnx"),
        "--for",
        ORT_CPU,
        "--rewrite",
        "auto",
        "--batch",
        "4",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "trtkit", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=dict(os.environ),
    )
    watchdog = threading.Timer(90, process.kill)
    watchdog.start()
    seen = 0
    try:
        assert process.stderr is not None
        for line in process.stderr:
            seen += line.startswith(("Comparing with ", "Comparing without "))
            if seen == 2:  # the first contest is over
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    assert process.returncode == 130 and "Traceback" not in err and out == ""
    assert not folder.exists() or everything(folder) == set()
    assert [read_json(path)["rounds"] >= 6 for path in cache.iterdir()] == [True]
