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
    num_aux_streams = property(lambda self: STATE.says("aux_streams") or 0)
    num_optimization_profiles = property(lambda self: len(self._profiles()))

    def _profiles(self) -> list[dict[str, list[list[int]]]]:
        return [self._profile, *(STATE.says("profiles") or [])]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._profiles()[profile_index][name]]

    def create_runtime_config(self) -> Any:
        return STATE.module["IRuntimeConfig"]()

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

    def create_execution_context(self, runtime_config: Any = None) -> Any:
        STATE.record["runtime_config"] = None if runtime_config is None else runtime_config._summary()
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
        is_output = self._engine._tensors[name][0] == "OUTPUT"
        if is_output and self._shapes and not STATE.says("loop"):
            return next(iter(self._shapes.values()))  # y has the shape of x
        return self._shapes.get(name, self._engine.get_tensor_shape(name))

    def set_input_shape(self, name: str, shape: Any) -> bool:
        low, _, high = self._engine._profiles()[self.active_optimization_profile][name]
        if not all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True)):
            log(self._logger, "ERROR", f"setInputShape: Error Code 3: API Usage Error ({shape} not in the profile)")
            return False
        self._shapes[name] = tuple(shape)
        return True

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if STATE.says("refuse") == "profile":
            return False
        self.active_optimization_profile = profile_index
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if STATE.says("refuse") == "address":
            return False
        self._addresses[name] = memory
        return True

    def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
        self._allocators[name] = output_allocator
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if STATE.says("execute") == "out_of_memory":
            log(self._logger, "ERROR", "enqueueV3: Error Code 1: Cuda Runtime (In allocateAsync: out of memory)")
            return False
        name = next(name for name in self._shapes if self._addresses.get(name))
        count, source = math.prod(self._shapes[name]), self._addresses[name]
        output = next(name for name, (mode, *_) in self._engine._tensors.items() if mode == "OUTPUT")
        allocator = self._allocators.get(output)
        if allocator is not None:
            target = allocator.reallocate_output_async(output, 0, count * 4, 256, stream_handle)
        else:
            target = self._addresses[output]

        def effect() -> None:
            floats = np.ctypeslib.as_array((ctypes.c_float * count).from_address(source))
            np.ctypeslib.as_array((ctypes.c_float * count).from_address(target))[:] = 2 * floats

        if STATE.kernel is None:
            effect()
        else:
            STATE.kernel(stream_handle, [(source, count * 4)], [(target, count * 4)], effect)
        if allocator is not None:
            allocator.notify_shape(output, self._shapes[name])
        return True

    profiler = None
    enqueue_emits_profile = True

    def report_to_profiler(self) -> bool:
        if STATE.says("refuse") == "report" or self.enqueue_emits_profile:
            return False
        for name, ms in (("conv + relu", 0.25), ("softmax", 0.5)):
            self.profiler.report_layer_time(name, ms)
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        return STATE.says("capturable") is not False


class IRuntimeConfig(Thing):
    dynamic_shapes_kernel_specialization_strategy = cuda_graph_strategy = None

    def __init__(self) -> None:
        self._cache: Any = None

    def _summary(self) -> dict[str, Any]:
        named = (self.dynamic_shapes_kernel_specialization_strategy, self.cuda_graph_strategy)
        return {
            "strategies": [None if value is None else value.name for value in named],
            "kernels": None if self._cache is None else sorted(self._cache._kernels),
        }

    def create_runtime_cache(self) -> Any:
        return STATE.module["IRuntimeCache"]()

    def set_runtime_cache(self, cache: Any) -> bool:
        self._cache = cache
        return True


class IRuntimeCache(Thing):
    def __init__(self) -> None:
        self._kernels: set[str] = set()

    def deserialize(self, data: bytes) -> bool:
        self._kernels |= set(json.loads(bytes(data)))
        return True

    def serialize(self) -> Any:
        return STATE.module["IHostMemory"](json.dumps(sorted(self._kernels | {"conv + relu, batch 3"})).encode())


class IProfiler(Thing):
    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError("pure virtual")
