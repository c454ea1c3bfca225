"""Loops written straight on the vendors' APIs, to hold trtkit's bench against; and the worker job that alternates both.

Nothing of trtkit's timed path is used in the loops: they load the plan themselves, copy inputs to the device once,
capture one CUDA graph for each input set, and launch them in turn between two events. On a CPU the loop is
``session.run`` and nothing else.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.backends import bench_jobs, bench_setup
from trtkit.backends.base import LoadOptions
from trtkit.backends.trt_log import LogBook
from trtkit.measurement import harness
from trtkit.worker.protocol import Reporter

__all__ = ["BareOrt", "BareTrt", "alternate"]

Sets = Sequence[Mapping[str, np.ndarray]]


class BareTrt:
    """TensorRT or TensorRT-RTX, and CUDA's runtime, by hand."""

    def __init__(self, module: str, plan: Path, sets: Sets, runtime_cache: Path | None = None) -> None:
        self.rt = rt = importlib.import_module("cuda.bindings.runtime")
        self.book = LogBook()
        trt = importlib.import_module(module)
        runtime = trt.Runtime(self.book.logger(trt))
        self.engine = engine = runtime.deserialize_cuda_engine(plan.read_bytes())
        assert engine is not None, self.book.last_errors()
        if module == "tensorrt_rtx":
            config = engine.create_runtime_config()
            if hasattr(config, "dynamic_shapes_kernel_specialization_strategy"):
                eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
                config.dynamic_shapes_kernel_specialization_strategy = eager
            if runtime_cache is not None:
                kernels = config.create_runtime_cache()
                kernels.deserialize(runtime_cache.read_bytes())
                config.set_runtime_cache(kernels)
            self.context = engine.create_execution_context(config)
        else:
            self.context = engine.create_execution_context()
        self.stream = self.ok(rt.cudaStreamCreateWithFlags(rt.cudaStreamNonBlocking))
        self.events = [self.ok(rt.cudaEventCreateWithFlags(rt.cudaEventDefault)) for _ in range(2)]
        self.memory: list[int] = []
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        outputs = [name for name in names if name not in sets[0]]
        self.graphs = [self._graph(trt, values, outputs) for values in sets]

    def ok(self, answer: tuple[Any, ...]) -> Any:
        assert answer[0] == self.rt.cudaError_t.cudaSuccess, answer[0]
        return answer[1] if len(answer) > 1 else None

    def _allocate(self, size: int) -> int:
        self.memory.append(int(self.ok(self.rt.cudaMalloc(size))))
        return self.memory[-1]

    def _graph(self, trt: Any, values: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Any:
        rt, context = self.rt, self.context
        to_device = rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        for name, array in values.items():
            address = self._allocate(array.nbytes)
            self.ok(rt.cudaMemcpy(address, array.ctypes.data, array.nbytes, to_device))
            assert context.set_input_shape(name, array.shape)
            assert context.set_tensor_address(name, address)
        for name in outputs:
            itemsize = np.dtype(trt.nptype(self.engine.get_tensor_dtype(name))).itemsize
            size = math.prod(context.get_tensor_shape(name)) * itemsize
            assert context.set_tensor_address(name, self._allocate(size))
        assert context.execute_async_v3(int(self.stream)), self.book.last_errors()
        self.ok(rt.cudaStreamSynchronize(self.stream))
        mode = rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.ok(rt.cudaStreamBeginCapture(self.stream, mode))
        assert context.execute_async_v3(int(self.stream)), self.book.last_errors()
        graph = self.ok(rt.cudaStreamEndCapture(self.stream))
        made = self.ok(rt.cudaGraphInstantiate(graph, 0))
        self.ok(rt.cudaGraphDestroy(graph))
        return made

    def run(self, count: int) -> float:
        """Seconds of so many executions, on the device's clock."""
        rt, stream, graphs = self.rt, self.stream, self.graphs
        start, end = self.events
        launch, sets = rt.cudaGraphLaunch, len(graphs)
        rt.cudaEventRecord(start, stream)
        for index in range(count):
            launch(graphs[index % sets], stream)
        self.ok(rt.cudaEventRecord(end, stream))
        self.ok(rt.cudaEventSynchronize(end))
        return float(self.ok(rt.cudaEventElapsedTime(start, end))) / 1e3

    def close(self) -> None:
        rt = self.rt
        for graph in self.graphs:
            self.ok(rt.cudaGraphExecDestroy(graph))
        self.context = self.engine = None
        for address in self.memory:
            self.ok(rt.cudaFree(address))
        for event in self.events:
            self.ok(rt.cudaEventDestroy(event))
        self.ok(rt.cudaStreamDestroy(self.stream))


class BareOrt:
    """ONNX Runtime on the CPU: ``session.run`` in a loop, with the session options of the other side."""

    def __init__(self, plan: Path, sets: Sets, settings: BenchSettings) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = settings.threads or 0
        options.log_severity_level = 3
        # Idle threads that spin would take the processor from the other session of this process.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(str(plan), options, providers=["CPUExecutionProvider"])
        self.sets = [dict(values) for values in sets]

    def run(self, count: int) -> float:
        session, sets, several = self.session, self.sets, len(self.sets)
        started = time.perf_counter()
        for index in range(count):
            session.run(None, sets[index % several])
        return time.perf_counter() - started

    def close(self) -> None:
        del self.session


def alternate(
    report: Reporter, *, family: str, plan: str, device: dict[str, Any], settings: dict[str, Any], rounds: int,
    seconds: float, runtime_cache: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """trtkit's timed path and the bare loop in turn, in one process: images per second of each round.

    Args:
        report: takes the progress.
        family, plan, device, settings: as :func:`trtkit.backends.bench_jobs.measure`.
        rounds: how often each is run.
        seconds: of each run.
        runtime_cache: file of just-in-time kernels, read and added to, so that the two sides do not both compile.

    Returns:
        ``ours`` and ``bare`` (lists), ``facts`` of the timed path, ``warmup``.
    """
    here, chosen = Device(**device), BenchSettings.from_json(settings)
    bench_setup.pin(chosen.affinity)
    kernels = Path(runtime_cache) if runtime_cache else None
    options = bench_setup.load_options(chosen, here, kernels, False)
    if kernels is not None:
        _compile(family, Path(plan), options, chosen, here)
    found: dict[str, Any] = {"ours": [], "bare": []}
    with bench_jobs.open_runner(family, Path(plan), options, chosen.mode) as runner:
        chosen = bench_setup.with_shapes(runner.inputs, chosen)
        sets = bench_setup.input_sets(runner.inputs, chosen, 1.0, None, here)
        with runner.timed(sets, chosen) as timed:  # type: ignore[attr-defined]
            found["warmup"] = harness.warm_up(timed, chosen)
            used = [sets[index % len(sets)] for index in range(timed.facts["buffers"])]
            bare = _bare(family, Path(plan), used, chosen, kernels)
            bare.run(len(used))
            each = bare.run(10) / 10
            count = max(round(seconds / each), 10)
            for index in range(rounds):
                report.progress("Alternating", index, rounds)
                for side in ("ours", "bare") if index % 2 else ("bare", "ours"):
                    if side == "bare":
                        found[side].append(count * chosen.batch / bare.run(count))
                    else:
                        left = iter(range(count - chosen.depth))
                        timeline, _ = harness.measure(timed, chosen, until=lambda left=left: next(left, None) is None)
                        found[side].append(timeline.throughput_images_per_s)
            report.progress("Alternating", rounds, rounds)
            found["facts"] = dict(timed.facts)
            bare.close()
    return found


def _compile(family: str, plan: Path, options: LoadOptions, settings: BenchSettings, device: Device) -> None:
    """Fill the file of just-in-time kernels: it is written when the plan is closed."""
    with bench_jobs.open_runner(family, plan, options, settings.mode) as runner:
        chosen = bench_setup.with_shapes(runner.inputs, settings)
        sets = bench_setup.input_sets(runner.inputs, replace(chosen, buffers=1), 1.0, None, device)
        with runner.timed(sets, chosen) as timed:  # type: ignore[attr-defined]
            timed.issue(0)
            timed.finish(0)


def _bare(
    family: str, plan: Path, sets: Sets, settings: BenchSettings, kernels: Path | None = None
) -> BareTrt | BareOrt:
    if family == "onnxruntime":
        return BareOrt(plan, sets, settings)
    return BareTrt({"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}[family], plan, sets, kernels)
