"""A study from matrix to page: real conversions of a small model on the CPU, real and scripted benchmarks, a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.pipeline.test_bench_rows import Notes
from tests.report.studies import bench_result
from trtkit.artifacts.files import write_json
from trtkit.artifacts.finding import Finding
from trtkit.artifacts.scale import ALONE, TOGETHER, Phase, ScaleResult, Share
from trtkit.artifacts.study import Study
from trtkit.artifacts.sweep import Attempt, Sweep
from trtkit.errors import RunError, UsageError
from trtkit.pipeline.bench_request import BenchmarkRequest, BenchmarkResult, Run
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.scaling import Scaled, ScalingRequest
from trtkit.pipeline.study import left_of, study
from trtkit.pipeline.study_request import StudyRequest, estimate, plan_of

QUICK: dict[str, object] = {"warmup_s": 0.0, "duration_s": 0.05, "max_duration_s": 0.1}


def small_model(path: Path) -> Path:
    """A convolution and a classifier on 8 × 8 pixels."""
    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["f"], name="flat"),
            helper.make_node("Gemm", ["f", "g"], ["y"], name="classes"),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [
            numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "w"),
            numpy_helper.from_array(rng.standard_normal((4, 5)).astype(np.float32), "g"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


class Scripted:
    """A stand-in for ``bench``: invented samples, and failures where it is told."""

    def __init__(self, fails: Callable[[BenchmarkRequest], bool] = lambda request: False) -> None:
        self.asked: list[BenchmarkRequest] = []
        self._fails = fails

    def __call__(self, request: BenchmarkRequest, listener: Listener) -> BenchmarkResult:
        self.asked.append(request)
        if self._fails(request):
            raise RunError("CUDA failure 2: out of memory; 81 GiB needed.", hint="Take a smaller batch.")
        batches = (1, 2, 4) if request.ladder else request.batches
        runs = []
        for batch in batches:
            result = bench_result("small", "fp32", batch, request.modes[0], "cpu", peak=None)
            file = request.output / f"{len(self.asked)}.b{batch}.bench.json"
            write_json(file, result.to_json())
            runs.append(Run(result, file))
        attempts = (Attempt(8, "failed", "host_memory", "a tensor of 3 GiB does not fit"),) if request.ladder else ()
        sweep = Sweep(
            "k", "small", "fp32", "onnxruntime", "cpu", "compute", "none", attempts=attempts, stopped="Memory."
        )
        return BenchmarkResult(tuple(runs), (sweep,) if request.ladder else (), (), "because", 0.1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "small.onnx")


def request_for(model: Path, tmp_path: Path, **changes: object) -> StudyRequest:
    chosen: dict[str, object] = {
        "models": (str(model),),
        "precisions": ("fp32",),
        "batches": (1, 2),
        "devices": "cpu",
        "settings": QUICK,
        "output": tmp_path / "study",
        "synthetic": 8,
        "command": ("trtkit", "study"),
    }
    return StudyRequest(**{**chosen, **changes})  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_whole_study_on_the_cpu(model: Path, tmp_path: Path) -> None:
    result = study(request_for(model, tmp_path, precisions=("fp32", "int8", "tf32")))
    folder = tmp_path / "study"
    assert {path.name for path in folder.iterdir()} >= {"results.json", "results.csv", "report.html", "figures", "runs"}
    saved = Study.read(folder)
    assert saved == result.study
    by_precision = {p: [c for c in saved.cells if c.spec.precision == p] for p in ("fp32", "int8", "tf32")}
    assert all(cell.status == "done" and cell.images_per_s for p in ("fp32", "int8") for cell in by_precision[p])
    for cell in by_precision["fp32"]:
        assert cell.run is not None
        raw = json.loads((folder / cell.run.file).read_text())
        saved_rate = raw["summary"]["throughput_images_per_s"]  # of samples rounded to 0.1 µs
        assert saved_rate == pytest.approx(cell.images_per_s, rel=1e-4)
    int8 = saved.artifact(str(model), "int8")
    assert int8 is not None and int8.accuracy is not None and int8.accuracy.synthetic
    assert "synthetic" in str(int8.calibrated_on) and int8.observed is not None and "on this CPU" in str(int8.proof)
    assert by_precision["int8"][0].run is not None
    assert by_precision["int8"][0].run.subject.observed == int8.observed, "INT8 as what it really is here"
    assert all(cell.status == "gap" and cell.reason for cell in by_precision["tf32"]), "a CPU has no TF32"
    page = result.page.read_text(encoding="utf-8")
    assert "small.onnx" in page and "synthetic" in page


def test_finished_cells_are_kept_and_failed_ones_tried_again(model: Path, tmp_path: Path) -> None:
    first = Scripted(lambda request: request.batches == (2,))
    found = study(request_for(model, tmp_path), run=first)
    assert [cell.verdict for cell in found.study.cells] == ["valid", "failed"]
    assert found.study.cells[1].kind == "host_memory" and "out of memory" in str(found.study.cells[1].reason)
    wider = request_for(model, tmp_path, batches=(1, 2, 4))
    assert left_of(wider, plan_of(wider)[0]) == 2, "batch 1 is done"
    second = Scripted()
    again = study(request_for(model, tmp_path, batches=(1, 2, 4)), run=second)
    assert [request.batches for request in second.asked] == [(2,), (4,)]
    assert [cell.verdict for cell in again.study.cells] == ["valid", "valid", "valid"]
    assert again.study.created == found.study.created
    third = Scripted()
    study(request_for(model, tmp_path, force=True), run=third)
    assert len(third.asked) == 2


def test_cells_that_a_smaller_matrix_drops_are_told(model: Path, tmp_path: Path) -> None:
    study(request_for(model, tmp_path), run=Scripted())
    told = Notes()
    study(request_for(model, tmp_path, batches=(2,)), told, run=Scripted())
    assert any("1 of them are not in this matrix and leave the page" in note for note in told.notes)


def test_a_study_under_other_conditions_is_another_study(model: Path, tmp_path: Path) -> None:
    study(request_for(model, tmp_path, batches=(1,)), run=Scripted())
    with pytest.raises(UsageError, match=r"holds a study whose setting duration_s was 0\.05, and now it is 9"):
        study(request_for(model, tmp_path, settings={"duration_s": 9.0}), run=Scripted())


def test_a_ladder_leaves_its_steps_and_its_end(model: Path, tmp_path: Path) -> None:
    found = study(request_for(model, tmp_path, batches=(1, None), sweep_limit=64), run=Scripted())
    cells = {cell.spec.batch: cell for cell in found.study.cells}
    assert set(cells) == {1, None, 2, 4, 8}
    assert cells[8].verdict == "failed" and cells[8].kind == "host_memory"
    assert cells[None].run is not None and cells[None].run.settings.batch == 4 and cells[None].reason == "Memory."
    again = Scripted()
    assert study(request_for(model, tmp_path, batches=(1, None), sweep_limit=64), run=again).study.cells
    assert again.asked == []


def test_a_ladder_goes_on_from_the_listed_batches(model: Path, tmp_path: Path) -> None:
    machine = Scripted(lambda request: request.batches == (512,))
    wanted = request_for(model, tmp_path, batches=(None, 2, 512, 1), sweep_within=0.05)
    found = study(wanted, run=machine)
    asked = machine.asked[-1]
    assert [request.batches for request in machine.asked] == [(2,), (512,), (1,), ()], "auto comes last"
    assert [request.ahead for request in machine.asked] == [(2, 512, 1), (), (), ()], "made ready before the first"
    assert asked.ladder and asked.sweep_within == found.study.plan.sweep_within == 0.05
    known = {attempt.batch: attempt for attempt in asked.known}
    assert {batch: attempt.outcome for batch, attempt in known.items()} == {
        2: "measured", 512: "failed", 1: "measured",
    }  # fmt: skip
    assert known[512].reason == "host_memory" and "out of memory" in known[512].text
    assert (asked.output / str(known[2].file)).exists() and known[2].images_per_s
    for within, left in ((0.1, 0), (0.05, 0), (0.0, 1)):
        wanted = request_for(model, tmp_path, batches=(1, 2, None), sweep_within=within)
        assert left_of(wanted, plan_of(wanted)[0]) == left, "only what is asked for more closely is looked for again"


@pytest.mark.slow
def test_a_real_ladder_takes_over_the_listed_measurement(model: Path, tmp_path: Path) -> None:
    found = study(request_for(model, tmp_path, batches=(2, None), sweep_limit=3))
    cells = {cell.spec.batch: cell for cell in found.study.cells}
    assert set(cells) == {2, None, 3}, "the ladder is 2, 3"
    (state,) = (tmp_path / "study" / "runs").rglob("*.sweep.json")
    sweep = Sweep.read(state)
    assert [attempt.batch for attempt in sweep.attempts] == [2, 3]
    assert cells[2].run is not None and Path(cells[2].run.file).name == sweep.attempts[0].file
    assert cells[None].reason == "batch 3 is the largest that was to be tried (--sweep-limit)"


def test_devices_at_work_together(model: Path, tmp_path: Path) -> None:
    def together(asked: ScalingRequest, listener: Listener) -> tuple[Scaled, ...]:
        assert asked.bench.devices == "cpu:0/2,cpu:1/2" and asked.bench.batches == (2,)
        shares = []
        for number, ms in enumerate((4.0, 5.0)):
            result = bench_result("small", "fp32", 2, device=f"cpu:{number}/2", iteration_ms=ms, spread=0, count=100)
            phases = {name: Phase(name, 100.0, 0.2, result) for name in (TOGETHER, *ALONE)}
            shares.append(Share(f"cpu:{number}/2", "CPU", "here", 0, phases))
        found = ScaleResult(tuple(shares), findings=(Finding("slow", "cpu:1/2 is 20% slow", "Look at it."),))
        file = asked.bench.output / "x.scale.json"
        write_json(file, found.to_json())
        return (Scaled(found, file),)

    wanted = request_for(model, tmp_path, devices="cpu*2")
    cells = study(wanted, run=Scripted(), together=together).study.cells
    assert [cell.spec.device for cell in cells] == ["cpu:0/2"] * 2 + ["cpu:1/2"] * 2 + ["cpu:0/2+cpu:1/2"]
    scaling = cells[-1].scaling
    assert scaling is not None and scaling.total_images_per_s == pytest.approx(2 / 4e-3 + 2 / 5e-3)
    assert scaling.efficiency == pytest.approx(1.0) and scaling.cause == "cpu:1/2 is 20% slow"
    assert scaling.file == Path(scaling.file).as_posix() and (tmp_path / "study" / scaling.file).exists()
    page = (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    assert "figure-scaling-1" in page and "cpu:1/2 is 20% slow." in page


@pytest.mark.slow
def test_a_kill_loses_the_cell_in_flight_at_most(model: Path, tmp_path: Path) -> None:
    words = ["-p", "fp32", "--batch", "1,2,4", "--devices", "cpu", "--duration", "0.1", "--max-duration", "0.2"]
    command = [sys.executable, "-m", "trtkit", "study", "--models", str(model), *words, "-o", str(tmp_path / "killed")]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}

    def done() -> dict[str, str]:
        try:
            cells = Study.read(tmp_path / "killed").cells
        except Exception:  # it is not there yet
            return {}
        return {cell.spec.id: cell.run.created + str(cell.images_per_s) for cell in cells if cell.run is not None}

    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = done()
    assert 0 < len(before) < 3
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr
    after = done()
    assert len(after) == 3 and before.items() <= after.items(), "what was measured is kept"
    assert "going on with the study" in " ".join(finished.stderr.split())


def test_the_plan_and_its_estimate(model: Path, tmp_path: Path) -> None:
    plan, places = plan_of(request_for(model, tmp_path, quick=True, batches=(), settings={}))
    assert plan.batches == (1, 4, 8) and plan.modes == ("compute",) and len(places) == 1
    short = estimate(plan, 3)
    whole = estimate(plan_of(request_for(model, tmp_path, settings={}))[0], 2)
    assert 0 < short.low_s < short.high_s and whole.high_s > short.high_s
    assert estimate(plan, 0).low_s == 0
    ladder, listed, coarse = (
        estimate(plan_of(request_for(model, tmp_path, **changes))[0], 1)
        for changes in ({"batches": (None,)}, {"batches": (512, None)}, {"batches": (512, None), "sweep_within": 0.05})
    )
    assert ladder.low_s > listed.low_s == coarse.low_s and ladder.high_s > listed.high_s > coarse.high_s


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"models": ()}, "needs a model"),
        ({"models": ("nowhere.onnx",)}, "neither a definition nor a file"),
        ({"precisions": ("fp13",)}, "no precision 'fp13'"),
        ({"precisions": ("fp32", "fp32")}, "named twice"),
        ({"modes": ("overlapped",)}, "On a CPU"),
        ({"batches": (0,)}, "count from 1"),
        ({"latency_budget_ms": 0.0}, "above 0 ms"),
        ({"settings": {"speed": 9}}, "no setting 'speed'"),
        ({"devices": "tpu"}, "no device"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_runs(
    model: Path, tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        study(request_for(model, tmp_path, **changes), run=Scripted())
    assert not (tmp_path / "study").exists()
