"""The ``tensorrt`` family, and the code that every TensorRT-like family shares.

The vendor's module is a value: :class:`TrtBackend` is given its name, so that TensorRT-RTX (``trt_rtx``) is a few
dozen lines more. Names of attributes exist in TensorRT 10.16, 11.4 and RTX 1.7 alike (a test checks each one), flags go
by enum name because their numbers moved between major versions, and Polygraphy drives parser, builder and runner.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from trtkit.artifacts.layers import LayerReport
from trtkit.artifacts.model import TensorSpec
from trtkit.backends import cuda, layer_inspector, layer_log
from trtkit.backends.base import BuildOptions, BuildOutcome, Capabilities, LoadOptions
from trtkit.backends.trt_log import LogBook, build_error, parse_error
from trtkit.errors import BackendUnavailableError, PlanError, RunError
from trtkit.worker.protocol import Reporter

__all__ = ["TrtBackend", "TrtRunner"]


class TrtBackend:
    """TensorRT for data centres: builds for the GPU of this machine, and needs one to do so."""

    family = "tensorrt"
    module_name = "tensorrt"
    vendor_name = "TensorRT"

    def capabilities(self) -> Capabilities:
        """Look at the installed library and at the driver; see :class:`Capabilities`."""
        found = cuda.probe()
        common: dict[str, Any] = {"family": self.family, "gpus": found.gpus, "driver": found.driver, "cuda": found.cuda}
        trt, why = self._import()
        if trt is None:
            return Capabilities(
                version=None, cannot_build=why, cannot_run=why, way_out=self._install_line(), **common
            )
        return self._capabilities(trt, found, common)

    def _capabilities(self, trt: Any, found: cuda.CudaProbe, common: dict[str, Any]) -> Capabilities:
        device = None
        if found.gpus:
            device = f"{found.gpus[0].name} (compute capability {found.gpus[0].compute_capability})"
        return Capabilities(
            version=str(trt.__version__),
            cannot_build=found.problem,
            cannot_run=found.problem,
            way_out="Build on the machine with the GPU, or use --family tensorrt-rtx." if found.problem else None,
            refused={
                "compute_capability": "it builds for the GPU of this machine (see --hardware-compatibility)",
                "runtime_cache": "it compiles everything at build time (see --timing-cache)",
            },
            default_targets=("current",) if found.gpus else (),
            device=device,
            **common,
        )

    def _install_line(self) -> str:
        return (
            "Run: pip install 'trtkit[tensorrt]' where NVIDIA's own package index can be reached: "
            "TensorRT's libraries are not on PyPI."
        )

    def _import(self) -> tuple[Any, str | None]:
        try:
            trt = importlib.import_module(self.module_name)
        except ImportError as error:
            missing = isinstance(error, ModuleNotFoundError) and error.name == self.module_name
            why = "is not installed" if missing else f"is installed, but does not import: {error}"
            return None, f"the Python package {self.module_name} {why}"
        if not hasattr(trt, "Builder"):  # the namespace that an interrupted uninstall leaves behind
            return None, f"the Python package {self.module_name} is damaged: it has no Builder"
        return trt, None

    def _module(self) -> Any:
        trt, why = self._import()
        if trt is None:
            raise BackendUnavailableError(f"The {self.family} family cannot work: {why}.", hint=self._install_line())
        return trt

    def build(self, onnx: Path, plan: Path, options: BuildOptions, report: Reporter) -> BuildOutcome:
        """See :meth:`trtkit.backends.base.Backend.build`."""
        trt = self._module()
        book = LogBook(report)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Polygraphy sets a timing cache, always
            return self._build(trt, book, onnx, plan, options, report)

    def _build(
        self, trt: Any, book: LogBook, onnx: Path, plan: Path, options: BuildOptions, report: Reporter
    ) -> BuildOutcome:
        from polygraphy.backend.trt import engine_bytes_from_network, network_from_onnx_path
        from polygraphy.exception import PolygraphyException

        vendor = f"{self.vendor_name} {trt.__version__}"
        _install_logger(book.logger(trt))
        report.progress("Parsing ONNX", 0, 1)
        started = time.perf_counter()
        try:
            builder, network, parser = network_from_onnx_path(str(onnx), strongly_typed=True)
        except PolygraphyException as error:
            raise parse_error(book, str(error), vendor, onnx.name) from error
        parsed = time.perf_counter()
        report.progress("Parsing ONNX", 1, 1)
        cache = str(options.timing_cache) if options.timing_cache else None
        try:
            config = self._config_loader(trt, options, _monitor(trt, report))(builder, network)
            _set_flag(config, trt.BuilderFlag.TF32, options.tf32)
            data = engine_bytes_from_network((builder, network, parser), config, save_timing_cache=cache)
        except PolygraphyException as error:
            raise build_error(book, str(error), vendor, onnx.name) from error
        built = time.perf_counter()
        with plan.open("wb") as file:
            file.write(memoryview(data))
        members = trt.BuilderFlag.__members__.items()
        flags = tuple(sorted(name for name, flag in members if config.get_flag(flag)))
        targets = self._targets(trt, config)
        del config, parser, network, builder, data
        layers = layer_log.parse(book.layer_messages)
        if cuda.probe().gpus and self.capabilities().cannot_run is None:
            report.progress("Reading the layers from the engine", 0, 1)
            layers = self.layers(plan) or layers
            report.progress("Reading the layers from the engine", 1, 1)
        return BuildOutcome(targets, layers, flags, parsed - started, built - parsed, tuple(book.warnings))

    def _config_loader(self, trt: Any, options: BuildOptions, monitor: Any) -> Any:
        from polygraphy.backend.trt import CreateConfig

        level = None
        if options.hardware_compatibility is not None:
            level = getattr(trt.HardwareCompatibilityLevel, options.hardware_compatibility.upper())
        return CreateConfig(
            **self._common_config(trt, options, monitor),
            load_timing_cache=str(options.timing_cache) if options.timing_cache else None,
            version_compatible=options.version_compatible or None,
            hardware_compatibility_level=level,
        )

    def _common_config(self, trt: Any, options: BuildOptions, monitor: Any) -> dict[str, Any]:
        from polygraphy.backend.trt import Profile

        profile = Profile()
        for name, shapes in options.profile.ranges.items():
            profile.add(name, shapes.minimum, shapes.optimum, shapes.maximum)
        limits = None
        if options.workspace_bytes is not None:
            limits = {trt.MemoryPoolType.WORKSPACE: options.workspace_bytes}
        return {
            "profiles": [profile],
            "memory_pool_limits": limits,
            "builder_optimization_level": options.optimization_level,
            "refittable": options.refit or None,
            "strip_plan": options.strip_weights or None,
            "sparse_weights": options.sparse_weights or None,
            # The layers with their data types are the proof of precision; without DETAILED they cannot be read back.
            "profiling_verbosity": trt.ProfilingVerbosity.DETAILED,
            "progress_monitor": monitor,
        }

    def _targets(self, trt: Any, config: Any) -> tuple[str, ...]:
        """Compute capabilities that the plan was built for; here, that of the GPU that built it."""
        return tuple(gpu.compute_capability for gpu in cuda.probe().gpus[:1])

    def load(self, plan: Path, options: LoadOptions) -> TrtRunner:
        """See :meth:`trtkit.backends.base.Backend.load`. Native code inside a plan is not allowed to run."""
        trt = self._module()
        can = self.capabilities()
        if can.cannot_run is not None:
            raise BackendUnavailableError(
                f"The plan was not executed: {can.cannot_run}.",
                hint=can.way_out or "Run trtkit doctor on this machine.",
            )
        book = LogBook()
        engine = self._deserialize(trt, book, plan)
        return TrtRunner(trt, engine, self._context_loader(trt, engine, options.runtime_cache), book, can.device or "GPU")

    def _context_loader(self, trt: Any, engine: Any, runtime_cache: Path | None) -> Any:
        """What makes the execution context, and what to do after use: ``(create, close)``."""
        return engine.create_execution_context, lambda: None

    def _deserialize(self, trt: Any, book: LogBook, plan: Path) -> Any:
        logger = book.logger(trt)
        _install_logger(logger)
        runtime = trt.Runtime(logger)
        engine = runtime.deserialize_cuda_engine(plan.read_bytes())
        if engine is None:
            raise PlanError(
                f"{self.vendor_name} {trt.__version__} refuses {plan.name}: "
                f"{book.last_errors() or 'it gives no reason'}",
                hint="Build the plan again with the version and on the kind of GPU that will run it.",
                log=tuple(book.errors[-10:]),
            )
        return engine

    def layers(self, plan: Path) -> LayerReport | None:
        """See :meth:`trtkit.backends.base.Backend.layers`."""
        trt = self._module()
        engine = self._deserialize(trt, LogBook(), plan)
        inspector = engine.create_engine_inspector()
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        return layer_inspector.parse(text) if text else None


class TrtRunner:
    """A loaded engine behind Polygraphy's ``TrtRunner``; see :class:`trtkit.backends.base.Runner`."""

    def __init__(self, trt: Any, engine: Any, contexts: Any, book: LogBook, where: str) -> None:
        self.where = where
        self._book = book
        self._create, self._close = contexts
        self._engine = engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = {name: engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self.inputs = tuple(_spec(trt, engine, name) for name in names if is_input[name])
        self.outputs = tuple(_spec(trt, engine, name) for name in names if not is_input[name])

    def __enter__(self) -> Self:
        from polygraphy.backend.trt import TrtRunner as PolygraphyRunner

        self._runner = PolygraphyRunner(self._create)
        self._call(self._runner.activate)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self._runner.deactivate()

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See :meth:`trtkit.backends.base.Runner.run`."""
        outputs = self._call(lambda: self._runner.infer(dict(feeds)))
        return {name: np.array(value) for name, value in outputs.items()}

    def _call(self, function: Any) -> Any:
        from polygraphy.exception import PolygraphyException

        try:
            return function()
        except PolygraphyException as error:
            said = self._book.last_errors() or " ".join(str(error).split())[:600]
            hint = "Lower the batch size or free device memory." if self._book.ran_out_of_memory else (
                "Check the shapes against the plan's optimization profile (trtkit inspect PLAN)."
            )
            raise RunError(f"Executing the plan failed: {said}", hint=hint, log=tuple(self._book.errors[-10:])) from error


def _spec(trt: Any, engine: Any, name: str) -> TensorSpec:
    dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
    shape = tuple(dim if dim >= 0 else f"d{axis}" for axis, dim in enumerate(engine.get_tensor_shape(name)))
    return TensorSpec(name, dtype, shape)


def _set_flag(config: Any, flag: Any, value: bool) -> None:
    if value:
        config.set_flag(flag)
    else:
        config.clear_flag(flag)


def _install_logger(logger: Any) -> None:
    """Make Polygraphy use our logger, and keep its own prints out of the worker's log."""
    from polygraphy.backend.trt import util
    from polygraphy.logger import G_LOGGER

    util.TRT_LOGGER = logger
    G_LOGGER.module_severity = G_LOGGER.CRITICAL


def _monitor(trt: Any, report: Reporter) -> Any:
    """TensorRT's progress monitor, passed on; it is called from the builder's threads."""
    totals: dict[str, tuple[int, str | None]] = {}

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            totals[phase_name] = (num_steps, parent_phase)
            report.progress(phase_name, 0, num_steps, parent_phase)

        def step_complete(self, phase_name: str, step: int) -> bool:
            steps, parent = totals.get(phase_name, (0, None))
            report.progress(phase_name, min(step + 1, steps), steps, parent)
            return True

        def phase_finish(self, phase_name: str) -> None:
            steps, parent = totals.pop(phase_name, (0, None))
            report.progress(phase_name, steps, steps, parent)

    return Monitor()
