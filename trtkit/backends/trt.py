"""The ``tensorrt`` family, and the code that every TensorRT-like family shares.

The vendor's module is a value: :class:`TrtBackend` is given its name, so that TensorRT-RTX (``trt_rtx``) is a few
dozen lines more. Names of attributes exist in TensorRT 10.16, 11.4 and RTX 1.7 alike (a test checks each one), flags go
by enum name because their numbers moved between major versions, and Polygraphy drives parser, builder and runner.
"""

from __future__ import annotations

import importlib
import time
import warnings
from pathlib import Path
from typing import Any

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.layers import LayerReport
from trtkit.backends import cuda, layer_inspector, layer_log
from trtkit.backends.base import BuildOptions, BuildOutcome, Capabilities, LoadOptions
from trtkit.backends.trt_config import check_timing_cache, common_config, progress_monitor
from trtkit.backends.trt_log import LogBook, build_error, install_logger, refusal
from trtkit.backends.trt_parse import parse_error
from trtkit.backends.trt_runner import TrtRunner
from trtkit.backends.trt_timed import Contexts
from trtkit.errors import BackendUnavailableError, PlanError, UsageError
from trtkit.worker.protocol import Reporter

__all__ = ["TrtBackend"]

_OLDEST = (10, 12)  # the first whose strongly typed networks cover what we write


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
            return Capabilities(version=None, cannot_build=why, cannot_run=why, way_out=self._install_line(), **common)
        return self._capabilities(trt, found, common)

    def _capabilities(self, trt: Any, found: cuda.CudaProbe, common: dict[str, Any]) -> Capabilities:
        device = None
        if found.gpus:
            device = f"{found.gpus[0].name} (compute capability {found.gpus[0].compute_capability})"
        version = str(trt.__version__)
        problem = found.problem
        way_out = "Build on the machine with the GPU, or use --family tensorrt-rtx." if problem else None
        if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
            problem = f"TensorRT {version} is too old: {'.'.join(map(str, _OLDEST))} is the oldest that trtkit drives"
            way_out = self._install_line()
        return Capabilities(
            version=version,
            cannot_build=problem,
            cannot_run=problem,
            way_out=way_out,
            refused={
                "compute_capability": "it builds for the GPU of this machine (see --hardware-compatibility)",
                "runtime_cache": "it compiles everything at build time (see --timing-cache)",
            },
            lowest_targets={"fp8": "8.9"},
            default_targets=("current",) if found.gpus else (),
            device=device,
            **common,
        )

    def _install_line(self) -> str:
        return (
            "Run: pip install tensorrt where NVIDIA's own package index can be reached: "
            "TensorRT's libraries are not on PyPI."
        )

    def _import(self) -> tuple[Any, str | None]:
        try:
            trt = importlib.import_module(self.module_name)
        except (ImportError, OSError) as error:  # OSError: one of its libraries cannot be loaded
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
        """See :meth:`trtkit.backends.base.Backend.build`.

        Raises:
            UsageError: an option that this family cannot honour, or a timing cache that cannot be written.
        """
        trt = self._module()
        can = self.capabilities()
        if can.cannot_build is not None:  # asking the library itself would be a segmentation fault
            raise BackendUnavailableError(
                f"The {self.family} family cannot build here: {can.cannot_build}.",
                hint=can.way_out or "Run trtkit doctor on this machine.",
            )
        can.check(options)
        check_timing_cache(options.timing_cache)
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
        install_logger(book, trt)
        report.progress("Parsing ONNX", 0, 1)
        started = time.perf_counter()
        try:
            builder, network, parser = network_from_onnx_path(str(onnx), strongly_typed=True)
        except PolygraphyException as error:
            raise parse_error(book, str(error), vendor, onnx) from error
        except TypeError as error:
            if "nullptr" not in str(error):
                raise
            raise BackendUnavailableError(  # pybind11's words when the library cannot make a Builder
                f"{vendor} does not start on this machine: {book.last_errors() or error}",
                hint="Compare the driver's CUDA version with the library's: run trtkit doctor.",
                log=tuple(book.errors[-10:]),
            ) from error
        parsed = time.perf_counter()
        report.progress("Parsing ONNX", 1, 1)
        cache = str(options.timing_cache) if options.timing_cache else None
        try:
            config = self._config_loader(trt, options, progress_monitor(trt, report))(builder, network)
            if options.tf32:
                config.set_flag(trt.BuilderFlag.TF32)
            else:
                config.clear_flag(trt.BuilderFlag.TF32)
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
        # Errors that did not stop the build (a timing cache of another GPU, say) are doubts about the plan too.
        doubts = [*book.warnings, *book.errors]
        layers = layer_log.parse(book.layer_messages)
        can = self.capabilities()
        if can.cannot_run is None and can.gpus and can.gpus[0].compute_capability in targets:
            report.progress("Reading the layers from the engine", 0, 1)
            try:
                layers = self._layers(trt, plan, own=True) or layers
            except PlanError as error:  # the plan is built all the same; whoever runs it will meet the reason again
                doubts.append(error.message)
            report.progress("Reading the layers from the engine", 1, 1)
        return BuildOutcome(targets, layers, flags, parsed - started, built - parsed, tuple(dict.fromkeys(doubts)))

    def _config_loader(self, trt: Any, options: BuildOptions, monitor: Any) -> Any:
        from polygraphy.backend.trt import CreateConfig

        level = None
        if options.hardware_compatibility is not None:
            level = getattr(trt.HardwareCompatibilityLevel, options.hardware_compatibility.upper())
        return CreateConfig(
            **common_config(trt, options, monitor),
            load_timing_cache=str(options.timing_cache) if options.timing_cache else None,
            version_compatible=options.version_compatible or None,
            hardware_compatibility_level=level,
        )

    def _targets(self, trt: Any, config: Any) -> tuple[str, ...]:
        """Compute capabilities that the plan was built for; here, that of the GPU that built it."""
        return tuple(gpu.compute_capability for gpu in cuda.probe().gpus[:1])

    def load(self, plan: Path, options: LoadOptions) -> TrtRunner:
        """See :meth:`trtkit.backends.base.Backend.load`. Native code inside a plan is not allowed to run."""
        trt = self._module()
        can = self._able_to_run()
        book = LogBook()
        engine = self._deserialize(trt, book, plan, own=options.host_code)
        contexts = self._contexts(trt, engine, options.runtime_cache)
        return TrtRunner(trt, engine, contexts, book, can.device or "GPU")

    def _able_to_run(self) -> Capabilities:
        can = self.capabilities()
        if can.cannot_run is not None:
            raise BackendUnavailableError(
                f"The plan was not executed: {can.cannot_run}.",
                hint=can.way_out or "Run trtkit doctor on this machine.",
            )
        return can

    def _contexts(self, trt: Any, engine: Any, runtime_cache: Path | None) -> Contexts:
        def create_timed(settings: BenchSettings) -> Any:
            if settings.engine_graphs:
                raise UsageError(
                    f"{self.vendor_name} captures no CUDA graphs by itself.",
                    hint="Leave --engine-graphs out; the mode compute-graph captures them.",
                )
            return engine.create_execution_context()

        return Contexts(engine.create_execution_context, create_timed)

    def _deserialize(self, trt: Any, book: LogBook, plan: Path, *, own: bool = False) -> Any:
        runtime = trt.Runtime(install_logger(book, trt))
        if own:  # built a moment ago: the lean runtime inside a version-compatible plan is TensorRT's own
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan.read_bytes())
        if engine is None:
            raise refusal(book, f"{self.vendor_name} {trt.__version__}", plan.name)
        return engine

    def layers(self, plan: Path) -> LayerReport | None:
        """See :meth:`trtkit.backends.base.Backend.layers`.

        Raises:
            BackendUnavailableError: nothing here can load an engine.
            PlanError: the runtime refuses the plan.
        """
        trt = self._module()
        self._able_to_run()
        return self._layers(trt, plan)

    def _layers(self, trt: Any, plan: Path, *, own: bool = False) -> LayerReport | None:
        engine = self._deserialize(trt, LogBook(), plan, own=own)
        inspector = engine.create_engine_inspector()
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        return layer_inspector.parse(text) if text else None
