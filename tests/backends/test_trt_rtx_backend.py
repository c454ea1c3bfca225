"""The ``tensorrt-rtx`` family with the real library, on the CPU; GPUs are pretended only where the driver is asked."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.backends.trt_stand_in import Scenario
from trtkit import worker
from trtkit.artifacts.plan_header import read_header
from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.backends import registry
from trtkit.backends.base import BuildOptions, BuildOutcome, Capabilities
from trtkit.errors import BackendUnavailableError, BuildError, ModelError, TrtkitError, UsageError
from trtkit.worker import Progress

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx has no wheel for this platform"
)
PROFILE = OptimizationProfile({"x": ShapeRange((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))})
ALL = ("8.0", "8.6", "8.9", "12.0")


def save(path: Path, *nodes: onnx.NodeProto, output: list[Any], weights: dict[str, np.ndarray]) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture
def convolution(tmp_path: Path) -> Path:
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3), dtype=np.float32)
    conv = helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1])
    relu = helper.make_node("Relu", ["c"], ["y"], name="relu")
    return save(tmp_path / "conv.onnx", conv, relu, output=["N", 4, 8, 8], weights={"w": weight})


def build(onnx_path: Path, *, on_event: Any = None, **options: Any) -> BuildOutcome:
    answer = worker.run(
        "trtkit.backends.jobs:build",
        {
            "family": "tensorrt-rtx",
            "onnx": str(onnx_path),
            "plan": str(onnx_path.with_suffix(".plan")),
            "options": BuildOptions(**{"profile": PROFILE, **options}).to_json(),
        },
        what="the build under test",
        died=BuildError,
        env=registry.worker_env("tensorrt-rtx"),
        on_event=on_event,
    )
    return BuildOutcome.from_json(answer.value)


def play(*scenarios: Scenario, version: str | None = None) -> list[dict[str, Any]]:
    """Jobs of the real library before pretended GPUs, in one worker."""
    return worker.run(
        "tests.backends.trt_stand_in.jobs:run",
        {"scenarios": [asdict(scenario) for scenario in scenarios], "family": "tensorrt-rtx", "version": version},
        what="the probe under test",
        env=registry.worker_env("tensorrt-rtx"),
    ).value


def probed(compute_capability: str | None, version: str = "1.7.1.116") -> Capabilities:
    (answer,) = play(Scenario("probe", compute_capability=compute_capability), version=version)
    return Capabilities.from_json(answer["value"])


def test_without_a_gpu_it_builds_for_four_targets() -> None:
    can = probed(None)
    assert can.cannot_build is None and can.device is None
    assert can.cannot_run is not None and "no CUDA device" in can.cannot_run and can.way_out is not None
    assert can.targets == tuple(sorted(can.targets, key=lambda target: tuple(map(int, target.split(".")))))
    assert {"7.5", *ALL} <= set(can.targets)
    assert can.default_targets == ALL, "7.5 has no FP32 matrix product"
    assert can.targets_for("int8", ()) == ()  # the default ones, all of them
    with pytest.raises(UsageError, match=r"has no INT8 for compute capability 7\.5: 8\.0 is the first"):
        can.targets_for("int8", ("7.5", "8.6"))
    never = {"timing_cache", "version_compatible", "hardware_compatibility"}
    assert set(can.refused) == never | {"refit", "strip_weights"}  # the last two need a GPU that it can use


def test_hopper_runs_up_to_1_6_and_not_after() -> None:
    newer, older = probed("9.0", "1.7.1.116"), probed("9.0", "1.6.1.120")
    assert newer.cannot_build is None and newer.device is None and newer.default_targets == ALL
    assert newer.cannot_run == "TensorRT-RTX 1.7.1.116 does not run on Pretended GPU (compute capability 9.0)"
    assert newer.way_out is not None and "tensorrt-rtx-cu13==1.6.1.120" in newer.way_out
    assert (older.cannot_run, older.way_out) == (None, None)
    assert older.device == "Pretended GPU (compute capability 9.0)" and older.default_targets == ("current",)
    older.check(BuildOptions(PROFILE, compute_capability=("current",)))
    with pytest.raises(UsageError, match=r"current needs a GPU that tensorrt-rtx can use: .* does not run on"):
        newer.check(BuildOptions(PROFILE, compute_capability=("current",)))


def test_a_gpu_without_a_target_cannot_run_and_one_with_is_the_default() -> None:
    datacentre, desktop = probed("10.0"), probed("8.9")
    assert datacentre.cannot_run == "TensorRT-RTX 1.7.1.116 has no support for compute capability 10.0"
    assert datacentre.way_out == "Use --family tensorrt on this GPU." and datacentre.cannot_build is None
    assert desktop.cannot_run is None and desktop.default_targets == ("current",)


def test_a_build_for_one_target(convolution: Path) -> None:
    events: list[Any] = []
    outcome = build(convolution, compute_capability=("8.6",), on_event=events.append)
    assert outcome.targets == ("8.6",) and outcome.warnings == ()
    assert "TF32" not in outcome.flags, "TensorRT sets it by itself, and Polygraphy's CreateConfigRTX leaves it"
    assert outcome.layers is not None and outcome.layers.source == "builder-log"
    assert any(set(layer.onnx_nodes) == {"conv", "relu"} for layer in outcome.layers.layers)
    header = read_header(convolution.with_suffix(".plan"))
    assert header.family == "tensorrt-rtx" and header.declared_bytes == convolution.with_suffix(".plan").stat().st_size
    phases = {event.phase for event in events if isinstance(event, Progress)}
    assert "Parsing ONNX" in phases and len(phases) > 1, "the builder's own progress arrives too"


def test_a_build_for_several_targets_with_tf32(convolution: Path) -> None:
    outcome = build(convolution, compute_capability=("8.6", "12.0"), tf32=True, optimization_level=1)
    assert outcome.targets == ("8.6", "12.0") and "TF32" in outcome.flags


def test_the_default_targets_are_built(convolution: Path) -> None:
    (answer,) = play(
        Scenario(
            "build",
            {
                "onnx": str(convolution),
                "plan": str(convolution.with_suffix(".plan")),
                "options": BuildOptions(PROFILE).to_json(),
            },
            compute_capability=None,
        )
    )
    assert tuple(answer["value"]["targets"]) == ALL


def test_a_plan_for_another_gpu_than_this_one_is_not_loaded(convolution: Path) -> None:
    arguments = {
        "onnx": str(convolution),
        "plan": str(convolution.with_suffix(".plan")),
        "options": BuildOptions(PROFILE, compute_capability=("8.6",)).to_json(),
    }
    (answer,) = play(Scenario("build", arguments, compute_capability="8.9"))
    assert answer["value"]["layers"]["source"] == "builder-log", "loading it here would fail: it is for 8.6"


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"timing_cache": Path("cache")}, "--timing-cache"),
        ({"version_compatible": True}, "--version-compatible"),
        ({"hardware_compatibility": "ampere_plus"}, "--hardware-compatibility"),
    ],
)
def test_options_that_it_cannot_honour_are_refused(options: dict[str, Any], flag: str) -> None:
    can = Capabilities("tensorrt-rtx", "1.7", refused=probed(None).refused)
    with pytest.raises(UsageError, match=f"{flag} cannot be honoured by the tensorrt-rtx family"):
        can.check(BuildOptions(PROFILE, **options))


def fails(kind: type[TrtkitError], onnx_path: Path, **options: Any) -> TrtkitError:
    with pytest.raises(kind) as caught:
        build(onnx_path, **options)
    assert not onnx_path.with_suffix(".plan").exists()
    return caught.value


def test_refused_options_and_unknown_targets_stop_the_build_itself(convolution: Path) -> None:
    assert "--timing-cache" in fails(UsageError, convolution, timing_cache=convolution.with_name("cache")).message
    error = fails(UsageError, convolution, compute_capability=("8.6", "9.0"))
    assert "Compute capability 9.0 is no target" in error.message and "8.9" in error.message


def test_an_unsupported_operator_is_named(tmp_path: Path) -> None:
    node = helper.make_node("Det", ["x"], ["y"], name="head/det")
    error = fails(ModelError, save(tmp_path / "det.onnx", node, output=["N", 3], weights={}))
    assert (
        "'head/det' (operator Det, float32 → float32)" in error.message
        and "does not support this operator" in error.message
    )
    assert "det.onnx" in error.message and "onnxruntime" in error.hint


def test_too_little_workspace_is_not_taken_for_a_missing_kernel(convolution: Path) -> None:
    error = fails(BuildError, convolution, compute_capability=("8.6",), workspace_bytes=1)
    assert "within workspace limit" in error.message and "conv.onnx" in error.message
    assert "Raise --workspace" in error.hint and error.log


def test_turing_without_fp32_matrix_products_is_explained(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w"], ["y"], name="fc"),
    ]
    weights = {"w": np.random.default_rng(0).standard_normal((192, 5), dtype=np.float32)}
    path = save(tmp_path / "fc.onnx", *nodes, output=["N", 5], weights=weights)
    error = fails(BuildError, path, compute_capability=("7.5", "8.6"))
    assert "FP32 GEMM" in error.message and "Leave 7.5 out" in error.hint


def test_fp8_for_a_gpu_that_has_none_says_which_have(tmp_path: Path) -> None:
    weights = {
        "w": np.random.default_rng(0).standard_normal((4, 3, 3, 3), dtype=np.float32),
        "s": np.array(0.1, np.float32),
    }
    zero = helper.make_tensor("z", TensorProto.FLOAT8E4M3FN, [], [0.0])
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="q"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], name="dq"),
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["wq"], name="qw"),
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"], name="dqw"),
        helper.make_node("Conv", ["xd", "wd"], ["y"], name="conv", pads=[1, 1, 1, 1]),
    ]
    path = save(tmp_path / "fp8.onnx", *nodes, output=["N", 4, 8, 8], weights=weights)
    model = onnx.load(path)
    model.graph.initializer.append(zero)
    onnx.save(model, path)
    error = fails(BuildError, path, compute_capability=("8.6",))
    assert "fp8_e4m3" in error.message and "8.9 or newer" in error.hint


def test_loading_without_a_gpu_names_the_reason(convolution: Path) -> None:
    build(convolution, compute_capability=("8.6",))
    (answer,) = play(Scenario("layers", {"plan": str(convolution.with_suffix(".plan"))}, compute_capability=None))
    assert answer["error"]["type"] == BackendUnavailableError.__name__
    assert "no CUDA device" in answer["error"]["message"]


def test_activations_above_the_vendors_default_workspace(convolution: Path) -> None:
    """64 GiB by default, an "OutOfMemory" on devices that have more; nothing is allocated here."""
    batch = 64 << 20  # 48 GiB in, 64 GiB out
    profile = OptimizationProfile({"x": ShapeRange(*(((batch, 3, 8, 8),) * 3))}, ("x",))
    with pytest.raises(BuildError, match="OutOfMemory") as caught:
        build(convolution, profile=profile, compute_capability=("8.6",), workspace_bytes=64 << 30)
    assert "raise the limit" in (caught.value.hint or "")
    assert build(convolution, profile=profile, compute_capability=("8.6",)).targets == ("8.6",)
