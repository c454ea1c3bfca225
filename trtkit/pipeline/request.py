"""What ``convert`` is asked, and what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from trtkit.arguments import as_path, check_argument, check_fields
from trtkit.artifacts.plan import PlanManifest
from trtkit.backends.options import HARDWARE_COMPATIBILITY, OPTION_TYPES
from trtkit.errors import UsageError
from trtkit.pipeline.quantization import Quantization
from trtkit.stages.export import SourceRequest

__all__ = ["PRECISIONS", "QUANTIZED", "ConvertRequest", "ConvertResult", "check_limits"]

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
        options: fields of :class:`trtkit.backends.options.BuildOptions` by name, but for profile and TF32, which follow
            from the rest.
        tolerance: largest relative L2 error that passes the validation; ``None`` takes the precision's own.
        agreement: smallest share of equal values in integer outputs that passes; ``None`` takes the precision's own.
        output: the folder for the artifacts.
        fp16_io: float16 inputs and outputs too.
        quantization: table or data for ``int8`` and ``fp8``; ``None`` for a file that is quantized already.
        force: build even if an equal plan is there.
        validate: execute and compare; off where a benchmark checks the outputs itself, at the batch that it measures.
        command: the command line, for the manifest.
        rewrite: rewrites for speed: ``none``, ``safe``, ``auto``, or names with commas between; ``None`` takes those
            that the calibration table records, or else ``safe``.
        rewrite_seconds: the longest that ``auto`` may measure.
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
    agreement: float | None = None
    validate: bool = True
    rewrite: str | None = None
    rewrite_seconds: float = 300.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.quantization is not None:
            check_fields(self.quantization)
        for name, value in self.options.items():
            if name not in OPTION_TYPES:
                raise UsageError(
                    f"ConvertRequest: there is no build option {name!r}; allowed: {', '.join(OPTION_TYPES)}.",
                    hint="Choose among these; precision, batch and shapes are arguments of their own.",
                )
            check_argument("ConvertRequest.options", name, as_path(value, OPTION_TYPES[name]), OPTION_TYPES[name])
        meant = {name: as_path(value, OPTION_TYPES[name]) for name, value in self.options.items()}
        object.__setattr__(self, "options", meant)
        _check_values(self.options)


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


def check_limits(tolerance: float | None, agreement: float | None) -> None:
    """Hold the limits of a validation against their ranges; ``None`` takes the precision's own.

    Raises:
        UsageError: the tolerance is negative, infinite or NaN, or the agreement is no share.
    """
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(f"--tolerance {tolerance} is no finite number from 0 up.", hint="Give one, such as 0.02.")
    if agreement is not None and not 0 <= agreement <= 1:
        raise UsageError(f"--agreement {agreement} is no share from 0 to 1.", hint="Give one, such as 0.95.")


def _check_values(options: dict[str, object]) -> None:
    """What the types of build options leave open.

    Raises:
        UsageError: a value out of range.
    """
    level, workspace = options.get("optimization_level"), options.get("workspace_bytes")
    if isinstance(level, int) and not 0 <= level <= 5:
        raise UsageError(
            f"The optimization level is 0 (fast build) to 5 (fast engine), not {level}.", hint="Choose one of these."
        )
    if isinstance(workspace, int) and workspace <= 0:
        raise UsageError(
            f"The workspace is {workspace} bytes; it must be positive.",
            hint="Leave it out for the builder's own limit.",
        )
    reach = options.get("hardware_compatibility")
    if reach not in (None, *HARDWARE_COMPATIBILITY):
        raise UsageError(
            f"--hardware-compatibility is {' or '.join(HARDWARE_COMPATIBILITY)}, not {reach!r}.",
            hint="Choose one of the two.",
        )
