"""The benchmark's own worker job on TensorRT: from plan to samples, before a pretended GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.trt_api import TENSORRT_10, TENSORRT_11
from tests.backends.trt_stand_in import Scenario
from tests.backends.trt_stand_in.stage import Stage
from trtkit.artifacts.bench import Conditions
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.device import DeviceFacts
from trtkit.errors import from_wire
from trtkit.measurement.failure import classify
from trtkit.stages.bench import read_timeline

pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
GPU = {"kind": "cuda", "index": 0}


@pytest.fixture(params=(TENSORRT_10, TENSORRT_11))
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    return Stage(tmp_path, request.param)


def measuring(stage: Stage, mode: str = "compute", *, script: Any = None, **more: Any) -> Scenario:
    settings = BenchSettings(**{"mode": mode, "batch": 3, "warmup_s": 0.01, "duration_s": 0.05, **more})
    arguments = {
        "plan": str(stage.folder / "model.plan"),
        "device": GPU,
        "settings": settings.to_json(),
        "results": str(stage.folder / f"{mode}.npz"),
    }
    return Scenario("measure", arguments, script or {})


def test_every_mode_is_measured_and_its_outputs_are_checked(stage: Stage) -> None:
    _, *answers = stage.play(stage.building(), *(measuring(stage, mode) for mode in MODES))
    for mode, answer in zip(MODES, answers, strict=True):
        assert answer["left"] == {}, mode
        found = answer["value"]
        conditions = Conditions(**found["conditions"])
        assert conditions.check is not None and conditions.check["finite"] and conditions.check["run_matches"] is True
        assert conditions.facts["graph"] is (mode != "compute") and conditions.facts["graph_problem"] is None
        assert conditions.monitor["problem"], "there is no NVML here, and that is said"
        timeline = read_timeline(stage.folder / f"{mode}.npz", 3)
        assert len(timeline) >= 10
        assert timeline.summary()["compute"]["p50_ms"] == pytest.approx(1.0, rel=1e-2)
        assert DeviceFacts.from_json(found["device"]).name == "Pretended GPU"
        with np.load(stage.folder / f"{mode}.npz") as saved:
            np.testing.assert_array_equal(saved["out/y"], 2 * saved["in/x[0]"])


def test_what_does_not_run_says_why(stage: Stage) -> None:
    _, *answers = stage.play(
        stage.building(),
        measuring(stage, batch=5),
        measuring(stage, script={"execute": "out_of_memory"}),
        measuring(stage, script={"context": "none"}),
    )
    errors = [from_wire(answer["error"]) for answer in answers]
    assert [classify(error) for error in errors] == ["profile", "device_memory", "device_memory"]
    assert all(answer["left"] == {} for answer in answers)


def test_layers_are_timed_by_the_job(stage: Stage) -> None:
    settings = BenchSettings("compute", 3, shapes={"x[0]": (3, 3)})
    arguments = {
        "plan": str(stage.folder / "model.plan"),
        "device": GPU,
        "settings": settings.to_json(),
        "folder": str(stage.folder),
        "input_std": 1.0,
        "data": None,
        "host_code": False,
        "warmup": 1,
        "iterations": 2,
    }
    _, answer = stage.play(stage.building(), Scenario("layer_times", arguments))
    assert answer["value"] == [[["conv + relu", 0.25], ["softmax", 0.5]]] * 2
    assert answer["left"] == {}
