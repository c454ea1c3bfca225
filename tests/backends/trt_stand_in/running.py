"""The scripted runtime: deserialization and its refusals, the inspector, and execution in host memory."""

from __future__ import annotations

import ctypes
import json
import math
from typing import Any

import numpy as np

from tests.backends.trt_stand_in.state import STATE, Thing, log

_TENSORS_10 = [{"Name": "x", "Dimensions": [-1, 3, 8, 8], "Format/Datatype": "Row major linear FP32"}]
_TENSORS_11 = [{"Name": "x", "Dimensions": [-1, 3, 8, 8], "Datatype": "Float", "Format": "Row major linear"}]


class Runtime(Thing):
    engine_host_code_allowed = False

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, data: bytes) -> Any:
        if STATE.says("deserialize") is not None:
            log(self._logger, "ERROR", STATE.says("deserialize"))
            return None
        plan = json.loads(data[64:])
        if plan["host_code"] and not self.engine_host_code_allowed:
            log(
                self._logger, "ERROR",
                "Cannot deserialize engine with lean runtime since IRuntime::getEngineHostCodeAllowed() is false.",
            )  # fmt: skip
            return None
        return STATE.module["ICudaEngine"](self._logger, plan["tensors"], plan["profile"])


class ICudaEngine(Thing):
    def __init__(self, logger: Any, tensors: list[Any], profile: dict[str, list[list[int]]]) -> None:
        self._logger, self._tensors, self._profile = logger, {name: rest for name, *rest in tensors}, profile

    num_io_tensors = property(lambda self: len(self._tensors))

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return STATE.module["TensorIOMode"][self._tensors[name][0]]

    def get_tensor_dtype(self, name: str) -> Any:
        return STATE.module["DataType"][self._tensors[name][1]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name][2])

    def get_tensor_format(self, name: str, profile_index: int = 0) -> Any:
        return STATE.module["TensorFormat"].LINEAR

    def is_shape_inference_io(self, name: str) -> bool:
        return False

    def get_aliased_input_tensor(self, name: str) -> Any:
        return None

    def create_engine_inspector(self) -> Any:
        return STATE.module["EngineInspector"]()

    def create_execution_context(self) -> Any:
        if STATE.says("context") == "none":
            log(self._logger, "ERROR", "createExecutionContext: Requested amount of GPU memory could not be allocated.")
            return None
        return STATE.module["IExecutionContext"](self, self._logger)


class EngineInspector(Thing):
    def get_engine_information(self, format: Any) -> str:
        if STATE.says("inspector") == "empty" or format.name != "JSON":
            return ""
        old = STATE.version.startswith("10.")
        tensors = _TENSORS_10 if old else _TENSORS_11
        layer = {
            "Name": "conv + relu", "LayerType": "CaskConvolution", "Inputs": tensors, "Outputs": tensors,
            "TacticName": "sm89_xmma", "StreamId": 0, "Metadata": "[ONNX Layer: conv]\x1f[ONNX Layer: relu]",
        }  # fmt: skip
        ends = {"Bindings": ["x", "y"]} if old else {"I/O Tensors": [{"Name": "x", "DataType": "Float"}]}
        return json.dumps({"Layers": [layer], **ends})


class IExecutionContext(Thing):
    """Executes ``output = 2 × input`` on memory that :class:`~tests.backends.trt_stand_in.jobs.HostCuda` allocated."""

    active_optimization_profile = 0

    def __init__(self, engine: Any, logger: Any) -> None:
        self._engine, self._logger = engine, logger
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}

    engine = property(lambda self: self._engine)

    def set_all_tensors_debug_state(self, flag: bool) -> bool:
        return True

    def set_debug_listener(self, listener: Any) -> bool:
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes.get(name, self._engine.get_tensor_shape(name))

    def set_input_shape(self, name: str, shape: Any) -> bool:
        low, _, high = self._engine._profile[name]
        if not all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True)):
            log(self._logger, "ERROR", f"setInputShape: Error Code 3: API Usage Error ({shape} not in the profile)")
            return False
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
        self._allocators[name] = output_allocator
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if STATE.says("execute") == "out_of_memory":
            log(self._logger, "ERROR", "enqueueV3: Error Code 1: Cuda Runtime (In allocateAsync: out of memory)")
            return False
        (name, memory), (output, allocator) = next(iter(self._addresses.items())), next(iter(self._allocators.items()))
        count = math.prod(self._shapes[name])
        floats = np.ctypeslib.as_array((ctypes.c_float * count).from_address(memory))
        target = allocator.reallocate_output_async(output, 0, count * 4, 256, stream_handle)
        np.ctypeslib.as_array((ctypes.c_float * count).from_address(target))[:] = 2 * floats
        allocator.notify_shape(output, self._shapes[name])
        return True
