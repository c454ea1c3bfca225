"""A TensorRT engine under the clock: an execution context of its own, shapes and profile set, addresses by set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.model import TensorSpec
from trtkit.backends.trt_log import LogBook
from trtkit.errors import RunError, UsageError

__all__ = ["Contexts", "TrtWork", "choose_profile"]

_SHAPES_HINT = "Check the shapes against the plan's optimization profile (trtkit inspect PLAN)."


@dataclass(frozen=True)
class Contexts:
    """How execution contexts of one loaded engine are made; TensorRT-RTX has more to choose than TensorRT.

    Attributes:
        create: makes a context for single executions; ``None`` comes back when the runtime has no memory for it.
        create_timed: makes one for a benchmark.
        close: called once after the last use.
        facts: of the contexts of a benchmark.
    """

    create: Callable[[], Any]
    create_timed: Callable[[BenchSettings], Any]
    close: Callable[[], None] = lambda: None
    facts: dict[str, Any] = field(default_factory=dict)


class TrtWork:
    """See :class:`trtkit.backends.cuda_work.CudaWork`.

    Args:
        engine: the loaded engine.
        contexts: see :class:`Contexts`.
        book: the engine's log.
        inputs, outputs: as the engine declares them.
        settings: shapes and what else was chosen.
        stream: handle of the stream that everything is started on.
    """

    one_set = False

    def __init__(
        self,
        engine: Any,
        contexts: Contexts,
        book: LogBook,
        ends: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]],
        settings: BenchSettings,
        stream: int,
    ) -> None:
        self._engine, self._contexts, self._book, self._stream = engine, contexts, book, stream
        self._declared, self._settings = ends, settings
        self._addresses: dict[int, Mapping[str, int]] = {}
        self._selected: int | None = None
        self._context: Any = None
        self._profiler: Any = None
        self._reported: list[tuple[str, float]] = []
        self.own_graphs = "tensorrt-rtx" if settings.engine_graphs else None

    def __enter__(self) -> Self:
        inputs, outputs = self._declared
        engine, aux = self._engine, self._settings.aux_streams
        if aux is not None and engine.num_aux_streams > aux:
            raise UsageError(
                f"The plan was built for {engine.num_aux_streams} auxiliary streams, which cannot be lowered to {aux}.",
                hint="Leave --aux-streams out, or build the plan again with fewer.",
            )
        shapes = {spec.name: _shape_of(spec, self._settings, engine) for spec in inputs}
        profile, ranges = choose_profile(engine, inputs, shapes)
        self._mark = len(self._book.errors)
        self._context = context = self._contexts.create_timed(self._settings)
        if context is None:
            raise self.failure("No execution context could be made")
        if profile != 0 and not context.set_optimization_profile_async(profile, self._stream):
            raise self.failure(f"Optimization profile {profile} was refused")
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise self.failure(f"The shape {shape} of input {name} was refused")
        self.inputs = tuple(TensorSpec(spec.name, spec.dtype, shapes[spec.name]) for spec in inputs)
        self.outputs = tuple(
            TensorSpec(spec.name, spec.dtype, self._fixed(spec.name, tuple(context.get_tensor_shape(spec.name))))
            for spec in outputs
        )
        self.facts = {
            "profile": profile,
            "profile_ranges": ranges,
            "profiles": engine.num_optimization_profiles,
            "aux_streams": engine.num_aux_streams,
            **self._contexts.facts,
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context = None  # its memory goes with the last reference
        self._profiler = None

    def place(self, index: int, addresses: Mapping[str, int]) -> None:
        """See :meth:`trtkit.backends.cuda_work.CudaWork.place`."""
        self._addresses[index] = dict(addresses)

    def select(self, index: int) -> None:
        """See :meth:`trtkit.backends.cuda_work.CudaWork.select`."""
        if index == self._selected:
            return
        context = self._context
        for name, address in self._addresses[index].items():
            if not context.set_tensor_address(name, address):
                raise self.failure(f"The address of tensor {name} was refused")
        self._selected = index

    def launch(self) -> None:
        """See :meth:`trtkit.backends.cuda_work.CudaWork.launch`; ``False`` from TensorRT is a failure."""
        context = self._context
        if not context.execute_async_v3(self._stream):
            raise self.failure("enqueue returned False")

    def why_no_capture(self) -> str | None:
        """``None``: whether it can be captured shows when it is tried."""
        return None

    def layer_times(self, trt: Any, finish: Callable[[], None]) -> list[tuple[str, float]]:
        """Execute the selected buffer set once with TensorRT's profiler: (layer's name, milliseconds) in its order.

        Args:
            trt: the vendor's module.
            finish: waits until the stream is empty.

        Raises:
            RunError: the runtime refused.
        """
        context, reported = self._context, self._reported
        if self._profiler is None:
            self._profiler = context.profiler = _profiler(trt, reported)  # TensorRT keeps a bare pointer to it
            context.enqueue_emits_profile = False
        reported.clear()
        self.launch()
        finish()
        if not context.report_to_profiler():
            raise self.failure("The times of the layers were not reported")
        return list(reported)

    def failure(self, what: str) -> RunError:
        """An error with the vendor's own words since this work began, memory told apart."""
        book, self._mark = self._book.since(self._mark), len(self._book.errors)
        said = book.last_errors() or "TensorRT gives no reason"
        hint = "Lower the batch size or free device memory." if book.ran_out_of_memory else _SHAPES_HINT
        return RunError(f"{what}: {said}", hint=hint, log=tuple(book.errors[-10:]))

    def _fixed(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        if min(shape, default=0) < 0:
            raise RunError(
                f"Output {name} has a shape {shape} that depends on the values of the inputs.",
                hint="Such a plan cannot be timed with fixed buffers; benchmark it with --family onnxruntime.",
            )
        return shape


def choose_profile(
    engine: Any, inputs: tuple[TensorSpec, ...], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[int, dict[str, list[list[int]]]]:
    """The profile that holds all shapes and has the smallest maximum, and its ranges: input → (min, opt, max).

    Raises:
        RunError: no profile holds them; all ranges are listed.
    """
    dynamic = [spec.name for spec in inputs if spec.is_dynamic]
    fitting, seen = [], []
    for index in range(engine.num_optimization_profiles):
        ranges = {
            name: [list(map(int, shape)) for shape in engine.get_tensor_profile_shape(name, index)] for name in dynamic
        }
        holds = all(
            all(low <= size <= high for low, size, high in zip(low_, shapes[name], high_, strict=True))
            for name, (low_, _, high_) in ranges.items()
        )
        size = sum(math.prod(high) for _, _, high in ranges.values())
        seen.append("; ".join(f"{name} {low} … {high}" for name, (low, _, high) in ranges.items()))
        if holds:
            fitting.append((size, index, ranges))
    if not fitting:
        wanted = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        allowed = " | ".join(seen) or "none"
        raise RunError(
            f"No optimization profile of the plan holds {wanted}. Its profiles: {allowed}.",
            hint="Choose a batch within them, or build the plan with a larger maximum of --batch.",
        )
    _, index, ranges = min(fitting, key=lambda entry: entry[:2])
    return index, ranges


def _profiler(trt: Any, reported: list[tuple[str, float]]) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            reported.append((layer_name, float(ms)))

    return Profiler()


def _shape_of(spec: TensorSpec, settings: BenchSettings, engine: Any) -> tuple[int, ...]:
    if engine.is_shape_inference_io(spec.name):
        raise RunError(
            f"Input {spec.name} is a shape whose values the plan reads on the host.",
            hint="Such a plan cannot be benchmarked; make the shape a constant of the model.",
        )
    shape = settings.shapes.get(spec.name, tuple(dim for dim in spec.shape if isinstance(dim, int)))
    fits = len(shape) == len(spec.shape) and all(
        isinstance(dim, str) or dim == size for dim, size in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise RunError(f"Input {spec.text} does not take the shape {list(shape)}.", hint=_SHAPES_HINT)
    return tuple(shape)
