"""A candidate's outputs, held against those of a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from trtkit import judging
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.samples import SamplePlan
from trtkit.artifacts.validation import OutputCheck
from trtkit.backends.executing import Executed, execute_reference
from trtkit.worker import Log, Progress

__all__ = ["Comparison"]


@dataclass(frozen=True)
class Comparison:
    """What a candidate gave, and how it is looked at.

    Attributes:
        samples: the inputs of both sides.
        outputs: of the model.
        softmax_axes: output name → axis of its Softmax.
        candidate: ``CASE/OUTPUT`` → array.
        on_event: is told of progress and log lines.
    """

    samples: SamplePlan
    outputs: tuple[TensorSpec, ...]
    softmax_axes: Mapping[str, int]
    candidate: Mapping[str, np.ndarray]
    on_event: Callable[[Progress | Log], None]

    def against(
        self,
        file: Path,
        results: Path,
        limits: tuple[float | None, float | None],
        found: Executed | None,
        what: Literal["source", "qdq"] = "source",
    ) -> tuple[str, tuple[OutputCheck, ...]]:
        """Run a reference and compare: (where it ran, the checks).

        Equal samples of a large batch are computed once. Where that does not agree, the model may mix the samples of
        a batch: then every one is computed, and that counts.

        Args:
            file: the reference, an ONNX file.
            results: the .npz file for its outputs.
            limits: largest relative L2 error and smallest share of equal integers that pass.
            found: its outputs, where they are known already.
            what: what it is.

        Raises:
            PlanError, RunError: it does not run, or its outputs have other shapes.
        """
        once = self.samples.different() != self.samples
        truth = found or execute_reference(file, self.samples, results, self.on_event)
        checks = self._checks(truth, what)
        if once and not judging.within(checks, *limits):
            truth = execute_reference(file, self.samples, results, self.on_event, whole=True)
            checks = self._checks(truth, what)
        return truth.where, checks

    def _checks(self, truth: Executed, what: Literal["source", "qdq"]) -> tuple[OutputCheck, ...]:
        axes = self.softmax_axes
        return tuple(judging.compared(self.samples, self.outputs, axes, self.candidate, truth.outputs, what))
