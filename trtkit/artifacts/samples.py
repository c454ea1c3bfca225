"""Seeded inputs for validation: described as data, so that every process makes the same arrays by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trtkit.artifacts.files import json_ready
from trtkit.artifacts.model import TensorSpec

__all__ = ["SampleCase", "SamplePlan"]


@dataclass(frozen=True)
class SampleCase:
    """One set of inputs.

    Attributes:
        label: for people, ``batch 3``.
        shapes: input name → shape.
    """

    label: str
    shapes: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class SamplePlan:
    """Which inputs to draw.

    Floating-point inputs are normal with the given standard deviation, rounded to the input's type; integers are
    uniform in 0…15 (a guess that fits class and token indices); booleans are fair coins. The stream depends on the
    seed and on the positions of case and input only.

    Attributes:
        seed: of NumPy's PCG64 generator.
        inputs: the inputs of the model.
        std: standard deviation of floating-point inputs.
        cases: what to draw.
    """

    seed: int
    inputs: tuple[TensorSpec, ...]
    std: float
    cases: tuple[SampleCase, ...]

    def feeds(self, case: SampleCase, only: str | None = None) -> dict[str, np.ndarray]:
        """Input name → array for one case; ``only`` draws a single input."""
        return {
            spec.name: self._draw(spec, index, case)
            for index, spec in enumerate(self.inputs)
            if only in (None, spec.name)
        }

    def _draw(self, spec: TensorSpec, index: int, case: SampleCase) -> np.ndarray:
        rng = np.random.default_rng([self.seed, index, self.cases.index(case)])
        shape = case.shapes[spec.name]
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            values = rng.standard_normal(shape, dtype=np.float32)
            values *= np.float32(self.std)
            return values.astype(dtype, copy=False)
        if dtype.kind == "b":
            return rng.integers(0, 2, shape).astype(dtype)
        return rng.integers(0, 16, shape).astype(dtype)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        value: dict[str, Any] = json_ready(asdict(self))
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SamplePlan:
        """The inverse of :meth:`to_json`."""
        cases = tuple(
            SampleCase(case["label"], {name: tuple(shape) for name, shape in case["shapes"].items()})
            for case in value["cases"]
        )
        return cls(value["seed"], tuple(TensorSpec.from_json(spec) for spec in value["inputs"]), value["std"], cases)
