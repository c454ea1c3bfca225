"""ONNX Runtime's CUDA provider under the clock: on our stream, with inputs and outputs bound to our device memory.

The provider is given our stream (``user_compute_stream``) and told not to wait at the end of a run
(``disable_synchronize_execution_providers``), so that events on that stream time it as they time any other engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from trtkit.artifacts import bench_settings
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.model import TensorSpec
from trtkit.backends.cuda_timed import CudaTimed
from trtkit.backends.ort_cuda import PROVIDER
from trtkit.backends.ort_timed import failed
from trtkit.backends.repeated import Samples
from trtkit.errors import PlanError, RunError

__all__ = ["MODES", "OrtWork", "timed"]

MODES = tuple(bench_settings.MODES)
"""The modes that the CUDA provider has: all."""

MakeSession = Callable[[Mapping[str, str]], Any]
"""Makes a session of the model, given options of the CUDA provider beside the usual ones."""
_GRAPH, _NO_GRAPH = "gpu_graph_id", "-1"
# The word for a run that is no part of a graph. Without graphs it saves the provider the look for one in each run; a
# version that does not know the entry reads past it.
_OWN_GRAPHS_ONLY = "ONNX Runtime captures CUDA graphs itself, for fixed addresses: only the mode compute-graph has them"


def timed(
    make: MakeSession,
    ends: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]],
    sets: Sequence[Mapping[str, Samples]],
    settings: BenchSettings,
) -> CudaTimed:
    """See :meth:`trtkit.backends.timing.TimedRunner.timed`.

    Args:
        make: makes the session that is timed.
        ends: inputs and outputs as the model declares them.
        sets, settings: as there.
    """
    return CudaTimed(lambda stream: OrtWork(make, ends, settings, stream), sets, settings)


class OrtWork:
    """See :class:`trtkit.backends.cuda_work.CudaWork`.

    ``device`` is ONNX Runtime's word for where addresses lie; with ``cpu`` the same code runs in host memory.
    """

    def __init__(
        self,
        make: MakeSession,
        ends: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]],
        settings: BenchSettings,
        stream: int,
        *,
        device: str = "cuda",
    ) -> None:
        self._make, self._ends, self._settings, self._stream, self._device = make, ends, settings, stream, device
        self._bindings: dict[int, Any] = {}
        self._selected: Any = None
        self._problem: str | None = None
        self.one_set = settings.mode == "compute-graph"
        self.own_graphs: str | None = None

    def __enter__(self) -> Self:
        import onnxruntime as ort

        declared_inputs, declared_outputs = self._ends
        self.inputs = tuple(
            TensorSpec(spec.name, spec.dtype, tuple(self._settings.shapes.get(spec.name, spec.shape)))
            for spec in declared_inputs
        )
        unset = [spec.text for spec in self.inputs if spec.is_dynamic]
        if unset:
            raise RunError(f"No shape was given for {'; '.join(unset)}.", hint="Give every dynamic input its shape.")
        self._session = self._opened()
        self._options = ort.RunOptions()
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._options.add_run_config_entry(_GRAPH, _NO_GRAPH if self.own_graphs is None else "1")
        self.outputs = self._resolved(declared_outputs)
        self.facts = {"provider_options": dict(self._session.get_provider_options().get(PROVIDER, {}))}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bindings.clear()
        self._selected = None
        del self._session  # before the stream that it works on goes

    def place(self, index: int, addresses: Mapping[str, int]) -> None:
        """See :meth:`trtkit.backends.cuda_work.CudaWork.place`."""
        binding = self._session.io_binding()
        for specs, bind in ((self.inputs, binding.bind_input), (self.outputs, binding.bind_output)):
            for spec in specs:
                bind(spec.name, self._device, 0, np.dtype(spec.dtype).type, list(spec.shape), addresses[spec.name])
        self._bindings[index] = binding

    def select(self, index: int) -> None:
        """See :meth:`trtkit.backends.cuda_work.CudaWork.select`."""
        self._selected = self._bindings[index]

    def launch(self) -> None:
        """See :meth:`trtkit.backends.cuda_work.CudaWork.launch`."""
        self._run(self._selected, self._options)

    def why_no_capture(self) -> str | None:
        """See :meth:`trtkit.backends.cuda_work.CudaWork.why_no_capture`: never by us."""
        return self._problem or _OWN_GRAPHS_ONLY

    def _opened(self) -> Any:
        """The session on our stream; in the mode ``compute-graph`` with ONNX Runtime's own graphs, if it can."""
        stream = {"user_compute_stream": str(self._stream)}
        if self._settings.mode == "compute-graph":
            try:
                session = self._make({**stream, "enable_cuda_graph": "1"})
                self.own_graphs = "onnxruntime"
            except PlanError as error:  # a node that the provider has not got, say
                self._problem = error.message
                session = self._make(stream)
        else:
            session = self._make(stream)
        provider = session.get_providers()[0]
        if self._device == "cuda" and provider != PROVIDER:
            raise RunError(
                f"ONNX Runtime started {provider} instead of {PROVIDER}.",
                hint="Run trtkit doctor, which says why the CUDA provider does not start; or take --device cpu.",
            )
        return session

    def _run(self, binding: Any, options: Any) -> None:
        try:
            self._session.run_with_iobinding(binding, options)
        except Exception as error:  # ONNX Runtime raises pybind-made classes that share no base but Exception
            raise failed(error, integers=any("int" in spec.dtype for spec in self.inputs)) from error

    def _resolved(self, declared: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """Outputs with the shapes in force: from the names of dimensions that inputs have too, else from one run."""
        bound: dict[Any, int] = {}
        for spec, shaped in zip(self._ends[0], self.inputs, strict=True):
            bound |= {dim: int(size) for dim, size in zip(spec.shape, shaped.shape, strict=True)}
        found = tuple(
            TensorSpec(spec.name, spec.dtype, tuple(bound.get(d, d) if isinstance(d, str) else d for d in spec.shape))
            for spec in declared
        )
        if not any(spec.is_dynamic for spec in found):
            return found
        return self._observed(declared)

    def _observed(self, declared: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        import onnxruntime as ort

        binding, options = self._session.io_binding(), ort.RunOptions()
        options.add_run_config_entry(_GRAPH, _NO_GRAPH)
        for spec in self.inputs:
            zeros = np.zeros(tuple(map(int, spec.shape)), spec.dtype)
            binding.bind_ortvalue_input(spec.name, ort.OrtValue.ortvalue_from_numpy(zeros, self._device, 0))
        for spec in declared:
            binding.bind_output(spec.name, self._device, 0)
        self._run(binding, options)
        shapes = [tuple(int(size) for size in value.shape()) for value in binding.get_outputs()]
        return tuple(TensorSpec(spec.name, spec.dtype, shape) for spec, shape in zip(declared, shapes, strict=True))
