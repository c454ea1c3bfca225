"""The ``onnxruntime`` family: reference for every other, and runner of last resort. Its plan is the ONNX itself.

ONNX Runtime falls back to the CPU in silence when a provider does not start; here the session is asked which provider
it got, and the answer is part of every result.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.layers import LayerReport
from trtkit.artifacts.model import TensorSpec
from trtkit.backends import cuda, ort_cuda, ort_timed
from trtkit.backends.base import BuildOptions, BuildOutcome, Capabilities, LoadOptions
from trtkit.backends.repeated import Samples
from trtkit.backends.timing import Timed
from trtkit.environment import cpu_name
from trtkit.errors import BackendUnavailableError, ModelError, PlanError
from trtkit.worker.protocol import Reporter

__all__ = ["OrtBackend", "OrtRunner", "session"]

_CPU, _CUDA = "CPUExecutionProvider", ort_cuda.PROVIDER
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}
_NOT_HERE = "ONNX Runtime executes the ONNX file itself and builds no engine"
_HOST_ONLY = "its profiler sees the host launch a node and not the GPU execute it"


class OrtBackend:
    """ONNX Runtime on the CPU, or on CUDA where its provider really starts."""

    family = "onnxruntime"

    def capabilities(self) -> Capabilities:
        """Look at the installed library; see :class:`Capabilities`."""
        found = cuda.probe()
        common: dict[str, Any] = {"family": self.family, "gpus": found.gpus, "driver": found.driver, "cuda": found.cuda}
        try:
            import onnxruntime as ort

            version, providers = str(ort.__version__), ort.get_available_providers()
        except (ImportError, AttributeError) as error:
            why = f"the Python package onnxruntime is missing or damaged: {error}"
            return Capabilities(
                version=None,
                cannot_build=why,
                cannot_run=why,
                way_out="Run: pip uninstall -y onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu.",
                suffix=".onnx",
                **common,
            )
        device, notes = "CPU", [f"providers in this build: {', '.join(providers)}", *_twins()]
        if found.gpus:
            problem = ort_cuda.why_not()
            if problem is None:
                device = f"{found.gpus[0].name} (compute capability {found.gpus[0].compute_capability})"
            else:
                notes.append(f"runs on the CPU although there is a GPU: {problem}")
        refused = {name: _NOT_HERE for name in BuildOptions.__dataclass_fields__ if name not in ("profile", "tf32")}
        if device == "CPU":
            refused["tf32"] = "there is no TF32 arithmetic on a CPU"
        shown = {"layer_info": "it executes the ONNX graph itself and builds no engine to look into"}
        if device != "CPU":
            shown["profile"] = (
                "its profiler sees the host launch a node, not the GPU execute it; it can on --device cpu"
            )
        return Capabilities(
            version=version,
            refused=refused,
            suffix=".onnx",
            on_cpu=True,
            refused_exports={"layer_info": _NOT_HERE, "profile@cuda": _HOST_ONLY},
            device=device,
            notes=tuple(notes),
            **common,
        )

    def build(self, onnx: Path, plan: Path, options: BuildOptions, report: Reporter) -> BuildOutcome:
        """Prove that a session can be made, and copy the ONNX; external data stays where it is, in the same folder."""
        started = time.perf_counter()
        report.progress("Creating a session", 0, 1)
        try:
            session(onnx)
        except PlanError as error:
            raise ModelError(error.message, hint=error.hint, log=error.log) from error
        parsed = time.perf_counter()
        report.progress("Creating a session", 1, 1)
        shutil.copyfile(onnx, plan)
        return BuildOutcome((), None, (), parsed - started, time.perf_counter() - parsed)

    def load(self, plan: Path, options: LoadOptions) -> OrtRunner:
        """See :meth:`trtkit.backends.base.Backend.load`: on CUDA where that provider starts, else on the CPU."""
        if not options.on_cpu and cuda.probe().gpus and ort_cuda.why_not() is None:
            tf32 = {"use_tf32": str(int(options.tf32))}
            made = session(plan, options, cuda_options=tf32)
            if made.get_providers()[0] == _CUDA:
                where = f"{cuda.probe().gpus[0].name}, {_CUDA}"
                return OrtRunner(made, where, options, partial(_on_cuda, plan, options, tf32))
        return OrtRunner(session(plan, options), f"{cpu_name()}, {_CPU}", options)

    def layers(self, plan: Path) -> LayerReport | None:
        """``None``: ONNX Runtime has no engine to look into."""
        return None


class OrtRunner:
    """An inference session behind Polygraphy's ``OnnxrtRunner``; see :class:`trtkit.backends.base.Runner`.

    Args:
        made: the session.
        where: what executes.
        options: how it was made.
        make: makes another one for the timed path, given more options of the CUDA provider; ``None`` on a CPU.
    """

    def __init__(
        self,
        made: Any,
        where: str,
        options: LoadOptions | None = None,
        make: Callable[[Mapping[str, str]], Any] | None = None,
    ) -> None:
        self.where = where
        self.provider: str = made.get_providers()[0]
        self.modes: tuple[str, ...] = tuple(MODES) if self.provider == _CUDA else ort_timed.CPU_MODES
        self.inputs = tuple(_spec(value) for value in made.get_inputs())
        self.outputs = tuple(_spec(value) for value in made.get_outputs())
        self._session = made
        self._options, self._make = options or LoadOptions(), make

    def __enter__(self) -> Self:
        from polygraphy.backend.onnxrt import OnnxrtRunner
        from polygraphy.logger import G_LOGGER

        G_LOGGER.module_severity = G_LOGGER.CRITICAL
        self._runner = OnnxrtRunner(self._session)
        self._runner.activate()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.deactivate()

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See :meth:`trtkit.backends.base.Runner.run`."""
        try:
            outputs = self._runner.infer(dict(feeds), check_inputs=False)  # it knows no overridable initializers
        except Exception as error:  # ONNX Runtime raises pybind-made classes that share no base but Exception
            raise ort_timed.failed(error, integers=any("int" in spec.dtype for spec in self.inputs)) from error
        return {name: np.asarray(value) for name, value in outputs.items()}

    def timed(self, sets: Sequence[Mapping[str, Samples]], settings: BenchSettings) -> Timed:
        """See :meth:`trtkit.backends.timing.TimedRunner.timed`."""
        if self._make is not None:
            from trtkit.backends import ort_cuda_timed

            return ort_cuda_timed.timed(self._make, (self.inputs, self.outputs), sets, settings)
        return ort_timed.OrtTimed(self._session, sets, settings, self._options)


def session(
    onnx: Path | bytes,
    load: LoadOptions | None = None,
    *,
    cuda_options: Mapping[str, Any] | None = None,
    profile: Path | None = None,
    optimized: Path | None = None,
) -> Any:
    """An inference session on the CPU, or on CUDA with the CPU behind it.

    Unless told otherwise, only ONNX Runtime's basic, semantics-preserving graph optimisations are on: the extended ones
    are known to give wrong results on FP8 Q/DQ models and move FP32 results by themselves.

    Args:
        onnx: the model's file, or its bytes.
        load: ``optimize``, ``threads``, ``affinity`` and ``spinning`` of it.
        cuda_options: those of the CUDA provider; ``None`` keeps to the CPU.
        profile: how the name of ONNX Runtime's own profile begins; ``None`` for no profile, which costs time.
        optimized: where ONNX Runtime writes the model as it executes it; ``None`` for nowhere.

    Raises:
        BackendUnavailableError: ONNX Runtime is missing.
        PlanError: ONNX Runtime refuses the model.
    """
    try:
        import onnxruntime as ort

        options = ort.SessionOptions()
    except (ImportError, AttributeError) as error:  # an uninstall of one of two twins leaves an empty namespace
        raise BackendUnavailableError(
            f"ONNX Runtime is needed as the reference, and it is missing or damaged: {error}.",
            hint="Run: pip uninstall -y onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu "
            "(or onnxruntime where there is no such wheel).",
        ) from error
    load = load or LoadOptions()
    levels = {"basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL}
    options.graph_optimization_level = levels[load.optimize]
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(load.spinning)))
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    options.intra_op_num_threads = load.threads or own
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    if len(load.affinity) == options.intra_op_num_threads > 1:
        # The calling thread is the first of the pool and is not pinned by ONNX Runtime, which counts from 1.
        pool = ";".join(str(processor + 1) for processor in load.affinity[1:])
        options.add_session_config_entry("session.intra_op_thread_affinities", pool)
    providers: list[Any] = [_CPU]
    if cuda_options is not None:
        providers = [(_CUDA, dict(cuda_options)), _CPU]
    try:
        return ort.InferenceSession(onnx if isinstance(onnx, bytes) else str(onnx), options, providers=providers)
    except Exception as error:  # see OrtRunner.run
        name = onnx.name if isinstance(onnx, Path) else "a model"
        raise PlanError(
            f"ONNX Runtime {ort.__version__} refuses {name}: {ort_timed.first_line(error)}",
            hint="Mend the model, or update onnxruntime.",
        ) from error


def _on_cuda(plan: Path, load: LoadOptions, options: Mapping[str, str], more: Mapping[str, str]) -> Any:
    return session(plan, load, cuda_options={**options, **more})


def _spec(value: Any) -> TensorSpec:
    dtype = _DTYPES.get(value.type, value.type.removeprefix("tensor(").removesuffix(")"))
    shape = tuple(dim if dim is not None else f"d{axis}" for axis, dim in enumerate(value.shape))
    return TensorSpec(value.name, dtype, shape)


def _twins() -> tuple[str, ...]:
    """A warning when both distributions are installed: they share one module, and the last one installed wins."""
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(found) < 2:
        return ()
    return ("both onnxruntime and onnxruntime-gpu are installed; they overwrite each other: keep one",)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
