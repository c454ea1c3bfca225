"""How to build and how to load: options that every family understands or refuses. Imports no vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

from trtkit.artifacts.files import json_ready
from trtkit.artifacts.profile import OptimizationProfile

__all__ = ["HARDWARE_COMPATIBILITY", "OPTION_FLAGS", "OPTION_TYPES", "BuildOptions", "LoadOptions"]

HARDWARE_COMPATIBILITY = ("ampere_plus", "same_compute_capability")
"""The levels of ``--hardware-compatibility``."""

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
        value: dict[str, Any] = json_ready({**asdict(self), "profile": self.profile.to_json(), **paths})
        return value

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


OPTION_TYPES: dict[str, Any] = {
    name: hint for name, hint in get_type_hints(BuildOptions).items() if name not in ("profile", "tf32")
}
"""The build options that a user can ask for, and the type of each."""


@dataclass(frozen=True)
class LoadOptions:
    """How to load a plan for execution.

    Attributes:
        on_cpu: keep a family that can use either (ONNX Runtime) on the CPU.
        tf32: let ONNX Runtime's CUDA provider multiply FP32 in TF32; without it, it uses no tensor cores at all.
            TensorRT plans carry this themselves.
        runtime_cache: TensorRT-RTX's just-in-time kernels, read if the file exists and added to after use.
        spinning: let ONNX Runtime's idle threads spin; off where two sessions of one process take turns, which would
            slow each other down.
        host_code: let the native code inside a version-compatible plan run; only for plans whose origin is trusted.
        optimize: how far ONNX Runtime may rewrite the graph: ``basic`` keeps the results of the file as it is, ``all``
            is what it does by default, and what is benchmarked.
        threads: ONNX Runtime's intra-op threads on a CPU; ``None`` takes one for each processor of the process.
        affinity: processors, one for each of these threads; empty lets the system place them.
    """

    on_cpu: bool = False
    tf32: bool = False
    runtime_cache: Path | None = None
    host_code: bool = False
    spinning: bool = True
    optimize: Literal["basic", "all"] = "basic"
    threads: int | None = None
    affinity: tuple[int, ...] = ()
