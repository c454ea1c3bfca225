"""What ``convert`` is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trtkit.artifacts.plan import PlanManifest
from trtkit.pipeline.quantization import Quantization
from trtkit.stages.export import SourceRequest

__all__ = ["PRECISIONS", "QUANTIZED", "ConvertRequest", "ConvertResult"]

PRECISIONS = ("fp32", "tf32", "fp16", "int8", "fp8")
"""What ``convert`` can be asked for."""

QUANTIZED = ("int8", "fp8")
"""Those of them that need calibration, or a file with Q/DQ pairs."""


@dataclass(frozen=True)
class ConvertRequest:
    """Everything that ``trtkit convert`` can be told.

    Attributes:
        source: the model.
        precision: one of :data:`PRECISIONS`.
        family: a family's name or ``auto``.
        batch: ``MIN:OPT:MAX`` for the batch axis; ``None`` for 1:32:128.
        shapes: ``NAME=MIN:OPT:MAX`` for any dynamic input.
        options: the build options but for profile and TF32, which follow from the rest.
        tolerance: largest relative L2 error that passes the validation; ``None`` takes the precision's own.
        output: the folder for the artifacts.
        fp16_io: float16 inputs and outputs too.
        quantization: table or data for ``int8`` and ``fp8``; ``None`` for a file that is quantized already.
        force: build even if an equal plan is there.
        command: the command line, for the manifest.
    """

    source: SourceRequest
    precision: str = "fp32"
    family: str = "auto"
    batch: str | None = None
    shapes: tuple[str, ...] = ()
    options: dict[str, object] = field(default_factory=dict)
    output: Path = Path()
    fp16_io: bool = False
    tolerance: float | None = None
    quantization: Quantization | None = None
    force: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConvertResult:
    """A plan that is there, new or reused.

    Attributes:
        plan: the file.
        manifest: what stands beside it.
        reused: whether an earlier run had built it.
        chosen_because: why this family.
        seconds: wall time of this call.
    """

    plan: Path
    manifest: PlanManifest
    reused: bool
    chosen_because: str
    seconds: float

    def to_json(self) -> dict[str, object]:
        """The result as one JSON document: the manifest, and what only this run knows."""
        return {
            "plan": str(self.plan),
            "reused": self.reused,
            "chosen_because": self.chosen_because,
            "seconds": self.seconds,
            "manifest": self.manifest.to_json(),
        }
