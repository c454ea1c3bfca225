"""The ``tensorrt-rtx`` family: TensorRT's API, but plans are built ahead of time on any machine, GPU or not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.files import write_bytes
from trtkit.backends import cuda
from trtkit.backends.base import BuildOptions, Capabilities
from trtkit.backends.trt import TrtBackend
from trtkit.backends.trt_config import common_config
from trtkit.backends.trt_timed import Contexts
from trtkit.errors import UsageError

__all__ = ["TrtRtxBackend"]

_HOPPER = "9.0"
_LAST_WITH_HOPPER = (1, 6)  # 1.7 refuses to load on 9.0; 1.4 to 1.6 run what was built there for "current"
_REFUSED = {
    "timing_cache": "it times no kernels at build time (see --runtime-cache)",
    "version_compatible": "its plans load in exactly the version that built them",
    "hardware_compatibility": "its plans are portable among the targets of --compute-capability",
}
_FIRST_WITH_INT8 = (1, 7)
_NO_INT8 = "its INT8 convolutions fail for every GPU; tensorrt-rtx-cu13 1.7 and newer build them"
_DEFAULT_WORKSPACE, _UNLIMITED = 64 << 30, 1 << 40
_NAME = re.compile(r"^SM(\d+)(\d)$")


class TrtRtxBackend(TrtBackend):
    """TensorRT-RTX: plans hold portable kernels that are compiled just in time where they run."""

    family = "tensorrt-rtx"
    module_name = "tensorrt_rtx"
    vendor_name = "TensorRT-RTX"

    def _install_line(self) -> str:
        return "Run: pip install tensorrt-rtx-cu13 (Linux x86-64 and Windows)."

    def _capabilities(self, trt: Any, found: cuda.CudaProbe, common: dict[str, Any]) -> Capabilities:
        version = str(trt.__version__)
        release = tuple(int(part) for part in version.split(".")[:2])
        targets = _targets_of(trt)
        cannot_run = found.problem
        way_out = "Copy the plan to a machine with an RTX GPU and run it there." if cannot_run else None
        if found.gpus:
            own = found.gpus[0].compute_capability
            if own == _HOPPER and release > _LAST_WITH_HOPPER:
                cannot_run = f"TensorRT-RTX {version} does not run on {found.gpus[0].name} (compute capability {own})"
                way_out = "Install tensorrt-rtx-cu13==1.6.1.120, the last line that runs on Hopper, or use tensorrt."
            elif own not in targets and own != _HOPPER:
                cannot_run = f"TensorRT-RTX {version} has no support for compute capability {own}"
                way_out = "Use --family tensorrt on this GPU."
        usable = bool(found.gpus) and cannot_run is None
        refused = dict(_REFUSED)
        if not usable:
            refused |= dict.fromkeys(("refit", "strip_weights"), "its builder needs a GPU that it can use for this")
        return Capabilities(
            version=version,
            cannot_run=cannot_run,
            way_out=way_out,
            refused=refused,
            refused_precisions={} if release >= _FIRST_WITH_INT8 else {"int8": _NO_INT8},
            # For 7.5 version 1.7 builds INT8 plans without a word, and every convolution in them is float.
            lowest_targets={"int8": "8.0", "fp8": "8.9"},
            targets=targets,
            # 7.5 is left out of the default: it has no FP32 matrix product there.
            default_targets=("current",) if usable else tuple(t for t in targets if t in ("8.0", "8.6", "8.9", "12.0")),
            device=f"{found.gpus[0].name} (compute capability {found.gpus[0].compute_capability})" if usable else None,
            **common,
        )

    def _config_loader(self, trt: Any, options: BuildOptions, monitor: Any) -> Any:
        from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

        if options.workspace_bytes is None:
            # The vendor's default, 64 GiB, is a limit on the activations too: larger batches are refused as out of
            # memory on devices that have far more. The kernels are the same.
            own = [gpu.memory_bytes for gpu in cuda.probe().gpus] or [_UNLIMITED]
            options = replace(options, workspace_bytes=max(_DEFAULT_WORKSPACE, *own))
        wanted = options.compute_capability or self.capabilities().default_targets
        if wanted == ("current",):
            return CreateConfigRTX(use_gpu=True, **common_config(trt, options, monitor))
        pairs = [(int(major), int(minor)) for major, minor in (asked.split(".") for asked in wanted)]
        return CreateConfigRTX(compute_capabilities=pairs, **common_config(trt, options, monitor))

    def _targets(self, trt: Any, config: Any) -> tuple[str, ...]:
        chosen = [config.get_compute_capability(index) for index in range(config.num_compute_capabilities)]
        if trt.ComputeCapability.CURRENT in chosen:
            return tuple(gpu.compute_capability for gpu in cuda.probe().gpus[:1])
        return tuple(_dotted(target.name) or target.name for target in chosen)

    def _contexts(self, trt: Any, engine: Any, runtime_cache: Path | None) -> Contexts:
        runtime_config = engine.create_runtime_config()
        cache = None
        if runtime_cache is not None:
            cache = runtime_config.create_runtime_cache()
            if runtime_cache.exists():
                cache.deserialize(runtime_cache.read_bytes())
            runtime_config.set_runtime_cache(cache)
        facts: dict[str, Any] = {"runtime_cache": runtime_cache is not None, "kernel_specialization": None}

        def create() -> Any:
            return engine.create_execution_context(runtime_config)

        def create_timed(settings: BenchSettings) -> Any:
            # By default kernels for the shape are compiled in the background while generic ones run, which would be
            # measured, and captured in graphs.
            if hasattr(runtime_config, "dynamic_shapes_kernel_specialization_strategy"):
                eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
                runtime_config.dynamic_shapes_kernel_specialization_strategy = eager
                facts["kernel_specialization"] = "eager"
            if settings.engine_graphs:
                if not hasattr(runtime_config, "cuda_graph_strategy"):
                    raise UsageError(
                        f"TensorRT-RTX {trt.__version__} captures no CUDA graphs by itself.",
                        hint="Leave --engine-graphs out: the mode compute-graph captures them in every version.",
                    )
                runtime_config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            return create()

        def close() -> None:
            if runtime_cache is not None and cache is not None:
                write_bytes(runtime_cache, memoryview(cache.serialize()))

        # is_stream_capturable is not asked: 1.6.1 on Hopper denies it for plans that it captures and replays well.
        return Contexts(create, create_timed, close, facts=facts)


def _dotted(name: str) -> str | None:
    """``SM86`` → ``8.6``, ``SM120`` → ``12.0``; ``None`` for names that are no compute capability."""
    match = _NAME.match(name)
    return f"{match[1]}.{match[2]}" if match else None


def _targets_of(trt: Any) -> tuple[str, ...]:
    found = (_dotted(name) for name in trt.ComputeCapability.__members__)
    return tuple(sorted((name for name in found if name), key=lambda name: tuple(map(int, name.split(".")))))
