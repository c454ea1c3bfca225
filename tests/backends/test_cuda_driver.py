"""The wrapper of CUDA's runtime API: what it says when CUDA is missing, and that every name it uses is there."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.cuda_stand_in import Device, Runtime
from trtkit.backends import cuda_driver
from trtkit.backends.cuda_driver import Cuda
from trtkit.backends.repeated import Repeated
from trtkit.errors import BackendUnavailableError, RunError

SOURCE = Path(cuda_driver.__file__)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    made = Runtime(Device())
    monkeypatch.setattr(cuda_driver, "bindings", lambda: made)
    return made


def test_without_cuda_bindings_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(BackendUnavailableError, match="needs the Python package cuda-bindings") as caught:
        Cuda()
    assert "pip install cuda-bindings" in caught.value.hint


def test_every_name_that_is_used_exists_in_the_real_module() -> None:
    real = pytest.importorskip("cuda.bindings.runtime")
    used = {
        node.attr
        for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self._rt"
    }
    assert len(used) > 30
    assert [name for name in sorted(used) if not hasattr(real, name)] == []
    errors = {name for name in cuda_driver._POISONOUS if name not in real.cudaError_t.__members__}
    assert errors == set()


def test_real_bindings_without_a_driver_refuse_in_words() -> None:
    pytest.importorskip("cuda.bindings.runtime")
    code, _ = importlib.import_module("cuda.bindings.runtime").cudaGetDeviceCount()
    if code == 0:
        pytest.skip("there is a GPU")
    with pytest.raises(RunError, match=r"cudaSetDevice failed with cudaError\w+ \(\d+\): "), Cuda():
        raise AssertionError("unreachable")


def test_an_old_driver_is_told_apart(runtime: Runtime) -> None:
    runtime.fail["cudaSetDevice"] = (0, "cudaErrorInsufficientDriver")
    with pytest.raises(RunError) as caught, Cuda():
        raise AssertionError("unreachable")
    assert "cuda-bindings<13" in caught.value.hint


def test_memory_goes_there_and_back(runtime: Runtime) -> None:
    values = np.arange(12, dtype=np.float16).reshape(3, 4)
    with Cuda() as cuda:
        stream = cuda.stream()
        device, pinned = cuda.device_memory(values.nbytes), cuda.pinned_memory(values.nbytes)
        cuda.upload(device, values[::-1])  # not contiguous
        back = np.empty_like(values)
        cuda.download(back, device)
        np.testing.assert_array_equal(back, values[::-1])
        pinned.bytes[:] = values.reshape(-1).view(np.uint8)
        cuda.copy_in(device, pinned.address, values.nbytes, stream)
        pinned.bytes[:] = 0
        cuda.copy_out(pinned.address, device, values.nbytes, stream)
        cuda.drain(stream)
        np.testing.assert_array_equal(pinned.bytes.view(np.float16), values.reshape(-1))
        assert cuda.pci_bus() == "0000:3b:00.0"
        assert cuda.memory() == (runtime.device.room["device"], runtime.device.memory_bytes)
    assert runtime.left == {}


@pytest.mark.parametrize("count", [1, 3, 4, 7, 12, 23])
def test_rows_that_repeat_are_repeated_on_the_device(count: int, runtime: Runtime) -> None:
    values = Repeated(np.arange(12, dtype=np.float32).reshape(3, 4), count)
    back = np.empty(values.shape, values.dtype)
    with Cuda() as cuda:
        device = cuda.device_memory(values.nbytes)
        cuda.upload(device, values)
        cuda.download(back, device)
    np.testing.assert_array_equal(back, [values.rows[row % 3] for row in range(count)])


@pytest.mark.parametrize("call", ["cudaFree", "cudaStreamDestroy", "cudaDeviceSynchronize"])
def test_a_failure_on_leaving_is_told_and_the_rest_is_given_back(runtime: Runtime, call: str) -> None:
    runtime.fail[call] = (0, "cudaErrorInvalidValue")
    with pytest.raises(RunError, match=call), Cuda() as cuda:
        cuda.stream()
        cuda.device_memory(16)
        cuda.pinned_memory(16)
    others = {"cudaFree", "cudaFreeHost", "cudaStreamDestroy"}
    assert others <= set(runtime.calls), "one failure must not keep the others from being freed"


def test_an_error_under_way_is_not_hidden_by_one_on_leaving(runtime: Runtime) -> None:
    runtime.fail["cudaDeviceSynchronize"] = (0, "cudaErrorIllegalAddress")
    with pytest.raises(KeyError), Cuda() as cuda:
        cuda.device_memory(16)
        raise KeyError("first")
    assert "cudaFree" in runtime.calls


def test_an_empty_tensor_has_an_address(runtime: Runtime) -> None:
    with Cuda() as cuda:
        assert cuda.device_memory(0) != 0
        assert cuda.pinned_memory(0).bytes.size == 0


def test_the_stand_in_refuses_what_the_real_module_refuses(runtime: Runtime) -> None:
    with pytest.raises(AttributeError):
        _: Any = runtime.cudaMadeUp
    with pytest.raises(TypeError):
        runtime.cudaEventRecord(1)
    with pytest.raises(NotImplementedError):
        runtime.cudaStreamQuery(1)
