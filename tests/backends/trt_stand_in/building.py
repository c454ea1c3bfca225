"""The scripted builder: parser, network, configuration, timing cache, and plans of a made-up form."""

from __future__ import annotations

import json
from typing import Any

from tests.backends.trt_stand_in.state import STATE, Thing, enum_only, log

_ONNX = {1: "FLOAT", 10: "HALF", 6: "INT32", 7: "INT64", 9: "BOOL", 16: "BF16"}  # onnx.TensorProto's numbers

LAYERS = (
    "Layers:\nName: conv + relu, LayerType: CaskConvolution, Inputs: [ { Name: x, Dimensions: [-1,3,8,8], "
    "Datatype: Float, Format: Row major linear }], Outputs: [ { Name: y, Dimensions: [-1,3,8,8], Datatype: Float, "
    "Format: Row major linear }], TacticName: sm80_xmma, StreamId: 0, Metadata: "
    "[ONNX Layer: conv]\x1f[ONNX Layer: relu]\n\nBindings:\nx\ny\n"
)


class Builder(Thing):
    def __init__(self, logger: Any) -> None:
        if STATE.says("create") == "nullptr":
            log(logger, "INTERNAL_ERROR", "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def create_network(self, flags: int = 0) -> Any:
        kinds = STATE.module["NetworkDefinitionCreationFlag"]
        STATE.record["network_flags"] = [kind.name for kind in kinds if flags & (1 << int(kind))]
        network = STATE.module["INetworkDefinition"]()
        network._flags = flags
        return network

    def create_builder_config(self) -> Any:
        return STATE.module["IBuilderConfig"](self._logger)

    def create_optimization_profile(self) -> Any:
        return STATE.module["IOptimizationProfile"]()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        says = STATE.says("build")
        STATE.record["config"] = config._summary()
        monitor = config.progress_monitor
        monitor.phase_start("Building the engine", None, 2)
        monitor.phase_start("Tactic selection", "Building the engine", 1)
        if says is not None:
            log(self._logger, "WARNING", "Skipping a tactic")
        if says == "out_of_memory":
            log(
                self._logger, "ERROR", "[defaultAllocator.cpp::allocate::48] Error Code 1: Cuda Runtime (out of memory)"
            )
        elif says == "no_implementation":
            log(
                self._logger, "ERROR",
                "Error Code 10: Internal Error (Could not find any implementation for node conv + relu.)",
            )  # fmt: skip
        elif says == "hw_datatypes":
            log(self._logger, "ERROR", "Cannot compile, the model contains HW-specific datatypes: fp8_e4m3")
        if says is not None:
            return None
        monitor.step_complete("Tactic selection", 0)
        monitor.phase_finish("Tactic selection")
        monitor.step_complete("Building the engine", 0)
        monitor.step_complete("Building the engine", 1)
        monitor.phase_finish("Building the engine")
        log(self._logger, "WARNING", "Weights of conv are subnormal")
        log(self._logger, "WARNING", "Weights of conv are subnormal")
        if STATE.says("layers") != "none" and config.profiling_verbosity.name == "DETAILED":
            log(self._logger, "VERBOSE", LAYERS)
        if config._cache is not None:
            config._cache._tactics.add("conv + relu")
        host_code = config.get_flag(STATE.module["BuilderFlag"].VERSION_COMPATIBLE)
        tensors = [(t.name, "INPUT", t.dtype.name, t.shape) for t in network._inputs]
        tensors += [(t.name, "OUTPUT", t.dtype.name, t.shape) for t in network._outputs]
        shapes = config._profiles[0]._shapes if config._profiles else {}
        payload = json.dumps({"tensors": tensors, "host_code": host_code, "profile": shapes}).encode()
        version = bytes(int(part) for part in STATE.version.split("."))
        return STATE.module["IHostMemory"](b"ftrt" + bytes(20) + version + bytes(36) + payload)


class INetworkDefinition(Thing):
    _flags = 0

    def __init__(self) -> None:
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._layers: list[Any] = []

    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))
    num_layers = property(lambda self: len(self._layers))

    def get_input(self, index: int) -> Any:
        return self._inputs[index]

    def get_output(self, index: int) -> Any:
        return self._outputs[index]

    def get_flag(self, flag: Any) -> bool:
        return bool(self._flags & (1 << int(flag)))

    def __iter__(self) -> Any:
        return iter(self._layers)


class ITensor(Thing):
    is_shape_tensor = False
    name = dtype = shape = None

    def __init__(self, name: str, dtype: Any, shape: tuple[int, ...]) -> None:
        self.name, self.dtype, self.shape = name, dtype, shape


class ILayer(Thing):
    precision_is_set = False
    name = "conv"


class ParserError(Thing):
    pass


class OnnxParser(Thing):
    num_errors = 0

    def __init__(self, network: Any, logger: Any) -> None:
        self._network, self._logger = network, logger

    def parse_from_file(self, path: str) -> bool:
        import onnx

        says = STATE.says("parse")
        if says == "unsupported":
            log(
                self._logger, "ERROR",
                "In node 2 with name: det_1 and operator: Det (checkFallbackPluginImporter): INVALID_NODE: creator && "
                '"Plugin not found, are the plugin name, version, and namespace correct?"',
            )  # fmt: skip
            self.num_errors = 1
        if says is not None:
            return False
        graph = onnx.load(path).graph
        for found, values in ((self._network._inputs, graph.input), (self._network._outputs, graph.output)):
            for value in values:
                kind = value.type.tensor_type
                shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
                dtype = STATE.module["DataType"][_ONNX[kind.elem_type]]
                found.append(STATE.module["ITensor"](value.name, dtype, shape))
        self._network._layers += [STATE.module["ILayer"]() for _ in graph.node]
        return True

    def get_error(self, index: int) -> Any:
        return STATE.module["ParserError"]()


class IOptimizationProfile(Thing):
    def __init__(self) -> None:
        self._shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, min: Any, opt: Any, max: Any) -> None:
        self._shapes[name] = [list(min), list(opt), list(max)]


class IBuilderConfig(Thing):
    DLA_core = -1
    engine_capability = profiling_verbosity = default_device_type = None
    builder_optimization_level = 3
    hardware_compatibility_level = None
    progress_monitor = None
    int8_calibrator = None

    def __init__(self, logger: Any) -> None:
        flags = STATE.module["BuilderFlag"]
        self._logger, self._flags, self._profiles, self._pools = logger, {flags.TF32}, [], {}
        self._cache: Any = None
        self.default_device_type = STATE.module["DeviceType"].GPU

    def _summary(self) -> dict[str, Any]:
        level = self.hardware_compatibility_level
        return {
            "flags": sorted(flag.name for flag in self._flags),
            "profiles": [profile._shapes for profile in self._profiles],
            "pools": {pool.name: size for pool, size in self._pools.items()},
            "optimization_level": self.builder_optimization_level,
            "hardware_compatibility": level.name if level is not None else None,
            "profiling_verbosity": self.profiling_verbosity.name,
            "timing_cache": sorted(self._cache._tactics) if self._cache is not None else None,
        }

    def get_flag(self, flag: Any) -> bool:
        enum_only(flag, "BuilderFlag")
        return flag in self._flags

    def set_flag(self, flag: Any) -> None:
        enum_only(flag, "BuilderFlag")
        self._flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        enum_only(flag, "BuilderFlag")
        self._flags.discard(flag)

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    num_optimization_profiles = property(lambda self: len(self._profiles))

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        enum_only(pool, "MemoryPoolType")
        self._pools[pool] = size

    def get_memory_pool_limit(self, pool: Any) -> int:
        return int(self._pools.get(pool, 0))

    def get_tactic_sources(self) -> int:
        return 0

    def get_preview_feature(self, feature: Any) -> bool:
        return False

    def get_quantization_flag(self, flag: Any) -> bool:
        return False

    def create_timing_cache(self, data: bytes) -> Any:
        return STATE.module["ITimingCache"](bytes(data))

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if STATE.says("timing_cache") == "mismatch" and cache._tactics and not ignore_mismatch:
            log(self._logger, "ERROR", "setTimingCache: Error Code 3: API Usage Error (timing cache of another device)")
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._cache


class ITimingCache(Thing):
    def __init__(self, data: bytes) -> None:
        self._tactics = set(json.loads(data)) if data else set()

    def combine(self, other: Any, ignore_mismatch: bool) -> bool:
        self._tactics |= other._tactics
        return True

    def serialize(self) -> Any:
        return STATE.module["IHostMemory"](json.dumps(sorted(self._tactics)).encode())
