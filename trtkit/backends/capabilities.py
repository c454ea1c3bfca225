"""What a family can do on a machine, as data: others ask this, and never which family it is. Imports no vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from trtkit.artifacts.files import json_ready
from trtkit.backends.options import OPTION_FLAGS, BuildOptions
from trtkit.errors import UsageError

__all__ = ["Capabilities", "Gpu"]


@dataclass(frozen=True)
class Gpu:
    """One CUDA device as the driver shows it.

    Attributes:
        index: CUDA's ordinal.
        name: such as ``NVIDIA H200``.
        compute_capability: such as ``9.0``.
        memory_bytes: total device memory.
    """

    index: int
    name: str
    compute_capability: str
    memory_bytes: int


@dataclass(frozen=True)
class Capabilities:
    """What a family can do on this machine; found by a probe in a worker.

    Attributes:
        family: ``tensorrt``, ``tensorrt-rtx``, ``onnxruntime`` or ``null``.
        version: the vendor library's, ``1.7.1.116``; ``None`` when it is not installed.
        cannot_build: why no plan can be built here, a sentence; ``None`` when it can.
        cannot_run: why no plan can be executed here, a sentence; ``None`` when it can.
        way_out: what to do about the first of these, a sentence; ``None`` when nothing is wrong.
        refused: build options that the family cannot honour (field name of :class:`BuildOptions` → the reason).
        refused_precisions: precisions that this version cannot build (``int8`` → the reason).
        refused_exports: what cannot be shown of an engine: ``profile``, ``layer_info``, or with ``@cuda`` behind it for
            that kind of device alone → the reason.
        lowest_targets: the lowest compute capability that a data type runs on in this family (``fp8`` → ``8.9``).
        targets: compute capabilities that can be built for without such a GPU, lowest first.
        default_targets: the targets used when none is asked for (``("current",)``: the GPU of this machine).
        suffix: of the family's artifact, ``.plan`` or ``.onnx``.
        on_cpu: whether the family executes on the CPU too, GPU or not.
        device: where plans run here, ``NVIDIA H200 (compute capability 9.0)`` or ``CPU``; ``None`` when nowhere.
        gpus: CUDA devices that the driver shows, whether or not the family can use them.
        driver: of the GPU, ``580.159.04``; ``None`` without one.
        cuda: highest CUDA version that the driver supports, ``13.0``; ``None`` without a driver.
        notes: further facts worth telling (providers, a doubtful installation).
    """

    family: str
    version: str | None
    cannot_build: str | None = None
    cannot_run: str | None = None
    way_out: str | None = None
    refused: dict[str, str] = field(default_factory=dict)
    refused_precisions: dict[str, str] = field(default_factory=dict)
    refused_exports: dict[str, str] = field(default_factory=dict)
    lowest_targets: dict[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    default_targets: tuple[str, ...] = ()
    suffix: str = ".plan"
    on_cpu: bool = False
    device: str | None = None
    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def short_version(self) -> str:
        """Major and minor, as they stand in file names: ``1.7``."""
        return ".".join((self.version or "0.0").split(".")[:2])

    @property
    def label(self) -> str:
        """Family and version as they stand in file names: ``tensorrt-rtx-1.7``; ONNX files carry no version."""
        return self.family if self.suffix == ".onnx" else f"{self.family}-{self.short_version}"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        value: dict[str, Any] = json_ready(asdict(self))
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Capabilities:
        """The inverse of :meth:`to_json`."""
        tuples = {name: tuple(value[name]) for name in ("targets", "default_targets", "notes")}
        return cls(**{**value, **tuples, "gpus": tuple(Gpu(**gpu) for gpu in value["gpus"])})

    def refuses_export(self, what: str, kind: str) -> str | None:
        """Why ``profile`` or ``layer_info`` cannot be had on this kind of device; ``None`` where it can."""
        return self.refused_exports.get(what) or self.refused_exports.get(f"{what}@{kind}")

    def check(self, options: BuildOptions) -> None:
        """Refuse what this family cannot honour, instead of ignoring it.

        Raises:
            UsageError: naming the option, the family, and the reason.
        """
        for name, reason in self.refused.items():
            if getattr(options, name) not in (None, False, ()):
                raise UsageError(
                    f"{OPTION_FLAGS[name]} cannot be honoured by the {self.family} family: {reason.rstrip('.')}.",
                    hint=f"Leave {OPTION_FLAGS[name]} out, or choose another --family.",
                )
        if "current" in options.compute_capability:
            if len(options.compute_capability) > 1:
                raise UsageError(
                    "--compute-capability current cannot be combined with other targets.",
                    hint="Give either current or a list such as 8.6,8.9.",
                )
            if self.device is None:
                raise UsageError(
                    f"--compute-capability current needs a GPU that {self.family} can use: {self.cannot_run}",
                    hint=f"Give the targets themselves, such as {','.join(self.targets)}.",
                )
            return
        unknown = [target for target in options.compute_capability if target not in self.targets]
        if unknown:
            raise UsageError(
                f"Compute capability {', '.join(unknown)} is no target of {self.family} {self.version}. "
                f"Allowed: {', '.join(self.targets) or 'none'}{', current' if self.device else ''}.",
                hint="Give one or more of the allowed targets, separated by commas.",
            )

    def targets_for(self, precision: str, asked: tuple[str, ...]) -> tuple[str, ...]:
        """The targets to build for: those asked for, or the default ones that have the precision.

        Args:
            precision: ``fp32``, ``tf32``, ``fp16``, ``int8``, ``fp8``.
            asked: ``--compute-capability``; empty for the default.

        Raises:
            UsageError: this version of the family cannot build the precision, or a target does not have it.
        """
        if precision in self.refused_precisions:
            raise UsageError(
                f"{self.family} {self.version} cannot build {precision} plans: {self.refused_precisions[precision]}",
                hint="Install the version that can, or choose another --precision or --family.",
            )
        lowest = self.lowest_targets.get(precision)
        if lowest is None:
            return asked
        here = self.gpus[0].compute_capability if self.gpus else None
        wanted = asked or self.default_targets
        lacking = [t for t in wanted if _number(here if t == "current" and here else t) < _number(lowest)]
        if lacking and (asked or len(lacking) == len(wanted)):
            named = ", ".join(f"{here} (the GPU here)" if target == "current" else target for target in lacking)
            raise UsageError(
                f"{self.family} {self.version} has no {precision.upper()} for compute capability {named}: {lowest} is "
                "the first with it.",
                hint=f"Give targets from {lowest} up with --compute-capability, or choose another --precision.",
            )
        return tuple(target for target in wanted if target not in lacking) if lacking else asked


def _number(target: str) -> tuple[int, ...]:
    """``8.9`` → ``(8, 9)``, for comparing; a word such as ``current`` counts as the highest."""
    return tuple(map(int, target.split("."))) if target[:1].isdigit() else (99,)
