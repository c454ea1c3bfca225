"""A loaded engine: single executions by Polygraphy's runner, benchmarks by our own. TensorRT and TensorRT-RTX alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.model import TensorSpec
from trtkit.backends import cuda
from trtkit.backends.cuda_driver import Cuda
from trtkit.backends.cuda_timed import CudaTimed
from trtkit.backends.cuda_work import allocate
from trtkit.backends.repeated import Samples
from trtkit.backends.trt_log import LogBook
from trtkit.backends.trt_timed import Contexts, TrtWork
from trtkit.errors import PlanError, RunError

__all__ = ["TrtRunner"]


class TrtRunner:
    """A loaded engine; see :class:`trtkit.backends.base.Runner` and :class:`trtkit.backends.timing.TimedRunner`."""

    modes = tuple(MODES)

    def __init__(self, trt: Any, engine: Any, contexts: Contexts, book: LogBook, where: str) -> None:
        self.where = where
        self._book, self._contexts = book, contexts
        self._trt, self._engine = trt, engine
        self._runner: Any = None
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = {name: engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self.inputs = tuple(_spec(trt, engine, name) for name in names if is_input[name])
        self.outputs = tuple(_spec(trt, engine, name) for name in names if not is_input[name])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._contexts.close()
        finally:
            if self._runner is not None:
                self._runner.deactivate()

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See :meth:`trtkit.backends.base.Runner.run`."""
        outputs = self._call(lambda: self._active().infer(dict(feeds)))
        return {name: np.array(value) for name, value in outputs.items()}

    def _active(self) -> Any:
        """Polygraphy's runner; its context takes device memory, which a benchmark needs for its own."""
        if self._runner is None:
            from polygraphy.backend.trt import TrtRunner as PolygraphyRunner

            cuda.expose_runtime()
            runner = PolygraphyRunner(self._contexts.create)
            runner.activate()
            self._runner = runner
        return self._runner

    def timed(self, sets: Sequence[Mapping[str, Samples]], settings: BenchSettings) -> CudaTimed:
        """See :meth:`trtkit.backends.timing.TimedRunner.timed`."""
        return CudaTimed(lambda stream: self._work(settings, stream), sets, settings)

    def layer_times(
        self, feeds: Mapping[str, Samples], settings: BenchSettings, *, warmup: int, iterations: int
    ) -> list[list[tuple[str, float]]]:
        """For each iteration the milliseconds of each layer, measured by TensorRT's profiler, which costs time itself.

        Raises:
            RunError: the runtime refused, or memory ran out.
        """
        with Cuda() as device:
            stream = device.stream()
            with self._work(settings, int(stream)) as work:
                allocate(device, work, [feeds], 1, copies=False)
                work.select(0)
                for _ in range(warmup):
                    work.launch()
                device.drain(stream)
                return [work.layer_times(self._trt, lambda: device.drain(stream)) for _ in range(iterations)]

    def _work(self, settings: BenchSettings, stream: int) -> TrtWork:
        return TrtWork(self._engine, self._contexts, self._book, (self.inputs, self.outputs), settings, stream)

    def _call(self, function: Any) -> Any:
        from polygraphy.exception import PolygraphyException

        try:
            return function()
        except PolygraphyException as error:
            said = self._book.last_errors() or " ".join(str(error).split())[:600]
            hint = (
                "Lower the batch size or free device memory."
                if self._book.ran_out_of_memory
                else "Check the shapes against the plan's optimization profile (trtkit inspect PLAN)."
            )
            log = tuple(self._book.errors[-10:])
            raise RunError(f"Executing the plan failed: {said}", hint=hint, log=log) from error
        except OSError as error:  # Polygraphy loads the CUDA runtime by hand
            raise RunError(
                f"The CUDA runtime library, which Polygraphy's runner needs, was not found: {error}",
                hint="Run: pip install nvidia-cuda-runtime (CUDA 13) or nvidia-cuda-runtime-cu12.",
            ) from error


def _spec(trt: Any, engine: Any, name: str) -> TensorSpec:
    vendor_dtype = engine.get_tensor_dtype(name)
    try:
        dtype = np.dtype(trt.nptype(vendor_dtype)).name
    except TypeError as error:
        raise PlanError(
            f"Tensor {name!r} of the plan has type {vendor_dtype.name}, which NumPy has not.",
            hint="Build the plan from a model whose inputs and outputs are float32, float16 or integers.",
        ) from error
    shape = tuple(dim if dim >= 0 else f"d{axis}" for axis, dim in enumerate(engine.get_tensor_shape(name)))
    return TensorSpec(name, dtype, shape)
