"""Watching and describing a GPU through a scripted NVML."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.backends.cuda_stand_in import Device as PretendedDevice
from tests.backends.cuda_stand_in import Runtime
from tests.backends.nvml_stand_in import PCI_BUS, Pynvml, processes
from trtkit.artifacts.bench import Conditions
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device, DeviceFacts
from trtkit.backends import cuda, cuda_driver, device_facts
from trtkit.backends.base import Gpu
from trtkit.backends.nvml import LIMITS, Nvml
from trtkit.backends.nvml_monitor import NvmlMonitor, _family, foreign

GPU = Device("cuda", 1)
SETTINGS = BenchSettings("compute", 1)


def healthy(**more: Any) -> dict[str, Any]:
    return {
        "ClockInfo 1": [1980, 1965],  # NVML_CLOCK_SM
        "ClockInfo 2": 2619,  # NVML_CLOCK_MEM
        "PowerUsage": 412_500,
        "Temperature 0": 54,
        "CurrentClocksEventReasons": 0,
        "ComputeRunningProcesses": [processes(os.getpid())],
        "MigMode": [[0, 0]],
        **more,
    }


def watch(patch: pytest.MonkeyPatch, pynvml: Pynvml, **more: Any) -> dict[str, Any]:
    patch.setitem(sys.modules, "pynvml", pynvml)
    with NvmlMonitor(GPU, **{"interval_s": 0.002, "pci_bus": PCI_BUS, **more}) as monitor:
        time.sleep(0.1)
    assert pynvml.open == 0
    seen = monitor.seen()
    Conditions("there", **seen)  # its fields, and no others
    return seen


def test_what_is_seen_of_a_healthy_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(monkeypatch, Pynvml(healthy()))
    count = seen["monitor"]["samples"]
    assert count >= 5
    assert seen["sm_clock_mhz"] == (1980, *[1965] * (count - 1))
    assert seen["memory_clock_mhz"] == (2619,) * count
    assert seen["power_w"] == (412.5,) * count and seen["temperature_c"] == (54,) * count
    assert seen["throttle_reasons"] == {} and seen["foreign_processes"] == ()
    assert seen["monitor"]["problem"] is None
    assert 0 < seen["monitor"]["busy_fraction"] < 1


def test_energy_is_counted_from_step_to_step(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each value twice: the counter moves more slowly than it is read. 5 J a step, 1,000 J before.
    counter = [value for step in range(400) for value in (1_000_000 + 5000 * step,) * 2]
    seen = watch(monkeypatch, Pynvml(healthy(TotalEnergyConsumption=counter)))
    steps = (seen["monitor"]["samples"] + 1) // 2 - 1
    assert seen["energy_j"] == pytest.approx(5.0 * (steps - 1), abs=5.0) and 0 < seen["energy_s"] < 0.2
    still = watch(monkeypatch, Pynvml(healthy(TotalEnergyConsumption=1_000_000)))
    assert "energy_j" not in still, "a counter that stands tells nothing"
    assert "energy_j" not in watch(monkeypatch, Pynvml(healthy()))


def test_limits_are_named_as_nvidia_smi_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    real = pytest.importorskip("pynvml")
    seen = watch(monkeypatch, Pynvml(healthy(CurrentClocksEventReasons=[0x04, 0x44])))
    assert set(seen["throttle_reasons"]) == {"sw_power_cap", "hw_thermal_slowdown"}
    assert seen["throttle_reasons"]["sw_power_cap"] == 1.0
    assert 0.5 < seen["throttle_reasons"]["hw_thermal_slowdown"] < 1.0
    for bit, name in LIMITS.items():
        camel = "".join(part.capitalize() for part in name.split("_"))
        assert getattr(real, f"nvmlClocksEventReason{camel}") == bit
    known = {value for name, value in vars(real).items() if name.startswith("nvmlClocksEventReason") and value}
    assert {value for value in known if isinstance(value, int) and value.bit_count() == 1} == set(LIMITS)


def test_the_older_name_of_limits_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = healthy(CurrentClocksThrottleReasons=0x08)
    del answers["CurrentClocksEventReasons"]
    assert watch(monkeypatch, Pynvml(answers))["throttle_reasons"] == {"hw_slowdown": 1.0}


def test_what_nvml_does_not_support_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(monkeypatch, Pynvml({"ClockInfo 1": 1980}))
    assert seen["sm_clock_mhz"] and not seen["power_w"] and not seen["temperature_c"]
    assert seen["throttle_reasons"] == {}
    assert seen["monitor"]["problem"] == "NVML does not list the processes on the GPU"


def test_without_nvml_nothing_is_seen_and_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(monkeypatch, Pynvml(there=False))
    assert seen["sm_clock_mhz"] == () and seen["monitor"]["samples"] == 0
    assert seen["monitor"]["problem"].startswith("NVML does not start: ")
    seen = watch(monkeypatch, Pynvml(known="0000:00:00.0"))
    assert seen["monitor"]["problem"] == f"NVML does not know the GPU {PCI_BUS}"


def test_a_gpu_is_found_by_the_address_that_cuda_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(PretendedDevice())
    monkeypatch.setattr(cuda_driver, "bindings", lambda: runtime)
    assert watch(monkeypatch, Pynvml(healthy()), pci_bus=None)["monitor"]["samples"] > 1
    runtime.fail["cudaSetDevice"] = (0, "cudaErrorNoDevice")
    seen = watch(monkeypatch, Pynvml(healthy()), pci_bus=None)
    assert "cudaErrorNoDevice" in seen["monitor"]["problem"]


def test_foreign_work_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        assert other.pid in _family(os.getpid()), "a child is no stranger"
        stranger = 1
        name = Path("/proc/1/comm").read_text().strip() if Path("/proc/1/comm").exists() else "process"
        seen = watch(
            monkeypatch, Pynvml(healthy(ComputeRunningProcesses=[processes(os.getpid(), other.pid, stranger)]))
        )
        assert seen["foreign_processes"] == (f"{name} (1)",)
    finally:
        other.communicate(b"\n")


@pytest.mark.parametrize(
    ("pids", "said", "counted"),
    [
        ((), (), False),
        ((9001,), (), False),
        ((9001, 9002), ("1 process of unknown name",), True),
        ((9001, 9002, 9003), ("2 processes of unknown name",), True),
        ((7,), (), False),
    ],
)
def test_identifiers_of_another_namespace_are_counted(
    pids: tuple[int, ...], said: tuple[str, ...], counted: bool
) -> None:
    assert foreign(pids, own=frozenset({7})) == (said, counted)


def test_processes_of_a_partitioned_gpu_cannot_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(monkeypatch, Pynvml(healthy(MigMode=[[1, 1]], ComputeRunningProcesses=[processes(1, 2, 3)])))
    assert seen["foreign_processes"] == () and "partitioned (MIG)" in seen["monitor"]["problem"]


def test_processes_are_listed_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    pynvml = Pynvml(healthy())
    seen = watch(monkeypatch, pynvml)
    assert pynvml.asked.count("ComputeRunningProcesses") == -(-seen["monitor"]["samples"] // 20)


def test_every_function_that_is_asked_exists() -> None:
    real = pytest.importorskip("pynvml")
    for name in (
        *("ClockInfo", "MaxClockInfo", "PowerUsage", "EnforcedPowerLimit", "Temperature", "ComputeRunningProcesses"),
        *("CurrentClocksEventReasons", "MigMode", "Name", "CurrPcieLinkGeneration", "CurrPcieLinkWidth"),
        *("MaxPcieLinkGeneration", "MaxPcieLinkWidth"),
    ):
        assert callable(getattr(real, f"nvmlDeviceGet{name}"))


def test_facts_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = healthy(
        CurrPcieLinkGeneration=5,
        CurrPcieLinkWidth=16,
        MaxPcieLinkGeneration=5,
        MaxPcieLinkWidth=16,
        EnforcedPowerLimit=700_000,
        **{"MaxClockInfo 1": 1980},
    )
    monkeypatch.setitem(sys.modules, "pynvml", Pynvml(answers))
    monkeypatch.setattr(cuda_driver, "bindings", lambda: Runtime(PretendedDevice()))
    gpu = Gpu(0, "NVIDIA H200", "9.0", 150 * 2**30)
    monkeypatch.setattr(cuda, "probe", lambda: cuda.CudaProbe((gpu,), "580.1", "13.0", None))
    facts = device_facts.describe(GPU, SETTINGS)
    assert facts == DeviceFacts(
        device="cuda:1",
        name="NVIDIA H200",
        compute_capability="9.0",
        memory_bytes=150 * 2**30,
        uuid="GPU-00000000-0000-0000-0000-000000000000",
        pci_bus=PCI_BUS,
        pcie="gen5 x16",
        pcie_max="gen5 x16",
        power_limit_w=700.0,
        max_sm_clock_mhz=1980,
        driver="580.159.04",
        cuda="13.0",
        affinity=facts.affinity,
        numa_node=facts.numa_node,
    )
    assert DeviceFacts.from_json(facts.to_json()) == facts


def test_facts_of_a_gpu_that_only_the_driver_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Pynvml(there=False))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    gpu = Gpu(0, "NVIDIA L4", "8.9", 24 * 2**30)
    monkeypatch.setattr(cuda, "probe", lambda: cuda.CudaProbe((gpu,), None, "13.0", None))
    facts = device_facts.describe(Device("cuda"), SETTINGS)
    assert (facts.name, facts.compute_capability, facts.uuid, facts.pcie) == ("NVIDIA L4", "8.9", None, None)


def test_facts_of_a_processor() -> None:
    facts = device_facts.describe(Device("cpu"), BenchSettings("compute", 1, threads=1, affinity=(0,)))
    assert facts.device == "cpu" and facts.name and facts.threads == 1 and facts.affinity == (0,)
    assert facts.memory_bytes and facts.compute_capability is None
    assert device_facts.describe(Device("cpu"), SETTINGS).threads == len(os.sched_getaffinity(0))


def test_nvml_asks_nothing_before_it_is_found() -> None:
    nvml = Nvml(PCI_BUS)
    assert nvml.get("Name") is None and nvml.clock_mhz("SM") is None and nvml.driver() is None
