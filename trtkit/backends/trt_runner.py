"""A loaded engine, executed by Polygraphy's runner: the same code for TensorRT and TensorRT-RTX."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np

from trtkit.artifacts.model import TensorSpec
from trtkit.backends import cuda
from trtkit.backends.trt_log import LogBook
from trtkit.errors import PlanError, RunError

__all__ = ["TrtRunner"]


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

        cuda.expose_runtime()
        self._runner = PolygraphyRunner(self._create)
        self._call(self._runner.activate)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close()
        finally:
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
