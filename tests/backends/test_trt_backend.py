"""The ``tensorrt`` family, driven through real Polygraphy against the scripted stand-ins of TensorRT 10.16 and 11.4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.trt_api import TENSORRT_10, TENSORRT_11
from tests.backends.trt_stand_in import Scenario
from tests.backends.trt_stand_in.stage import Stage
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.plan_header import read_header
from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.artifacts.samples import SampleCase, SamplePlan
from trtkit.backends.base import BuildOutcome, Capabilities
from trtkit.errors import from_wire
from trtkit.worker import Log, Progress

VERSIONS = (TENSORRT_10, TENSORRT_11)


@pytest.fixture(params=VERSIONS)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    return Stage(tmp_path, request.param)


def test_a_build_asks_for_what_the_options_say(stage: Stage) -> None:
    plain, everything = stage.play(
        stage.building(),
        stage.building(
            "everything",
            tf32=True,
            workspace_bytes=2**20,
            optimization_level=5,
            version_compatible=True,
            hardware_compatibility="ampere_plus",
            refit=True,
            strip_weights=True,
            sparse_weights=True,
        ),
    )
    version = stage.recorded.removeprefix("tensorrt-")
    assert plain["record"]["network_flags"] == ["STRONGLY_TYPED"]
    config = plain["record"]["config"]
    assert config["flags"] == [], "TF32, which TensorRT sets by itself, must be cleared"
    assert config["profiles"] == [{"x[0]": [[1, 3], [2, 3], [4, 3]]}]
    assert (config["pools"], config["optimization_level"], config["hardware_compatibility"]) == ({}, 3, None)
    assert config["profiling_verbosity"] == "DETAILED"
    outcome = BuildOutcome.from_json(plain["value"])
    assert outcome.targets == ("8.9",) and outcome.flags == ()
    assert outcome.warnings == ("Weights of conv are subnormal",)
    assert outcome.layers is not None and outcome.layers.source == "engine-inspector"
    assert outcome.layers.layers[0].onnx_nodes == ("conv", "relu")
    assert outcome.layers.layers[0].inputs[0].dtype == "fp32"
    header = read_header(stage.folder / "model.plan")
    assert (header.family, header.version) == ("tensorrt", version)

    config = everything["record"]["config"]
    flags = ["REFIT", "SPARSE_WEIGHTS", "STRIP_PLAN", "TF32", "VERSION_COMPATIBLE"]
    assert config["flags"] == flags and everything["value"]["flags"] == flags
    assert config["pools"] == {"WORKSPACE": 2**20} and config["optimization_level"] == 5
    assert config["hardware_compatibility"] == "AMPERE_PLUS"
    assert everything["value"]["layers"]["source"] == "engine-inspector", "own plans may bring their lean runtime"


def test_progress_and_log_are_streamed(stage: Stage) -> None:
    stage.play(stage.building())
    phases = [(e.phase, e.step, e.steps, e.parent) for e in stage.events if isinstance(e, Progress)]
    assert phases[:2] == [("Parsing ONNX", 0, 1, None), ("Parsing ONNX", 1, 1, None)]
    assert ("Building the engine", 0, 2, None) in phases and ("Building the engine", 2, 2, None) in phases
    assert ("Tactic selection", 1, 1, "Building the engine") in phases
    assert phases[-1] == ("Reading the layers from the engine", 1, 1, None)
    logged = [e for e in stage.events if isinstance(e, Log)]
    assert logged == [Log("warning", "Weights of conv are subnormal")], "once, though TensorRT said it twice"


def test_layers_come_from_the_log_where_the_engine_says_nothing(stage: Stage) -> None:
    silent, neither, unloadable = stage.play(
        stage.building(script={"inspector": "empty"}),
        stage.building(script={"inspector": "empty", "layers": "none"}),
        stage.building(script={"deserialize": "Error Code 1: Cuda Runtime (out of memory)"}),
    )
    assert silent["value"]["layers"]["source"] == "builder-log"
    assert silent["value"]["layers"]["layers"][0]["onnx_nodes"] == ["conv", "relu"]
    assert neither["value"]["layers"] is None
    assert unloadable["value"]["layers"]["source"] == "builder-log", "a plan that was built is not lost"
    assert "out of memory" in unloadable["value"]["warnings"][-1]


def test_the_timing_cache_is_made_read_and_added_to(stage: Stage) -> None:
    cache = stage.folder / "new" / "folder" / "timing.cache"
    build = stage.building(timing_cache=cache)
    first, second, mismatch = stage.play(
        build, build, stage.building(timing_cache=cache, script={"timing_cache": "mismatch"})
    )
    assert first["record"]["config"]["timing_cache"] == []
    assert second["record"]["config"]["timing_cache"] == ["conv + relu"]
    assert cache.read_text() == '["conv + relu"]'
    assert mismatch["record"]["config"]["timing_cache"] is None
    assert any("timing cache of another device" in text for text in mismatch["value"]["warnings"]), "not in silence"


def test_a_built_plan_runs(stage: Stage) -> None:
    _, executed, layers = stage.play(
        stage.building(), stage.executing(), Scenario("layers", {"plan": str(stage.folder / "model.plan")})
    )
    assert executed["value"] == {"where": "Pretended GPU (compute capability 8.9)", "provider": None}
    assert layers["value"]["source"] == "engine-inspector"
    with np.load(stage.folder / "model.npz") as results:
        assert list(results) == ["0/y"] and results["0/y"].shape == (3, 3)
        case = SampleCase("case", {"x[0]": (3, 3)})
        feeds = SamplePlan(0, (TensorSpec("x[0]", "float32", ("N", 3)),), 1.0, (case,)).feeds(case)
        np.testing.assert_array_equal(results["0/y"], 2 * feeds["x[0]"])


BUILD_FAILURES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str, str]] = {
    # name: (script, options, error class, words of the message, words of the hint)
    "unsupported": ({"parse": "unsupported"}, {}, "ModelError", "'det_1' (operator Det)", "--family onnxruntime"),
    "silent parser": ({"parse": "silent"}, {}, "ModelError", "Failed to parse ONNX model", "--family onnxruntime"),
    "memory": ({"build": "out_of_memory"}, {}, "BuildError", "out of memory", "lower --batch"),
    "no kernel": ({"build": "no_implementation"}, {}, "BuildError", "node conv + relu", "--workspace"),
    "fp8": ({"build": "hw_datatypes"}, {}, "BuildError", "fp8_e4m3", "--compute-capability"),
    "no reason": ({"build": "none"}, {}, "BuildError", "Invalid Engine", "--optimization-level"),
    "no start": ({"create": "nullptr"}, {}, "BackendUnavailableError", "does not start", "trtkit doctor"),
    "target": ({}, {"compute_capability": ("8.6",)}, "UsageError", "--compute-capability cannot be", "Leave"),
    "runtime cache": ({}, {"runtime_cache": Path("x")}, "UsageError", "--runtime-cache cannot be", "--family"),
    "cache folder": ({}, {"timing_cache": Path(__file__) / "x"}, "UsageError", "x cannot be written", "--timing-cache"),
    "wrong input": (
        {}, {"profile": OptimizationProfile({"image": ShapeRange((1,), (1,), (1,))})},
        "BuildError", "Invalid inputs were provided", "",
    ),
}  # fmt: skip
REFUSALS: dict[str, tuple[str, str]] = {
    # what TensorRT logs: words of the hint
    "The engine plan file is not compatible with this version of TensorRT, expecting library version 11.4.0.106 got "
    "10.16.1.11": "version that built it",
    "Version tag does not match. Note: Current Version: 239, Serialized Engine Version: 237": "version that built it",
    "The engine plan file is generated on an incompatible device, expecting compute 8.9 got compute 8.6": "kind of GPU",
    "The current device only supports 10 multiprocessors but the engine file requires 80": "kind of GPU",
    "The current device is not compatible with this hardware-compatible engine. Expected compute capability >=8.0 but "
    "got compute capability =7.5": "kind of GPU",
    "Platform specific tag mismatch detected. TensorRT plan files are only supported on the target runtime platform": (
        "operating system"
    ),
    "Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed.": "whole plan of this family",
    "Error Code 1: Cuda Runtime (out of memory)": "Free device memory",
    "Error Code 1: Cuda Runtime (CUDA driver version is insufficient for CUDA runtime version)": "Build the plan again",
}  # fmt: skip


def _check(answer: dict[str, Any], kind: str, words: str, hint: str) -> None:
    assert "error" in answer, answer
    error = from_wire(answer["error"])
    assert type(error).__name__ == kind, error
    assert words in error.message and hint in error.hint and error.hint.endswith("."), (error.message, error.hint)
    assert "Traceback" not in error.message and "\n" not in error.message


def test_every_failing_build_says_why(stage: Stage) -> None:
    rows = BUILD_FAILURES.values()
    answers = stage.play(*(stage.building(script=script, **options) for script, options, *_ in rows))
    for answer, (_, _, kind, words, hint) in zip(answers, rows, strict=True):
        _check(answer, kind, words, hint)


def test_every_refused_plan_says_why(stage: Stage) -> None:
    build, *answers = stage.play(
        stage.building(), *(stage.executing(script={"deserialize": text}) for text in REFUSALS)
    )
    assert "value" in build
    for answer, (text, hint) in zip(answers, REFUSALS.items(), strict=True):
        _check(answer, "PlanError", text[:40], hint)


def test_what_goes_wrong_while_running_says_why(stage: Stage) -> None:
    build, compatible, no_context, no_memory, too_large, native, no_gpu, layers = stage.play(
        stage.building(),
        stage.building("compatible", version_compatible=True),
        stage.executing(script={"context": "none"}),
        stage.executing(script={"execute": "out_of_memory"}),
        stage.executing(batch=9),
        stage.executing("compatible"),
        stage.executing(gpu=None),
        Scenario("layers", {"plan": str(stage.folder / "model.plan")}, {}, None),
    )
    assert "value" in build and "value" in compatible
    _check(no_context, "RunError", "could not be allocated", "batch size")
    _check(no_memory, "RunError", "out of memory", "batch size")
    _check(too_large, "RunError", "not in the profile", "optimization profile")
    _check(native, "PlanError", "getEngineHostCodeAllowed", "--allow-host-code")
    _check(no_gpu, "BackendUnavailableError", "NVIDIA driver is not installed", "--family tensorrt-rtx")
    _check(layers, "BackendUnavailableError", "NVIDIA driver is not installed", "--family tensorrt-rtx")


def test_without_a_gpu_it_says_that_it_cannot_build(stage: Stage) -> None:
    probe, build, with_gpu = stage.play(
        Scenario("probe", compute_capability=None), stage.building(gpu=None), Scenario("probe")
    )
    can = Capabilities.from_json(probe["value"])
    assert can.version == stage.recorded.removeprefix("tensorrt-")
    assert can.cannot_build is not None and "no CUDA device" in can.cannot_build and can.device is None
    assert can.way_out is not None and "tensorrt-rtx" in can.way_out and can.default_targets == ()
    _check(build, "BackendUnavailableError", "no CUDA device", "--family tensorrt-rtx")
    assert build["record"] == {}, "TensorRT itself, which would crash, was not asked"
    can = Capabilities.from_json(with_gpu["value"])
    assert (can.cannot_build, can.cannot_run, can.way_out) == (None, None, None)
    assert can.device == "Pretended GPU (compute capability 8.9)" and can.default_targets == ("current",)
    assert set(can.refused) == {"compute_capability", "runtime_cache"}
    assert can.label == f"tensorrt-{'.'.join(can.version.split('.')[:2])}"


def test_a_version_before_strongly_typed_networks_is_too_old(tmp_path: Path) -> None:
    (answer,) = Stage(tmp_path, TENSORRT_10).play(Scenario("probe"), version="10.9.0.34")
    can = Capabilities.from_json(answer["value"])
    assert can.cannot_build == "TensorRT 10.9.0.34 is too old: 10.12 is the oldest that trtkit drives"
    assert can.way_out is not None and "pip install" in can.way_out


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("no_builder", "is damaged: it has no Builder"),
        ("no_library", "does not import: libnvonnxparser.so.11: cannot open"),
        ("no_bindings", "does not import: No module named 'tensorrt_bindings'"),
        ("broken_library", "does not import: libnvinfer.so.11: file too short"),
    ],
)
def test_a_broken_installation_is_described(tmp_path: Path, damage: str, said: str) -> None:
    stage = Stage(tmp_path, TENSORRT_11, damage)
    probe, build = stage.play(Scenario("probe"), stage.building())
    can = Capabilities.from_json(probe["value"])
    assert can.version is None and can.cannot_build is not None and said in can.cannot_build
    assert can.way_out is not None and "pip install" in can.way_out
    _check(build, "BackendUnavailableError", said, "pip install")
