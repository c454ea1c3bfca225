"""The fidelity benchmark itself: its table from numbers, its bare loops between stand-ins, its job on a small model."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.backends.cuda_stand_in import Device as PretendedDevice
from tests.backends.cuda_stand_in import Runtime
from tests.backends.test_trt_timed import PROFILE
from tests.backends.trt_api import RTX, TENSORRT_10
from tests.backends.trt_stand_in.module import fill
from tests.backends.trt_stand_in.state import STATE
from tests.perf import bench_fidelity, calls
from tests.perf.bare_loop import BareTrt, alternate
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.errors import RunError

COPIES = {"h2d_bytes_per_s": 55e9, "depth": 2}
FOUND: dict[str, Any] = {
    "model": "googlenet",
    "precision": "fp16",
    "family": "tensorrt-rtx",
    "device": "cuda:0",
    "pairs": {
        "1": {"ours": [100.0, 101.0, 99.5] * 7, "bare": [100.2, 101.1, 99.6] * 7},
        "64": {"ours": [90.0] * 20, "bare": [100.0] * 20},
    },
    "overlap": {
        "64 float32": {"compute-graph": 200.0, "bus": 90.0, "overlapped": 86.0, "transfers": 60.0} | COPIES,
        "64 uint8": {"compute-graph": 200.0, "bus": 360.0, "overlapped": 180.0, "transfers": 150.0} | COPIES,
    },
    "repeats": {"batch": 64, "mode": "compute-graph", "medians_ms": [1.0, 1.004, 1.002], "reasons": [[], [], ["x"]]},
}


class Silence:
    """A reporter that says nothing."""

    def progress(self, phase: str, step: int, steps: int | None, parent: str | None = None) -> None: ...

    def log(self, severity: str, text: str) -> None: ...

    def message(self, kind: str, **values: Any) -> None: ...

    def receive(self, timeout_s: float | None = None) -> None: ...


def test_the_table_judges_every_number_of_the_issue() -> None:
    rows = bench_fidelity.rows_of(FOUND)
    assert [row.met for row in rows] == [True, False, True, False, True]
    assert rows[0].judged == pytest.approx(0.002, rel=0.01)
    assert "ratio 0.9990" in rows[0].note
    assert (rows[2].beside_name, rows[3].beside_name) == ("the bus", "compute-graph")
    assert rows[4].judged == pytest.approx(0.004 / 1.002) and "INVALID: 1" in rows[4].note


def test_every_step_is_written_and_a_later_call_adds_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call that is cut off leaves what it has, one that fails goes on, --append keeps what is not measured anew."""
    states: list[Any] = []

    def pair(made: Any, batch: int, asked: Any) -> dict[str, Any]:
        file = tmp_path / "bench_fidelity.json"
        states.append(list(json.loads(file.read_text())["calls"][-1]["found"]["pairs"]) if file.exists() else None)
        if batch == 4:
            raise RunError("no memory for batch 4", hint="")
        return {"ours": [100.0 + len(states)] * 7, "bare": [100.0] * 7}

    monkeypatch.setattr(bench_fidelity, "_pair", pair)
    common = [str(tmp_path), "--family", "onnxruntime", "--device", "cpu", "--numbers", "1"]
    assert bench_fidelity.main([*common, "--batches", "1,2,4"]) == 1
    assert states == [None, ["1"], ["1", "2"]]
    assert bench_fidelity.main([*common, "--batches", "2,8", "--append"]) == 0
    document = json.loads((tmp_path / "bench_fidelity.json").read_text())
    assert [row["name"].partition("batch ")[2].partition(":")[0] for row in document["rows"]] == ["1", "2", "8"]
    assert [row["judged"] for row in document["rows"]] == pytest.approx([0.01, 0.04, 0.05])
    first, second = document["calls"]
    assert "no memory for batch 4" in next(iter(first["found"]["failed"].values())) and not second["found"]["failed"]
    assert second["command"] == "python -m tests.perf.bench_fidelity OUT " + " ".join(
        [*common[1:], "--batches", "2,8", "--append"]
    )
    text = (tmp_path / "bench_fidelity.md").read_text()
    assert "* 1 kept from `python -m tests.perf.bench_fidelity OUT --family onnxruntime" in text
    assert bench_fidelity.main([*common, "--batches", "8"]) == 0
    assert len(json.loads((tmp_path / "bench_fidelity.json").read_text())["rows"]) == 1, "without --append, anew"


def test_a_row_of_another_environment_says_so(tmp_path: Path) -> None:
    one = calls.call("bench_fidelity", FOUND, ["x", "--append"], "NVIDIA H200")
    other = {**FOUND, "pairs": {"1": FOUND["pairs"]["64"]}, "overlap": {}, "repeats": {}}
    old = {**one, "environment": {**one["environment"], "gpu": "NVIDIA H100", "cores": 3}}
    text = calls.write_calls(tmp_path, "bench_fidelity", "T", [old, {**one, "found": other}], bench_fidelity.rows_of)
    document = json.loads((tmp_path / "bench_fidelity.json").read_text())
    assert len(document["rows"]) == 5 and document["rows"][0]["judged"] == pytest.approx(0.1)
    assert len(document["environment_of_rows"]) == 4
    assert all(facts == {"cores": 3, "gpu": "NVIDIA H100"} for facts in document["environment_of_rows"].values())
    assert text.count("gpu NVIDIA H100") == 5, "four rows, and the list of what was kept"


def test_a_file_from_before_calls_were_kept_is_read(tmp_path: Path) -> None:
    (tmp_path / "bench_fidelity.json").write_text(json.dumps({"environment": {}, "load_average": 1, "found": FOUND}))
    (entry,) = calls.earlier(tmp_path, "bench_fidelity")
    assert entry["found"] == FOUND and calls.earlier(tmp_path / "nowhere", "bench_fidelity") == []
    calls.write_calls(tmp_path, "bench_fidelity", "T", [entry], bench_fidelity.rows_of)
    assert len(json.loads((tmp_path / "bench_fidelity.json").read_text())["rows"]) == 5


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(("module", "recorded"), [("tensorrt", TENSORRT_10), ("tensorrt_rtx", RTX)])
def test_the_bare_loop_speaks_the_vendors_apis(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, recorded: str, kept: bool
) -> None:
    vendor = type(sys)(module)
    fill(vars(vendor), recorded)
    runtime = Runtime(PretendedDevice())
    monkeypatch.setitem(sys.modules, module, vendor)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
    STATE.begin({})
    monkeypatch.setattr(
        STATE, "kernel", lambda stream, reads, writes, effect: runtime.kernel(stream, "x", 1e-3, reads, writes, effect)
    )
    tensors = [("x", "INPUT", "FLOAT", [-1, 3]), ("y", "OUTPUT", "FLOAT", [-1, 3])]
    book_of = vars(vendor)["ICudaEngine"]
    monkeypatch.setattr(
        vars(vendor)["Runtime"],
        "deserialize_cuda_engine",
        lambda self, data: book_of(self._logger, tensors, PROFILE),
    )
    plan = tmp_path / "x.plan"
    plan.write_bytes(b"plan")
    kernels = tmp_path / "kernels"
    kernels.write_text('["conv"]')
    sets = [{"x": np.full((3, 3), value, np.float32)} for value in (1, 2)]
    loop = BareTrt(module, plan, sets, kernels if kept else None)
    assert loop.run(50) == pytest.approx(50e-3, rel=1e-2)
    loop.close()
    assert runtime.left == {}
    assert runtime.calls.count("cudaGraphLaunch") == 50


@pytest.mark.parametrize("kernels", [None, "kernels"], ids=["no kernels", "kernels"])
def test_both_sides_are_run_in_turn(tmp_path: Path, kernels: str | None) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
    )
    path = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    found = alternate(
        Silence(),
        family="onnxruntime",
        plan=str(path),
        device=asdict(Device("cpu")),
        settings=BenchSettings("compute", 4, threads=1, spinning=False, warmup_s=0.01).to_json(),
        rounds=3,
        seconds=0.02,
        runtime_cache=kernels,
    )
    assert len(found["ours"]) == len(found["bare"]) == 3
    assert all(rate > 0 for rate in (*found["ours"], *found["bare"]))
    assert found["facts"]["buffers"] >= 1
