"""The seam: what every engine family offers, in types that import no vendor.

Nobody outside ``trtkit.backends`` asks which family it is talking to; they ask :class:`Capabilities`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from trtkit.artifacts.layers import LayerReport
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.profile import OptimizationProfile
from trtkit.errors import UsageError
from trtkit.worker.protocol import Reporter

__all__ = ["OPTION_FLAGS", "Backend", "BuildOptions", "BuildOutcome", "Capabilities", "Gpu", "LoadOptions", "Runner"]

OPTION_FLAGS: dict[str, str] = {
    "tf32": "--precision tf32",
    "compute_capability": "--compute-capability",
    "workspace_bytes": "--workspace",
    "optimization_level": "--optimization-level",
    "timing_cache": "--timing-cache",
    "runtime_cache": "--runtime-cache",
    "version_compatible": "--version-compatible",
    "hardware_compatibility": "--hardware-compatibility",
    "strip_weights": "--strip-weights",
    "refit": "--refit",
    "sparse_weights": "--sparse-weights",
}
"""Every build option that a family may refuse, and how the command line spells it."""


@dataclass(frozen=True)
class BuildOptions:
    """How to build; what precision to build is not among it, because that is in the ONNX file.

    Attributes:
        profile: shape ranges of the dynamic inputs; empty for a model of fixed shapes.
        tf32: whether FP32 tensors may be multiplied in TF32 (10 bits of mantissa).
        compute_capability: targets such as ``("8.6", "8.9")``, or ``("current",)``; empty: the family's default.
        workspace_bytes: limit of the builder's scratch memory on the device.
        optimization_level: 0 (fast build) to 5 (fast engine).
        timing_cache: TensorRT's tactic timings, read and added to.
        runtime_cache: TensorRT-RTX's just-in-time kernels, read and added to when the plan is executed.
        version_compatible: the plan shall load in later TensorRT versions too.
        hardware_compatibility: ``ampere_plus`` or ``same_compute_capability``.
        strip_weights: leave out weights that can be refitted.
        refit: weights can be replaced after the build.
        sparse_weights: use 2:4 structured sparsity where the weights have it.
    """

    profile: OptimizationProfile
    tf32: bool = False
    compute_capability: tuple[str, ...] = ()
    workspace_bytes: int | None = None
    optimization_level: int | None = None
    timing_cache: Path | None = None
    runtime_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatibility: str | None = None
    strip_weights: bool = False
    refit: bool = False
    sparse_weights: bool = False

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        paths = {name: str(value) if value else None for name, value in self._caches().items()}
        return {**asdict(self), "profile": self.profile.to_json(), **paths}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BuildOptions:
        """The inverse of :meth:`to_json`."""
        caches = {name: Path(value[name]) if value[name] else None for name in ("timing_cache", "runtime_cache")}
        return cls(
            **{
                **value,
                **caches,
                "profile": OptimizationProfile.from_json(value["profile"]),
                "compute_capability": tuple(value["compute_capability"]),
            }
        )

    def identity(self) -> dict[str, Any]:
        """What of the options decides the plan's content: all but the caches."""
        return replace(self, timing_cache=None, runtime_cache=None).to_json()

    def _caches(self) -> dict[str, Path | None]:
        return {"timing_cache": self.timing_cache, "runtime_cache": self.runtime_cache}


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
        targets: compute capabilities that can be built for without such a GPU, lowest first.
        default_targets: the targets used when none is asked for (``("current",)``: the GPU of this machine).
        suffix: of the family's artifact, ``.plan`` or ``.onnx``.
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
    targets: tuple[str, ...] = ()
    default_targets: tuple[str, ...] = ()
    suffix: str = ".plan"
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
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Capabilities:
        """The inverse of :meth:`to_json`."""
        tuples = {name: tuple(value[name]) for name in ("targets", "default_targets", "notes")}
        return cls(**{**value, **tuples, "gpus": tuple(Gpu(**gpu) for gpu in value["gpus"])})

    def check(self, options: BuildOptions) -> None:
        """Refuse what this family cannot honour, instead of ignoring it.

        Raises:
            UsageError: naming the option, the family, and the reason.
        """
        for name, reason in self.refused.items():
            if getattr(options, name) not in (None, False, ()):
                raise UsageError(
                    f"{OPTION_FLAGS[name]} cannot be honoured by the {self.family} family: {reason}",
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


@dataclass(frozen=True)
class LoadOptions:
    """How to load a plan for execution.

    Attributes:
        on_cpu: keep a family that can use either (ONNX Runtime) on the CPU.
        tf32: let ONNX Runtime's CUDA provider multiply FP32 in TF32; TensorRT plans carry this themselves.
        runtime_cache: TensorRT-RTX's just-in-time kernels, read if the file exists and added to after use.
        host_code: let the native code inside a version-compatible plan run; only for plans whose origin is trusted.
    """

    on_cpu: bool = False
    tf32: bool = False
    runtime_cache: Path | None = None
    host_code: bool = False


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
