"""Seeded inputs for validation: described as data, so that every process makes the same arrays by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from trtkit.artifacts.files import json_ready
from trtkit.artifacts.model import TensorSpec

__all__ = ["DIFFERENT_ROWS", "SampleCase", "SamplePlan"]

DIFFERENT_ROWS = 32
"""Samples of a batch that differ; the following ones are the same again."""


@dataclass(frozen=True)
class SampleCase:
    """One set of inputs.

    Attributes:
        label: for people, ``batch 3``.
        shapes: input name → shape.
        batch_inputs: inputs whose first axis is the batch.
    """

    label: str
    shapes: dict[str, tuple[int, ...]]
    batch_inputs: tuple[str, ...] = ()

    @property
    def batch(self) -> int | None:
        """Its batch size; ``None`` where no input has one, or they differ."""
        sizes = {self.shapes[name][0] for name in self.batch_inputs}
        return sizes.pop() if len(sizes) == 1 else None

    def at(self, batch: int) -> SampleCase:
        """The same inputs at another batch size."""
        cut = {name: (batch, *self.shapes[name][1:]) for name in self.batch_inputs}
        return replace(self, shapes={**self.shapes, **cut})


@dataclass(frozen=True)
class SamplePlan:
    """Which inputs to draw.

    Floating-point inputs are normal with the given standard deviation, rounded to the input's type; integers are
    uniform in 0…15 (a guess that fits class and token indices); booleans are fair coins. The stream depends on the
    seed and on the positions of case and input only. In a batch above :data:`DIFFERENT_ROWS` the samples repeat, so
    that a reference need not compute more than those (:meth:`different`).

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
        if case.batch is not None and case.batch > DIFFERENT_ROWS and spec.name in case.batch_inputs:
            few = self._values(spec, case.at(DIFFERENT_ROWS).shapes[spec.name], index, case)
            return few[np.arange(case.batch) % DIFFERENT_ROWS]
        return self._values(spec, case.shapes[spec.name], index, case)

    def _values(self, spec: TensorSpec, shape: tuple[int, ...], index: int, case: SampleCase) -> np.ndarray:
        rng = np.random.default_rng([self.seed, index, self.cases.index(case)])
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            values = rng.standard_normal(shape, dtype=np.float32)
            values *= np.float32(self.std)
            return values.astype(dtype, copy=False)
        if dtype.kind == "b":
            return rng.integers(0, 2, shape).astype(dtype)
        return rng.integers(0, 16, shape).astype(dtype)

    def different(self) -> SamplePlan:
        """The same samples, each once: cases of larger batches are cut to the samples that differ."""
        cut = (case.at(min(case.batch, DIFFERENT_ROWS)) if case.batch is not None else case for case in self.cases)
        return replace(self, cases=tuple(cut))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        value: dict[str, Any] = json_ready(asdict(self))
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SamplePlan:
        """The inverse of :meth:`to_json`."""
        cases = tuple(
            SampleCase(
                case["label"],
                {name: tuple(shape) for name, shape in case["shapes"].items()},
                tuple(case["batch_inputs"]),
            )
            for case in value["cases"]
        )
        return cls(value["seed"], tuple(TensorSpec.from_json(spec) for spec in value["inputs"]), value["std"], cases)
