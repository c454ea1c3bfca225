"""The ``onnxruntime`` family: reference for every other, and runner of last resort. Its plan is the ONNX itself.

ONNX Runtime falls back to the CPU in silence when a provider does not start; here the session is asked which provider
it got, and the answer is part of every result.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from trtkit.artifacts.layers import LayerReport
from trtkit.artifacts.model import TensorSpec
from trtkit.backends import cuda, ort_cuda
from trtkit.backends.base import BuildOptions, BuildOutcome, Capabilities, LoadOptions
from trtkit.environment import cpu_name
from trtkit.errors import BackendUnavailableError, BuildError, PlanError, RunError
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
        return Capabilities(
            version=version,
            refused=refused,
            suffix=".onnx",
            on_cpu=True,
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
            raise BuildError(error.message, hint=error.hint, log=error.log) from error
        parsed = time.perf_counter()
        report.progress("Creating a session", 1, 1)
        shutil.copyfile(onnx, plan)
        return BuildOutcome((), None, (), parsed - started, time.perf_counter() - parsed)

    def load(self, plan: Path, options: LoadOptions) -> OrtRunner:
        """See :meth:`trtkit.backends.base.Backend.load`: on CUDA where that provider starts, else on the CPU."""
        if not options.on_cpu and cuda.probe().gpus and ort_cuda.why_not() is None:
            made = session(plan, cuda_options={"use_tf32": int(options.tf32)}, spinning=options.spinning)
            if made.get_providers()[0] == _CUDA:
                return OrtRunner(made, f"{cuda.probe().gpus[0].name}, {_CUDA}")
        return OrtRunner(session(plan, spinning=options.spinning), f"{cpu_name()}, {_CPU}")

    def layers(self, plan: Path) -> LayerReport | None:
        """``None``: ONNX Runtime has no engine to look into."""
        return None


class OrtRunner:
    """An inference session behind Polygraphy's ``OnnxrtRunner``; see :class:`trtkit.backends.base.Runner`."""

    def __init__(self, made: Any, where: str) -> None:
        self.where = where
        self.provider: str = made.get_providers()[0]
        self.inputs = tuple(_spec(value) for value in made.get_inputs())
        self.outputs = tuple(_spec(value) for value in made.get_outputs())
        self._session = made

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
            raise RunError(
                f"ONNX Runtime failed while executing the model: {_first_line(error)}",
                hint="Check the input shapes; a smaller batch needs less memory.",
            ) from error
        return {name: np.asarray(value) for name, value in outputs.items()}


def session(onnx: Path, *, cuda_options: Mapping[str, Any] | None = None, spinning: bool = True) -> Any:
    """An inference session on the CPU, or on CUDA with the CPU behind it.

    Only ONNX Runtime's basic, semantics-preserving graph optimisations are on: the extended ones are known to give
    wrong results on FP8 Q/DQ models and move FP32 results by themselves.

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
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    providers: list[Any] = [_CPU]
    if cuda_options is not None:
        providers = [(_CUDA, dict(cuda_options)), _CPU]
    try:
        return ort.InferenceSession(str(onnx), options, providers=providers)
    except Exception as error:  # see OrtRunner.run
        raise PlanError(
            f"ONNX Runtime {ort.__version__} refuses {onnx.name}: {_first_line(error)}",
            hint="Mend the model, or update onnxruntime.",
        ) from error


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


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:600]
