"""Both sides of a validation with outputs written by hand instead of executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtkit.artifacts.model import OnnxModel, TensorSpec
from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.artifacts.samples import SamplePlan
from trtkit.artifacts.validation import ValidationReport
from trtkit.backends import executing
from trtkit.backends.base import Capabilities, Gpu
from trtkit.backends.executing import Executed
from trtkit.stages import validate as rules
from trtkit.stages.validate import ValidationRequest

Make = Callable[[tuple[int, ...]], np.ndarray]
CPU = Capabilities("null", "1.0", device="CPU")
HOPPER = Gpu(0, "NVIDIA H200", "9.0", 1 << 37)
GPU = Capabilities("tensorrt", "11.0", device="NVIDIA H200", gpus=(HOPPER,))
NOWHERE = Capabilities("tensorrt", "11.0", cannot_run="there is no GPU here")


def batches(low: int, best: int, high: int) -> OptimizationProfile:
    return OptimizationProfile({"x": ShapeRange((low, 4), (best, 4), (high, 4))}, ("x",))


def request(**changes: Any) -> ValidationRequest:
    specs = (TensorSpec("x", "float32", ("N", 4)),), (TensorSpec("y", "float32", ("N", 4)),)
    asked: dict[str, Any] = {
        "plan": Path("m.plan"),
        "plan_sha256": "p" * 64,
        "targets": (),
        "onnx": OnnxModel("m", Path("m.fp32.onnx"), "o" * 64, "fp32", 17, *specs),
        "reference": Path("m.onnx"),
        "reference_sha256": "r" * 64,
        "reference_precision": "fp32",
        "softmax_axes": {},
        "profile": batches(1, 8, 32),
        "precision": "fp32",
        "input_std": 1.0,
    }
    return ValidationRequest(**{**asked, **changes})


class Stage:
    """Stands in for the workers: gives each file its outputs, and remembers who ran what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[tuple[str, str]] = []
        self.samples: SamplePlan | None = None
        self.provider = "CPUExecutionProvider"
        self.makes: Mapping[str, Make] = {}
        monkeypatch.setattr(rules, "execute", self._execute)
        monkeypatch.setattr(executing, "execute", self._execute)

    def _execute(
        self, family: str, file: Path, samples: SamplePlan, results: Path, options: object, on_event: object
    ) -> Executed:
        self.ran.append((family, file.name))
        self.samples = samples
        outputs = {f"{i}/y": self.makes[file.name](case.shapes["x"]) for i, case in enumerate(samples.cases)}
        return Executed(outputs, "a machine", self.provider if family == "onnxruntime" else None)

    def play(self, asked: ValidationRequest, can: Capabilities, **makes: Make) -> ValidationReport:
        """Outputs by role: ``plan``, ``onnx`` and ``reference``."""
        files = {"plan": asked.plan, "onnx": asked.onnx.path, "reference": asked.reference}
        self.makes = {files[role].name: make for role, make in makes.items()}
        return rules.validate(asked, can, lambda event: None)

    def labels(self, asked: ValidationRequest, can: Capabilities) -> list[str]:
        self.play(asked, can, plan=truth, reference=truth, onnx=truth)
        assert self.samples is not None
        return [case.label for case in self.samples.cases]


def truth(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(shape[0]).standard_normal(shape)


def off(error: float) -> Make:
    """The truth with a relative L2 error of exactly ``error``: c = r·(1 + e), so ‖c − r‖ / ‖r‖ = e."""
    return lambda shape: truth(shape) * (1 + error)


def one(value: float, where: int = -1) -> Make:
    """The truth, but for one element of the batches larger than 1."""

    def make(shape: tuple[int, ...]) -> np.ndarray:
        values = truth(shape)
        if shape[0] > 1:
            values.flat[where] = value
        return values

    return make
