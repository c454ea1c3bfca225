"""Which family executes where: preference, refusals and their ways out, on machines that are made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from trtkit.artifacts.device import Device
from trtkit.backends import registry
from trtkit.backends.base import Capabilities, Gpu
from trtkit.backends.probing import probe
from trtkit.errors import BackendUnavailableError, UsageError
from trtkit.pipeline.bench_family import Target, targets

GPUS = (Gpu(0, "NVIDIA H200", "9.0", 1), Gpu(1, "NVIDIA L4", "8.9", 1))
TRT = Capabilities("tensorrt", "10.16", device="NVIDIA H200", gpus=GPUS)
RTX = Capabilities("tensorrt-rtx", "1.6.1", device="NVIDIA H200", gpus=GPUS)
ORT = Capabilities("onnxruntime", "1.31.1", device="NVIDIA H200", on_cpu=True, suffix=".onnx", gpus=GPUS)


def machine(*known: Capabilities) -> Callable[[str], Capabilities]:
    found = {can.family: can for can in known}
    return lambda family: found.get(family) or Capabilities(family, None, cannot_run=f"{family} is not installed")


def without_gpu(can: Capabilities) -> Capabilities:
    return replace(can, gpus=(), device="CPU" if can.on_cpu else None, cannot_run=None if can.on_cpu else "no GPU")


def chosen(found: tuple[Target, ...]) -> list[tuple[str, str]]:
    return [(str(target.device), target.can.family) for target in found]


def test_the_first_of_the_preference_that_can_run_takes_the_gpu() -> None:
    assert chosen(targets("auto", None, look=machine(TRT, RTX, ORT))[0]) == [("cuda:0", "tensorrt")]
    found, why = targets("auto", None, look=machine(RTX, ORT))
    assert chosen(found) == [("cuda:0", "tensorrt-rtx")]
    assert why == "tensorrt: tensorrt is not installed; tensorrt-rtx 1.6.1 can run on cuda:0"
    assert found[0].device_name == "NVIDIA H200"


def test_an_engine_that_can_build_but_not_run_is_passed_over() -> None:
    hopper = replace(RTX, cannot_run="TensorRT-RTX 1.7 does not run on NVIDIA H200", device=None)
    assert chosen(targets("auto", "0,1", look=machine(hopper, ORT))[0]) == [
        ("cuda:0", "onnxruntime"),
        ("cuda:1", "onnxruntime"),
    ]


def test_without_a_gpu_it_is_the_cpu() -> None:
    found, why = targets("auto", None, look=machine(without_gpu(RTX), without_gpu(ORT)))
    assert chosen(found) == [("cpu", "onnxruntime")]
    assert why == "onnxruntime 1.31.1 can run on cpu"


def test_each_device_has_its_own_family() -> None:
    found, _ = targets("auto", "all", look=machine(TRT, ORT))
    assert [target.device for target in found] == [Device("cuda", 0), Device("cuda", 1)]
    assert chosen(targets("auto", "cpu,1", look=machine(TRT, ORT))[0]) == [
        ("cpu", "onnxruntime"),
        ("cuda:1", "tensorrt"),
    ]


def test_a_cuda_provider_that_does_not_start_falls_back_in_the_default_only() -> None:
    ort = replace(ORT, device="CPU", notes=("runs on the CPU although there is a GPU: libcudnn.so.9 is missing",))
    found, why = targets("auto", None, look=machine(ort))
    assert chosen(found) == [("cpu", "onnxruntime")]
    assert "libcudnn.so.9 is missing; so it is the CPU: onnxruntime 1.31.1 can run on cpu" in why
    with pytest.raises(
        BackendUnavailableError, match=r"No engine family can run on cuda:0: .*libcudnn\.so\.9 is missing"
    ):
        targets("auto", "0", look=machine(ort))


def test_an_engine_on_the_cpu_is_refused() -> None:
    with pytest.raises(UsageError, match="executes on GPUs only, not on the cpu") as caught:
        targets("tensorrt", "cpu", look=machine(TRT))
    assert "--family onnxruntime" in caught.value.hint
    with pytest.raises(BackendUnavailableError, match="tensorrt-rtx family cannot run here: no GPU"):
        targets("tensorrt-rtx", None, look=machine(without_gpu(RTX)))


def test_a_library_that_crashes_when_it_is_looked_at_is_a_reason() -> None:
    def look(family: str) -> Capabilities:
        if family == "tensorrt":
            raise BackendUnavailableError("its worker was killed by SIGSEGV", hint="Reinstall it.")
        return machine(RTX, ORT)(family)

    found, why = targets("auto", "0", look=look)
    assert chosen(found) == [("cuda:0", "tensorrt-rtx")]
    assert "SIGSEGV" in why
    with pytest.raises(BackendUnavailableError, match="SIGSEGV"):
        targets("tensorrt", "0", look=look)


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="There is no cuda:2: the driver shows 2 CUDA devices"):
        targets("auto", "2", look=machine(TRT, ORT))


@pytest.mark.parametrize("family", ["null", "onnxruntime", "tensorrt-rtx"])
def test_what_the_registry_says_of_the_cpu_is_what_the_families_say(family: str) -> None:
    assert probe(family).on_cpu == (family in registry.ON_CPU)


def test_for_the_cpu_alone_no_engine_builder_is_looked_at() -> None:
    looked: list[str] = []

    def look(family: str) -> Capabilities:
        looked.append(family)
        return machine(TRT, RTX, ORT)(family)

    assert chosen(targets("auto", "cpu", look=look)[0]) == [("cpu", "onnxruntime")]
    assert looked == ["onnxruntime"]
