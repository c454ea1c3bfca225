"""ONNX Runtime under the clock: its real IO binding in host memory, with streams of the pretended GPU around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.backends.cuda_stand_in import Device, Runtime
from tests.backends.test_cuda_timed import VirtualTime, warm
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.model import TensorSpec
from trtkit.backends import cuda_bandwidth, cuda_driver, cuda_timed, ort, ort_cuda_timed
from trtkit.backends.cuda_timed import CudaTimed
from trtkit.backends.ort_cuda_timed import OrtWork
from trtkit.errors import PlanError, RunError

ENDS = ((TensorSpec("x", "float32", ("N", 3)),), (TensorSpec("y", "float32", ("N", 3)),))
SETS = [{"x": np.full((4, 3), value, np.float32)} for value in (1, 2, 3)]


class Made:
    """Sessions that were asked for, and the options of each."""

    def __init__(self, folder: Path, output_dim: str = "N", refuse: str | None = None) -> None:
        graph = helper.make_graph(
            [helper.make_node("Add", ["x", "x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [output_dim, 3])],
        )
        self.path = folder / "double.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), self.path)
        self.options: list[dict[str, str]] = []
        self._refuse = refuse

    def __call__(self, options: Mapping[str, str]) -> Any:
        self.options.append(dict(options))
        if self._refuse in options:
            raise PlanError("ONNX Runtime refuses double.onnx: a node is not on CUDA", hint="Mend it.")
        return ort.session(self.path)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    made = Runtime(Device(l2_bytes=48))
    monkeypatch.setattr(cuda_driver, "bindings", lambda: made)
    monkeypatch.setattr(cuda_timed, "time", VirtualTime(made.device))
    monkeypatch.setattr(cuda_bandwidth, "_BYTES", 2**16)
    return made


def chosen(mode: str, **more: Any) -> BenchSettings:
    return BenchSettings(**{"mode": mode, "batch": 4, "shapes": {"x": (4, 3)}, **more})


def timed_on_host(make: Any, settings: BenchSettings, ends: Any = ENDS, sets: Any = SETS) -> CudaTimed:
    return CudaTimed(lambda stream: OrtWork(make, ends, settings, stream, device="cpu"), sets, settings)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_computes(tmp_path: Path, runtime: Runtime, mode: str) -> None:
    make, settings = Made(tmp_path), chosen(mode)
    with timed_on_host(make, settings) as timed:
        warm(timed, settings)
        for iteration in range(5):
            slot = iteration % 2
            timed.issue(slot)
            timed.finish(slot)
            np.testing.assert_array_equal(timed.outputs(slot)["y"], 2 * SETS[timed.set_of(slot)]["x"])
        facts = dict(timed.facts)
    assert runtime.left == {}
    handle = make.options[0]["user_compute_stream"]
    assert int(handle) > 1000 and len(make.options) == 1
    assert ("enable_cuda_graph" in make.options[0]) is (mode == "compute-graph")
    assert facts["graph"] is (mode == "compute-graph")
    assert facts["buffers"] == (1 if mode == "compute-graph" else 2)
    if mode == "compute-graph":
        assert facts["graph_by"] == "onnxruntime"
    if mode in ("transfers", "overlapped"):
        assert "ONNX Runtime captures CUDA graphs itself" in facts["graph_problem"]


@pytest.mark.parametrize(
    ("mode", "refuse", "graph"),
    [("compute-graph", None, "1"), ("compute-graph", "enable_cuda_graph", "-1")]
    + [(mode, None, "-1") for mode in MODES if mode != "compute-graph"],
)
def test_run_options_keep_it_from_waiting_and_name_the_graph_or_that_there_is_none(
    tmp_path: Path, runtime: Runtime, mode: str, refuse: str | None, graph: str
) -> None:
    with timed_on_host(Made(tmp_path, refuse=refuse), chosen(mode)) as timed:
        options = timed._work._options
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        assert options.get_run_config_entry("gpu_graph_id") == graph


def test_a_model_that_onnxruntime_cannot_capture_runs_without(tmp_path: Path, runtime: Runtime) -> None:
    make = Made(tmp_path, refuse="enable_cuda_graph")
    settings = chosen("compute-graph")
    with timed_on_host(make, settings) as timed:
        warm(timed, settings)
        assert timed.facts["graph"] is False and "a node is not on CUDA" in timed.facts["graph_problem"]
    assert [sorted(options) for options in make.options] == [
        ["enable_cuda_graph", "user_compute_stream"],
        ["user_compute_stream"],
    ]


@pytest.mark.parametrize("mode", ["compute", "compute-graph"])
def test_output_shapes_that_names_do_not_tell_are_observed(tmp_path: Path, runtime: Runtime, mode: str) -> None:
    ends = (ENDS[0], (TensorSpec("y", "float32", ("unk__1", 3)),))
    with timed_on_host(Made(tmp_path, "unk__1"), chosen(mode), ends) as timed:
        assert timed.facts["output_bytes"] == 48


def test_a_provider_that_fell_back_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    with pytest.raises(RunError, match="started CPUExecutionProvider instead of CUDAExecutionProvider"):
        ort_cuda_timed.timed(Made(tmp_path), ENDS, SETS, chosen("compute")).__enter__()
    assert runtime.left == {}


def test_a_shape_that_was_not_given_is_named(tmp_path: Path, runtime: Runtime) -> None:
    with pytest.raises(RunError, match="No shape was given for x float32 N×3"):
        timed_on_host(Made(tmp_path), chosen("compute", shapes={})).__enter__()


def test_a_failing_run_is_an_error_with_its_words(tmp_path: Path, runtime: Runtime) -> None:
    with timed_on_host(Made(tmp_path), chosen("compute")) as timed:
        timed._work._bindings[0] = timed._work._session.io_binding()  # nothing bound
        with pytest.raises(RunError, match="ONNX Runtime failed while executing the model"):
            timed.issue(0)
