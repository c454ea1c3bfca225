"""The CUDA side of bench on a real GPU, without an engine: streams, events, graphs, bandwidth, NVML.

The work is a device-to-device copy, so that only ``cuda-bindings`` is needed and the right output is known to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pytest

from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.device import Device
from trtkit.artifacts.model import TensorSpec
from trtkit.backends import cuda, cuda_bandwidth, device_facts
from trtkit.backends.cuda_timed import CudaTimed
from trtkit.backends.nvml_monitor import NvmlMonitor
from trtkit.measurement import harness

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not cuda.probe().gpus, reason=f"no GPU: {cuda.probe().problem}"),
]

_BATCH = 4


class CopyWork:
    """y = x, by ``repeats`` copies on the device: see :class:`trtkit.backends.cuda_work.CudaWork`."""

    one_set = False
    own_graphs = None

    def __init__(self, stream: int, values: int, repeats: int) -> None:
        self.inputs = (TensorSpec("x", "float32", (_BATCH, values)),)
        self.outputs = (TensorSpec("y", "float32", (_BATCH, values)),)
        self.facts: dict[str, Any] = {}
        self._stream, self._bytes, self._repeats = stream, _BATCH * values * 4, repeats
        self._places: dict[int, Mapping[str, int]] = {}
        self._chosen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def place(self, index: int, addresses: Mapping[str, int]) -> None:
        self._places[index] = addresses

    def select(self, index: int) -> None:
        self._chosen = index

    def launch(self) -> None:
        from cuda.bindings import runtime

        place, kind = self._places[self._chosen], runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        for _ in range(self._repeats):
            (error,) = runtime.cudaMemcpyAsync(place["y"], place["x"], self._bytes, kind, self._stream)
            assert not error, error

    def why_no_capture(self) -> None:
        return None


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize(("mebibytes", "repeats"), [(4, 1), (64, 4), (64, 40)], ids=["tiny", "copy-bound", "compute"])
def test_each_mode_copies_rightly_and_its_times_add_up(mode: str, mebibytes: int, repeats: int) -> None:
    values = mebibytes * 2**20 // 4 // _BATCH
    sets = [{"x": np.random.default_rng(seed).random((_BATCH, values), np.float32)} for seed in range(2)]
    settings = BenchSettings(mode, _BATCH, shapes={"x": (_BATCH, values)}, duration_s=0.5, max_duration_s=2.0)
    with CudaTimed(lambda stream: CopyWork(stream, values, repeats), sets, settings) as timed:
        harness.warm_up(timed, settings)
        with NvmlMonitor(Device("cuda")) as monitor:
            timeline, _ = harness.measure(timed, settings)
        timed.issue(0)
        timed.finish(0)
        assert np.array_equal(timed.outputs(0)["y"], sets[timed.set_of(0)]["x"])
        facts = dict(timed.facts)
    assert facts["graph_problem"] is None, "a copy can be captured"
    assert facts["graph"] is (mode != "compute")
    summary = timeline.summary()
    copies = mode in ("transfers", "overlapped")
    assert (summary["h2d"]["p50_ms"] > 0) is copies
    busy_s = len(timeline) * summary["compute"]["mean_ms"] / 1e3
    assert busy_s <= timeline.wall_s * 1.02, "one stream computes one iteration at a time"
    if mode == "transfers":
        assert timeline.wall_s >= len(timeline) * summary["latency"]["mean_ms"] / 1e3 * 0.98
    print(mode, mebibytes, repeats, timeline.throughput_images_per_s, summary, facts, monitor.seen())


def test_the_device_is_described_and_its_link_measured() -> None:
    found = device_facts.describe(Device("cuda"), BenchSettings("compute", 1))
    assert found.name == cuda.probe().gpus[0].name
    assert found.compute_capability and found.memory_bytes and found.pci_bus and found.uuid
    speeds = cuda_bandwidth.bandwidths()
    assert all(1e9 < speed < 1e12 for speed in speeds.values()), speeds
