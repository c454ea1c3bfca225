"""The seam: what every engine family offers, in types that import no vendor.

Nobody outside ``trtkit.backends`` asks which family it is talking to; they ask :class:`Capabilities`. This module and
the two whose names it passes on are the ones that may be imported anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from trtkit.artifacts.layers import LayerReport
from trtkit.artifacts.model import TensorSpec
from trtkit.backends.capabilities import Capabilities, Gpu
from trtkit.backends.options import OPTION_FLAGS, BuildOptions, LoadOptions
from trtkit.worker.protocol import Reporter

__all__ = [
    "OPTION_FLAGS",
    "Backend",
    "BuildOptions",
    "BuildOutcome",
    "Capabilities",
    "Gpu",
    "LoadOptions",
    "Runner",
]


@dataclass(frozen=True)
class BuildOutcome:
    """What a build found out, beside the plan file that it wrote.

    Attributes:
        targets: compute capabilities that the plan was built for.
        layers: what is inside; ``None`` where the family does not show it.
        flags: builder flags in force, by the vendor's enum names.
        parse_seconds, build_seconds: wall time of the two phases.
        warnings: the builder's own, without repeats.
    """

    targets: tuple[str, ...]
    layers: LayerReport | None
    flags: tuple[str, ...]
    parse_seconds: float
    build_seconds: float
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {**asdict(self), "layers": self.layers.to_json() if self.layers else None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BuildOutcome:
        """The inverse of :meth:`to_json`."""
        layers = LayerReport.from_json(value["layers"]) if value["layers"] else None
        tuples = {name: tuple(value[name]) for name in ("targets", "flags", "warnings")}
        return cls(**{**value, **tuples, "layers": layers})


class Runner(Protocol):
    """A loaded plan; a context manager, which frees the device on leaving."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    where: str
    """What executes: ``NVIDIA H200``, or ONNX Runtime's provider as the session reports it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Execute once: input name → array of the input's type; returns output name → array on the host.

        Raises:
            RunError: the runtime refused or failed.
        """


class Backend(Protocol):
    """One engine family, inside a worker."""

    family: str

    def capabilities(self) -> Capabilities:
        """Look at this machine. Never raises for what is missing: that is in the answer."""

    def build(self, onnx: Path, plan: Path, options: BuildOptions, report: Reporter) -> BuildOutcome:
        """Build ``onnx`` into ``plan`` (a path that is free to be written).

        Raises:
            ModelError: the vendor's parser refuses the model.
            BuildError: the vendor's builder fails.
        """

    def load(self, plan: Path, options: LoadOptions) -> Runner:
        """Load a plan for execution on this machine.

        Raises:
            BackendUnavailableError: nothing here can execute it.
            PlanError: the vendor's runtime refuses the plan.
        """

    def layers(self, plan: Path) -> LayerReport | None:
        """The layers inside a plan, from the loaded engine; ``None`` where the family does not show them."""
