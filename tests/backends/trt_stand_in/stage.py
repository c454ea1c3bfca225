"""One folder in which scenarios are played: the stand-in, a model, and what the jobs write."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from tests.backends.trt_stand_in import Scenario, install
from trtkit import worker
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.artifacts.samples import SampleCase, SamplePlan
from trtkit.backends import registry
from trtkit.backends.base import BuildOptions
from trtkit.worker import Log, Progress

PROFILE = OptimizationProfile({"x[0]": ShapeRange((1, 3), (2, 3), (4, 3))})
"""An input name that is a pattern to Polygraphy, on purpose."""


class Stage:
    """A folder with the model, the stand-in and what the scenarios write."""

    def __init__(self, folder: Path, recorded: str, damage: str | None = None) -> None:
        self.folder, self.recorded = folder, recorded
        self.packages = install(folder / "packages", recorded, damage=damage)
        self.events: list[Progress | Log] = []
        tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("x[0]", "y")]
        graph = helper.make_graph(
            [helper.make_node("Relu", ["x[0]"], ["y"], name="relu")], "g", tensors[:1], tensors[1:]
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "model.onnx")

    def building(self, name: str = "model", *, gpu: str | None = "8.9", script: Any = None, **options: Any) -> Scenario:
        arguments = {
            "onnx": str(self.folder / "model.onnx"),
            "plan": str(self.folder / f"{name}.plan"),
            "options": BuildOptions(**{"profile": PROFILE, **options}).to_json(),
        }
        return Scenario("build", arguments, script or {}, gpu)

    def executing(
        self, name: str = "model", *, gpu: str | None = "8.9", batch: int = 3, script: Any = None
    ) -> Scenario:
        case = SampleCase("case", {"x[0]": (batch, 3)})
        samples = SamplePlan(0, (TensorSpec("x[0]", "float32", ("N", 3)),), 1.0, (case,))
        arguments = {
            "plan": str(self.folder / f"{name}.plan"),
            "samples": samples.to_json(),
            "results": str(self.folder / f"{name}.npz"),
        }
        return Scenario("execute", arguments, script or {}, gpu)

    def play(self, *scenarios: Scenario, **more: Any) -> list[dict[str, Any]]:
        """Run the scenarios in one worker, with the stand-in ahead of everything else on its path."""
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(self.packages))
            return worker.run(
                "tests.backends.trt_stand_in.jobs:run",
                {"scenarios": [asdict(scenario) for scenario in scenarios], **more},
                what="the scripted build",
                env=registry.worker_env("tensorrt"),
                on_event=self.events.append,
            ).value
