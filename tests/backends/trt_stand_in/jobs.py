"""Worker jobs: trtkit's own jobs, one after the other in one process, before a pretended GPU."""

from __future__ import annotations

import ctypes
import json
from typing import Any

from tests.backends.cuda_stand_in import Device, Runtime
from trtkit.backends import bench_jobs, cuda, cuda_bandwidth, cuda_driver, jobs, profile_jobs, trt
from trtkit.backends.base import Gpu
from trtkit.errors import TrtkitError
from trtkit.worker.protocol import Reporter

MEMORY_BYTES = 24 * 2**30
JOBS = {"measure": bench_jobs, "layer_times": profile_jobs}
"""Jobs that are in other modules than the rest."""


class HostCuda:
    """Polygraphy's CUDA wrapper with host memory in the place of a device's."""

    def __init__(self) -> None:
        self._blocks: dict[int, Any] = {}

    def create_stream(self) -> int:
        return 1

    def stream_synchronize(self, ptr: int) -> None:
        return None

    def destroy_stream(self, ptr: int) -> None:
        return None

    def malloc(self, nbytes: int) -> int:
        block = ctypes.create_string_buffer(max(1, nbytes))
        self._blocks[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def free(self, ptr: int) -> None:
        self._blocks.pop(ptr, None)  # as cudaFree, which takes a null pointer

    def memcpy(self, dst: int, src: int, nbytes: int, kind: Any, stream_ptr: int | None = None) -> None:
        ctypes.memmove(dst, src, nbytes)


def _pretend(compute_capability: str | None) -> None:
    gpus: tuple[Gpu, ...] = ()
    if compute_capability is not None:
        gpus = (Gpu(0, "Pretended GPU", compute_capability, MEMORY_BYTES),)
    problem = None if gpus else "no CUDA device: the NVIDIA driver is not installed on this machine"
    driver = ("580.1", "13.0") if gpus else (None, None)
    cuda.probe = lambda: cuda.CudaProbe(gpus, *driver, problem)  # type: ignore[assignment]


def _pretend_runtime() -> Runtime:
    """CUDA's runtime for trtkit's own streams; Polygraphy's executes at once, in :class:`HostCuda`."""
    from tests.backends.trt_stand_in.state import STATE

    runtime = Runtime(Device())
    cuda_driver.bindings = lambda: runtime
    cuda_bandwidth._BYTES = 2**16

    def kernel(stream: int, reads: Any, writes: Any, effect: Any) -> None:
        if stream in runtime.streams:
            runtime.kernel(stream, "engine", 1e-3, reads, writes, effect)
        else:
            effect()

    STATE.kernel = kernel
    return runtime


def run(
    report: Reporter, *, scenarios: list[dict[str, Any]], family: str = "tensorrt", version: str | None = None
) -> list[dict[str, Any]]:
    """Each scenario's ``value`` or ``error``, and what the stand-in recorded of it.

    Args:
        report: takes the jobs' progress and log.
        scenarios: :class:`~tests.backends.trt_stand_in.Scenario` as JSON.
        family: of the backend.
        version: pretend that the vendor's module is of this version.
    """
    from tests.backends.trt_stand_in.state import STATE

    if version is not None:
        original = trt.TrtBackend._import

        def with_version(self: trt.TrtBackend) -> tuple[Any, str | None]:
            module, why = original(self)
            module.__version__ = version
            return module, why

        trt.TrtBackend._import = with_version  # type: ignore[method-assign]
    answers = []
    for scenario in scenarios:
        _pretend(scenario["compute_capability"])
        STATE.begin(scenario["script"])
        runtime = None
        if family == "tensorrt" and scenario["job"] in ("execute", *JOBS):
            from polygraphy.cuda import cuda as polygraphy_cuda

            polygraphy_cuda.G_CUDA = HostCuda()
            runtime = _pretend_runtime() if scenario["job"] in JOBS else None
        answer: dict[str, Any] = {}
        try:
            job = getattr(JOBS.get(scenario["job"], jobs), scenario["job"])
            answer["value"] = job(report, family=family, **scenario["arguments"])
        except TrtkitError as error:
            answer["error"] = error.to_wire()
        if runtime is not None:
            answer["left"] = runtime.left
        answers.append({**answer, "record": json.loads(json.dumps(STATE.record))})
    return answers
