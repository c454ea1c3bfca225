"""What only a GPU can show of bench: device clocks, overlapping copies, graphs. ``python -m pytest tests/gpu``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtkit.artifacts.bench import BenchResult, Subject
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.device import Device
from trtkit.backends.base import Capabilities
from trtkit.backends.cuda_bandwidth import bandwidths
from trtkit.backends.cuda_driver import Cuda
from trtkit.backends.probing import probe
from trtkit.errors import RunError
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.request import ConvertRequest
from trtkit.stages.bench import BenchRequest, bench
from trtkit.stages.export import SourceRequest

pytestmark = pytest.mark.gpu

FAMILIES = ("tensorrt-rtx", "onnxruntime")
MODEL = "squeezenet1_1"


@pytest.fixture(scope="module", params=FAMILIES)
def can(request: pytest.FixtureRequest) -> Capabilities:
    found = probe(request.param)
    if not found.gpus:
        pytest.skip("there is no GPU")
    if found.cannot_run is not None or found.device == "CPU":
        pytest.skip(f"{request.param} cannot use the GPU: {found.cannot_run or found.notes}")
    return found


@pytest.fixture(scope="module")
def plan(can: Capabilities, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("plans")
    request = ConvertRequest(
        SourceRequest(MODEL), family=can.family, batch="1:8:64", output=folder, precision="fp16", validate=False
    )
    yield convert(request).plan


def measured(can: Capabilities, plan: Path, mode: str, **more: Any) -> BenchResult:
    chosen = BenchSettings(**{"mode": mode, "batch": 8, "duration_s": 1.0, "max_duration_s": 3.0, **more})
    subject = Subject(MODEL, "", plan.name, "", can.family, can.version or "", "fp16")
    return bench(BenchRequest(subject, plan, Device("cuda"), chosen), lambda event: None)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_measures_and_its_outputs_are_right(can: Capabilities, plan: Path, mode: str) -> None:
    result = measured(can, plan, mode)
    facts, summary = result.conditions.facts, result.timeline.summary()
    assert result.conditions.check is not None and result.conditions.check["finite"]
    assert result.conditions.check["run_matches"] is True
    assert summary["count"] >= 10 and summary["compute"]["p50_ms"] > 0
    copies = mode in ("transfers", "overlapped")
    assert (summary["h2d"]["p50_ms"] > 0) is copies and (summary["d2h"]["p50_ms"] > 0) is copies
    if can.family == "tensorrt-rtx":
        assert facts["graph_problem"] is None and facts["graph"] is (mode != "compute")
    elif mode == "compute-graph":
        assert facts["graph"] is True and facts["graph_by"] == "onnxruntime", facts["graph_problem"]
    if copies:
        rate = facts["input_bytes"] / (summary["h2d"]["p50_ms"] / 1e3)
        assert 0.3 < rate / facts["h2d_bytes_per_s"] < 1.2
    assert facts["device_bytes"] > facts["buffer_bytes"]
    wall = result.timeline.wall_s
    assert result.timeline.between(0.0, float("inf")).wall_s == pytest.approx(wall)


def test_device_times_lie_within_the_hosts(can: Capabilities, plan: Path) -> None:
    timeline = measured(can, plan, "compute", depth=1).timeline
    start, enqueued = timeline.column("start_compute_ms"), timeline.column("start_enqueue_ms")
    slack_ms = 0.2  # the two clocks are tied together once, at the start
    assert np.all(start >= enqueued - slack_ms)
    assert np.all(timeline.column("end_compute_ms")[:-1] <= enqueued[1:] + slack_ms)


def test_overlapping_is_no_slower_than_one_after_the_other(can: Capabilities, plan: Path) -> None:
    serial, overlapped = (measured(can, plan, mode, batch=64) for mode in ("transfers", "overlapped"))
    assert (overlapped.throughput_images_per_s or 0) > 0.98 * (serial.throughput_images_per_s or 0)
    part = serial.timeline.summary()
    whole = sum(part[name]["mean_ms"] for name in ("h2d", "compute", "d2h"))
    assert serial.timeline.wall_s * 1e3 / len(serial.timeline) == pytest.approx(whole, rel=0.1)


def test_the_gpu_is_described_and_watched(can: Capabilities, plan: Path) -> None:
    result = measured(can, plan, "compute", batch=64)
    device, conditions = result.device, result.conditions
    assert device.name == can.gpus[0].name and device.compute_capability == can.gpus[0].compute_capability
    assert device.uuid and device.pci_bus and device.driver
    assert conditions.monitor["problem"] is None or "process" in conditions.monitor["problem"]
    assert conditions.monitor["busy_fraction"] < 0.25
    assert len(conditions.sm_clock_mhz) >= 10 and len(conditions.power_w) >= 10


def test_a_batch_outside_the_profile_is_an_error(can: Capabilities, plan: Path) -> None:
    if can.family == "onnxruntime":
        pytest.skip("an ONNX file has no profile")
    with pytest.raises(RunError, match="No optimization profile of the plan holds"):
        measured(can, plan, "compute", batch=65)


def test_memory_that_runs_out_is_an_error_and_the_process_goes_on(can: Capabilities) -> None:
    with Cuda() as cuda:
        with pytest.raises(RunError, match="The device memory is used up"):
            cuda.device_memory(2 * can.gpus[0].memory_bytes)
        values, back = np.arange(100, dtype=np.float32), np.empty(100, np.float32)
        address = cuda.device_memory(values.nbytes)
        cuda.upload(address, values)
        cuda.download(back, address)
        np.testing.assert_array_equal(back, values)


def test_the_bus_is_measured(can: Capabilities) -> None:
    rates = bandwidths()
    assert all(1e9 < rate < 1e12 for rate in rates.values()), rates


def test_layers_are_timed(can: Capabilities, plan: Path, tmp_path: Path) -> None:
    if can.family == "onnxruntime":
        pytest.skip("TensorRT's profiler is what is tested")
    from trtkit import worker
    from trtkit.backends import registry

    settings = replace(measured(can, plan, "compute").settings, duration_s=0.1)
    found = worker.run(
        "trtkit.backends.profile_jobs:layer_times",
        {
            "family": can.family,
            "plan": str(plan),
            "device": {"kind": "cuda", "index": 0},
            "settings": settings.to_json(),
            "folder": str(tmp_path),
            "input_std": 1.0,
            "data": None,
            "host_code": False,
            "warmup": 3,
            "iterations": 5,
        },
        what="the layer profile",
        env=registry.worker_env(can.family),
    ).value
    assert len(found) == 5 and all(len(iteration) == len(found[0]) > 10 for iteration in found)
    assert all(ms >= 0 for iteration in found for _, ms in iteration)
