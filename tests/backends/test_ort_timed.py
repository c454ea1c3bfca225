"""ONNX Runtime's timed path on a CPU: right outputs, rotated inputs, honest times, pinned threads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.contract.test_families import conv_net
from tests.graph.models import model, value
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.profile import OptimizationProfile
from trtkit.backends.base import BuildOptions, LoadOptions
from trtkit.backends.ort import OrtBackend, session
from trtkit.backends.ort_timed import CPU_MODES, OrtTimed, gemm_ops_per_s
from trtkit.errors import ModelError, RunError
from trtkit.measurement import harness

CALM = LoadOptions(on_cpu=True, spinning=False, threads=1, optimize="all")


def sets(count: int, batch: int = 2) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((batch, 3, 8, 8), dtype=np.float32)} for _ in range(count)]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    onnx.save(conv_net(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def timed(net: Path, given: list[dict[str, np.ndarray]], **changes: Any) -> OrtTimed:
    chosen = BenchSettings("compute", len(given[0]["x"]), **changes)
    return OrtTimed(session(net, CALM), given, chosen, CALM)


def test_a_cpu_has_one_mode(net: Path) -> None:
    with OrtBackend().load(net, CALM) as runner:
        assert runner.modes == CPU_MODES == ("compute",)
        assert isinstance(runner.timed(sets(1), BenchSettings("compute", 2)), OrtTimed)


def test_every_iteration_computes_its_own_input_set(net: Path) -> None:
    given = sets(3)
    with OrtBackend().load(net, CALM) as runner, timed(net, given) as path:
        for k in range(5):
            path.issue(0)
            path.finish(0)
            assert path.set_of(0) == k % 3
            np.testing.assert_allclose(path.outputs(0)["y"], runner.run(given[k % 3])["y"], rtol=1e-5, atol=1e-6)


def test_outputs_are_copies(net: Path) -> None:
    with timed(net, sets(2)) as path:
        path.issue(0)
        first = path.outputs(0)["y"]
        kept = first.copy()
        path.issue(0)
        np.testing.assert_array_equal(first, kept)
        assert not np.array_equal(path.outputs(0)["y"], kept)


def test_times_lie_between_the_clocks_of_the_caller(net: Path) -> None:
    with timed(net, sets(1)) as path:
        path.issue(0)
        before = time.monotonic()
        path.issue(1)
        after = time.monotonic()
        found = path.finish(1)
    start, end = (path.epoch_monotonic_s + ms / 1e3 for ms in (found.start_compute_ms, found.end_compute_ms))
    assert before <= start < end <= after
    assert found.start_h2d_ms == found.end_h2d_ms == found.start_compute_ms
    assert found.start_d2h_ms == found.end_d2h_ms == found.end_compute_ms
    assert found.end_enqueue_ms == found.start_enqueue_ms


def test_the_loop_measures_it(net: Path) -> None:
    chosen = BenchSettings("compute", 2, warmup_s=0.02, duration_s=0.1, max_duration_s=0.5)
    with timed(net, sets(2)) as path:
        warm = harness.warm_up(path, chosen)
        timeline, _ = harness.measure(path, chosen)
    assert warm["iterations"] >= 3
    assert warm["seconds"] < 10
    assert len(timeline) >= 10
    assert (np.diff(timeline.column("start_compute_ms")) > 0).all()
    assert 0.09 <= timeline.wall_s < 5


def test_facts_are_those_of_the_session(net: Path) -> None:
    path = timed(net, sets(3))
    assert path.facts["threads"] == 1
    assert path.facts["spinning"] is False
    assert path.facts["optimize"] == "all"
    assert path.facts["buffers"] == 3
    assert path.facts["input_bytes"] == 2 * 3 * 8 * 8 * 4
    assert path.facts["output_bytes"] == 2 * 4 * 4


def test_a_wrong_shape_is_a_run_error(net: Path) -> None:
    with pytest.raises(RunError, match="ONNX Runtime failed") as caught:
        timed(net, [{"x": np.zeros((1, 3, 8), np.float32)}])
    assert caught.value.hint == "Check the input shapes; a smaller batch needs less memory."


def test_a_failure_while_running_is_a_run_error(tmp_path: Path) -> None:
    """An index that is out of range in the second input set only."""
    net = model(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [value("x", ("N",), onnx.TensorProto.INT64)],
        [value("y", ("N", 2))],
        [onnx.numpy_helper.from_array(np.ones((4, 2), np.float32), "table")],
    )
    onnx.save(net, tmp_path / "gather.onnx")
    given = [{"x": np.array([index])} for index in (1, 9)]
    path = OrtTimed(session(tmp_path / "gather.onnx", CALM), given, BenchSettings("compute", 1), CALM)
    path.issue(0)
    with pytest.raises(RunError, match=r"ONNX Runtime failed .*idx=9 must be within") as timed_path:
        path.issue(0)
    with OrtBackend().load(tmp_path / "gather.onnx", CALM) as runner, pytest.raises(RunError) as plain:
        runner.run(given[1])
    assert "--data FILE" in timed_path.value.hint == plain.value.hint, "integers may be indices"


def test_optimizing_all_rewrites_more_than_the_basic_level(net: Path, tmp_path: Path) -> None:
    import onnxruntime as ort

    nodes = {}
    for level in ("basic", "all"):
        made = session(net, LoadOptions(on_cpu=True, optimize=level))  # type: ignore[arg-type]
        nodes[level] = made.get_session_options().graph_optimization_level
    assert nodes["basic"] == ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert nodes["all"] == ort.GraphOptimizationLevel.ORT_ENABLE_ALL


def test_threads_are_pinned_only_where_there_is_one_processor_for_each(net: Path) -> None:
    entry = "session.intra_op_thread_affinities"
    pinned = session(net, LoadOptions(on_cpu=True, threads=2, affinity=(0, 0))).get_session_options()
    assert pinned.get_session_config_entry(entry) == "1"
    assert pinned.intra_op_num_threads == 2
    free = session(net, LoadOptions(on_cpu=True, threads=2, affinity=(0,))).get_session_options()
    with pytest.raises(RuntimeError):
        free.get_session_config_entry(entry)


def test_a_measured_gemm_is_a_plausible_peak() -> None:
    """Above NumPy's own product on this machine divided by ten, and below what no processor has."""
    a = np.ones((512, 512), np.float32)
    a @ a
    started = time.perf_counter()
    a @ a
    numpy_rate = 2 * 512**3 / (time.perf_counter() - started)
    rate = gemm_ops_per_s(CALM, 0.05)
    assert numpy_rate / 20 < rate < 1e14


def test_a_model_that_cannot_be_loaded_is_the_models_fault(tmp_path: Path) -> None:
    kind = onnx.TensorProto.BFLOAT16  # no kernel on a CPU
    ends = [helper.make_tensor_value_info(name, kind, ["N", 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="r")], "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "b.onnx")
    with pytest.raises(ModelError, match=r"refuses b\.onnx"):
        OrtBackend().build(tmp_path / "b.onnx", tmp_path / "b.plan", BuildOptions(OptimizationProfile({})), Mock())
    assert not (tmp_path / "b.plan").exists()
