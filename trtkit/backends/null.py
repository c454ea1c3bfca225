"""The ``null`` family: it computes nothing, on purpose. Stages are written against it first, and it is always there.

Its plan is a line of magic and a JSON description of inputs and outputs; its outputs are zeros of the right shape, so
that a validation of it must fail. It is left out of ``auto`` and of the help texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from trtkit import __version__
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.layers import LayerReport
from trtkit.artifacts.model import TensorSpec
from trtkit.backends.base import BuildOptions, BuildOutcome, Capabilities, LoadOptions
from trtkit.backends.null_timed import NullScript, NullTimed
from trtkit.backends.repeated import Samples
from trtkit.backends.timing import Timed
from trtkit.errors import PlanError, RunError
from trtkit.worker.protocol import Reporter

__all__ = ["MAGIC", "NullBackend", "NullRunner"]

MAGIC = b"trtkit-null-plan\n"


class NullBackend:
    """Builds and runs anywhere, and never computes."""

    family = "null"

    def capabilities(self) -> Capabilities:
        """Everything is possible where nothing is done."""
        version = f"{__version__}.0"
        shown = dict.fromkeys(("profile", "layer_info"), "there is nothing inside its plans")
        return Capabilities(
            self.family, version, device="nothing", on_cpu=True, targets=("0.0",), refused_exports=shown
        )

    def build(self, onnx: Path, plan: Path, options: BuildOptions, report: Reporter) -> BuildOutcome:
        """Write down what goes in and out."""
        from trtkit.graph.io import load, specs

        report.progress("Building nothing", 0, 1)
        inputs, outputs = specs(load(onnx))
        described = {"inputs": [asdict(spec) for spec in inputs], "outputs": [asdict(spec) for spec in outputs]}
        plan.write_bytes(MAGIC + json.dumps(described).encode())
        report.progress("Building nothing", 1, 1)
        return BuildOutcome(options.compute_capability, None, (), 0.0, 0.0)

    def load(self, plan: Path, options: LoadOptions) -> NullRunner:
        """See :meth:`trtkit.backends.base.Backend.load`."""
        data = plan.read_bytes()
        if not data.startswith(MAGIC):
            raise PlanError(f"{plan.name} is no plan of the null family.", hint="Build it with --family null.")
        return NullRunner(json.loads(data[len(MAGIC) :]))

    def layers(self, plan: Path) -> LayerReport | None:
        """``None``: there is nothing inside."""
        return None


class NullRunner:
    """Zeros of the right shape; see :class:`trtkit.backends.base.Runner`."""

    where = "nothing"
    modes = tuple(MODES)

    def __init__(self, described: dict[str, list[dict[str, object]]]) -> None:
        self.inputs = tuple(TensorSpec.from_json(value) for value in described["inputs"])
        self.outputs = tuple(TensorSpec.from_json(value) for value in described["outputs"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Bind the dynamic dims from the feeds, and return zeros."""
        bound: dict[str, int] = {}
        for spec in self.inputs:
            if spec.name not in feeds:
                raise RunError(f"No value for input {spec.name}.", hint="Feed every input.")
            got = feeds[spec.name]
            fixed_wrong = [a for a, b in zip(spec.shape, got.shape, strict=False) if isinstance(a, int) and a != b]
            if len(got.shape) != len(spec.shape) or fixed_wrong or got.dtype != np.dtype(spec.dtype):
                raise RunError(
                    f"Input {spec.name} is {got.dtype} {got.shape}; the plan takes {spec.text}.",
                    hint="Feed the type and shape that the plan takes.",
                )
            bound.update((dim, size) for dim, size in zip(spec.shape, got.shape, strict=True) if isinstance(dim, str))
        return {
            spec.name: np.zeros([bound.get(dim, 1) if isinstance(dim, str) else dim for dim in spec.shape], spec.dtype)
            for spec in self.outputs
        }

    def timed(self, sets: Sequence[Mapping[str, Samples]], settings: BenchSettings) -> Timed:
        """See :meth:`trtkit.backends.timing.TimedRunner.timed`."""
        return NullTimed(sets, settings, self.run, NullScript.of())
