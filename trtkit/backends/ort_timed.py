"""The timed path of ONNX Runtime on a CPU: bound inputs and outputs, one blocking call an iteration."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.timeline import Iteration
from trtkit.backends.options import LoadOptions
from trtkit.backends.repeated import Samples
from trtkit.errors import RunError

__all__ = ["CPU_MODES", "OrtTimed", "failed", "first_line", "gemm_ops_per_s"]

CPU_MODES = ("compute",)
"""There is nothing to copy to a CPU, and nothing to capture."""

_GEMM_SIZES = (512, 1024)


class OrtTimed:
    """See :class:`trtkit.backends.timing.Timed`; an iteration is done when :meth:`issue` returns.

    Each input set has a binding of its own, made once: an iteration is then one call that allocates nothing. Outputs
    are written to memory that all bindings share. ``enqueue`` has no length: on a CPU the call is the computation.
    """

    def __init__(
        self, session: Any, sets: Sequence[Mapping[str, Samples]], settings: BenchSettings, options: LoadOptions
    ) -> None:
        import onnxruntime as ort

        self._session = session
        self._integers = any("int" in value.type for value in session.get_inputs())
        self.epoch_monotonic_s = time.monotonic()
        try:
            self._inputs = [
                {name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)) for name, array in given.items()}
                for given in sets
            ]
            names = [value.name for value in session.get_outputs()]
            # The shapes of outputs follow from the inputs in ways that only a run tells.
            shaped = session.run_with_ort_values(names, self._inputs[0])
        except Exception as error:  # ONNX Runtime raises pybind-made classes that share no base but Exception
            raise failed(error, integers=self._integers) from error
        self._outputs = dict(zip(names, shaped, strict=True))
        self._bindings = [self._bind(given) for given in self._inputs]
        self._count = 0
        self._done: dict[int, tuple[Iteration, int]] = {}
        self.facts: dict[str, Any] = {
            "graph": False,
            "streams": 0,
            "buffers": len(sets),
            "input_bytes": sum(array.nbytes for array in sets[0].values()),
            "output_bytes": sum(value.numpy().nbytes for value in shaped if value.is_tensor()),
            "optimize": options.optimize,
            "spinning": options.spinning,
            "threads": session.get_session_options().intra_op_num_threads,
            "thread_affinity": list(options.affinity),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bindings.clear()
        self._inputs.clear()

    def issue(self, slot: int) -> None:
        """See :meth:`trtkit.backends.timing.Timed.issue`."""
        used = self._count % len(self._bindings)
        binding = self._bindings[used]
        started = time.monotonic()
        try:
            self._session.run_with_iobinding(binding)  # with run options, ONNX Runtime's Python part takes 28 µs more
        except Exception as error:  # see __init__
            raise failed(error, integers=self._integers) from error
        ended = time.monotonic()
        self._count += 1
        start, end = (started - self.epoch_monotonic_s) * 1e3, (ended - self.epoch_monotonic_s) * 1e3
        self._done[slot] = Iteration(start, start, start, start, start, end, end, end), used

    def finish(self, slot: int) -> Iteration:
        """See :meth:`trtkit.backends.timing.Timed.finish`."""
        return self._done[slot][0]

    def settle(self) -> None:
        """Nothing is captured on a CPU."""

    def outputs(self, slot: int) -> dict[str, np.ndarray]:
        """See :meth:`trtkit.backends.timing.Timed.outputs`; those of the last iteration of all, whatever the slot."""
        return {name: np.array(value.numpy()) for name, value in self._outputs.items()}

    def set_of(self, slot: int) -> int:
        """See :meth:`trtkit.backends.timing.Timed.set_of`."""
        return self._done[slot][1]

    def _bind(self, given: Mapping[str, Any]) -> Any:
        binding = self._session.io_binding()
        for name, value in given.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            binding.bind_ortvalue_output(name, value)
        return binding


def gemm_ops_per_s(options: LoadOptions, seconds: float = 0.3) -> float:
    """Operations per second of the fastest FP32 product of two square matrices, on the threads of ``options``.

    Two operations per multiply-accumulate: 2·n³ in each product, n being 512 and 1024 in turn (which of them is faster
    depends on the caches). It is what this CPU reaches with this library, the ceiling that a percentage of peak refers
    to; on a busy machine the fastest of a moment may still be too slow.
    """
    import onnxruntime as ort
    from onnx import TensorProto, helper

    from trtkit.backends.ort import session

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "gemm",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "N"]) for name in "ab"],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, ["N", "N"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made, rng = session(model.SerializeToString(), options), np.random.default_rng(0)
    feeds = {
        size: {name: ort.OrtValue.ortvalue_from_numpy(rng.random((size, size), dtype=np.float32)) for name in "ab"}
        for size in _GEMM_SIZES
    }
    fastest, began = 0.0, time.monotonic()
    while time.monotonic() - began < seconds or not fastest:
        for size, given in feeds.items():
            started = time.perf_counter()
            made.run_with_ort_values(["c"], given)
            fastest = max(fastest, 2 * size**3 / (time.perf_counter() - started))
    return fastest


def first_line(error: Exception) -> str:
    """What ONNX Runtime says, on one line, shortened."""
    return " ".join(str(error).split())[:600]


def failed(error: Exception, *, integers: bool) -> RunError:
    """What an execution raised, with the way out; ``integers``: whether an input holds them, which may be indices."""
    hint = "Check the input shapes; a smaller batch needs less memory."
    if integers:
        hint = (
            "If integers are out of the range that the model takes (those made up are 0 to 15), give your own samples "
            "with trtkit bench --data FILE; else check the input shapes, or lower the batch."
        )
    return RunError(f"ONNX Runtime failed while executing the model: {first_line(error)}", hint=hint)
