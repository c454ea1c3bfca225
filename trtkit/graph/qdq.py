"""Q/DQ pairs written into a model, as TensorRT wants them.

Symmetric, zero point 0; one pair a tensor, shared by its readers; weights stored quantized behind a DequantizeLinear,
with one scale an output channel; biases as they were. DequantizeLinear nodes carry no zero point, because ONNX takes 0
where there is none and TensorRT's parser makes a layer of each one that is there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trtkit.errors import CalibrationError, ModelError, UsageError
from trtkit.graph.float16 import to_float16
from trtkit.graph.global_average import make_averages_global
from trtkit.graph.opset import at_least
from trtkit.graph.placement import Placement, refuse_quantized
from trtkit.graph.quantizable import stored_constants
from trtkit.graph.tree import every_graph, listed, weightless
from trtkit.quant import QuantType, channel_amax, quantize, scale_of

__all__ = ["HighPrecision", "insert", "scale_name"]

HighPrecision = Literal["fp32", "fp16"]

_OPSET_PER_CHANNEL = 13
_OPSET_FP8_OR_FP16_SCALES = 19
_ELEMENT_TYPE = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}
_SMALLEST_FLOAT16 = 2.0**-24


def scale_name(tensor: str) -> str:
    """The name of an activation's scale in the quantized model: ``TENSOR_scale``."""
    return f"{tensor}_scale"


def insert(
    model: onnx.ModelProto,
    placement: Placement,
    amax: Mapping[str, float],
    dtype: QuantType = "int8",
    *,
    high_precision: HighPrecision = "fp32",
    scales_as_inputs: bool = False,
) -> onnx.ModelProto:
    """Quantize a model: the same nodes by their names, with Q/DQ pairs where ``placement`` puts them.

    One operator changes: AveragePool over a whole map becomes GlobalAveragePool (:mod:`trtkit.graph.global_average`).

    Args:
        model: the float32 model that was placed; it is not changed.
        placement: from :func:`trtkit.graph.placement.place`.
        amax: largest absolute value to represent, for every tensor of the placement; others are ignored.
        dtype: the quantized type, as the placement's.
        high_precision: what stays float: ``fp32`` as it is, or ``fp16`` through :mod:`trtkit.graph.float16`. Then
            scales are float16 numbers, and the weights are quantized with those.
        scales_as_inputs: make each activation's scale a graph input ``TENSOR_scale`` whose initializer is the default,
            so that thresholds can be tried without a new session.

    Returns:
        A new model, the same for the same arguments. Opset 13 at least, 19 for FP8 and for FP16. Memory: the source
        and the result, whose weights take a quarter, and one weight in float.

    Raises:
        ModelError: the model is quantized already, is not the one that was placed, or uses a name that is needed.
        CalibrationError: an amax is missing, negative or not finite.
        UsageError: contradicting options.
    """
    if (
        dtype != placement.dtype
        or high_precision not in ("fp32", "fp16")
        or (scales_as_inputs and high_precision != "fp32")
    ):
        raise UsageError(
            f"Cannot quantize to {dtype} with {high_precision} beside it, a placement for {placement.dtype} and "
            f"scales {'as inputs' if scales_as_inputs else 'stored'}.",
            hint="Place for the same type; high_precision is fp32 or fp16; scales as inputs need fp32.",
        )
    refuse_quantized(model)
    _check_match(model, placement)
    half = high_precision == "fp16"
    scales = _activation_scales(placement, amax, half)
    result, large = weightless(model)
    needed = _OPSET_FP8_OR_FP16_SCALES if half or dtype == "fp8" else _OPSET_PER_CHANNEL
    at_least(result, needed)
    make_averages_global(result)
    result.ir_version = max(result.ir_version, 4, int(helper.find_min_ir_version_for(result.opset_import, True)))
    writer = _Writer(model, result, placement, half)
    writer.weights(set(large))
    writer.activations(scales, as_inputs=scales_as_inputs)
    writer.nodes()
    return to_float16(result).model if half else result


def _check_match(model: onnx.ModelProto, placement: Placement) -> None:
    inputs = {node.name: node.input for node in model.graph.node}
    for uses in (placement.consumers, placement.weight_users):
        for name, readers in uses.items():
            for node, position in readers:
                if len(inputs.get(node, ())) <= position or inputs[node][position] != name:
                    raise ModelError(
                        f"The placement is for another model: input {position} of node {node!r} is not {name!r} here.",
                        hint="Place the very model that is quantized.",
                    )


def _activation_scales(placement: Placement, amax: Mapping[str, float], half: bool) -> dict[str, np.float32]:
    missing = [name for name in placement.tensors if name not in amax]
    if missing:
        raise CalibrationError(
            f"No amax for {len(missing)} of {len(placement.tensors)} tensors: {listed(missing)}.",
            hint="Calibrate this model with the same recipe.",
        )
    bad = [name for name in placement.tensors if not (math.isfinite(amax[name]) and amax[name] >= 0)]
    if bad:
        raise CalibrationError(
            f"The amax of tensor {bad[0]!r} is {amax[bad[0]]}; it is a finite number, 0 or more.",
            hint="Look for NaN or infinity in the calibration data.",
        )
    values = {name: float(amax[name]) for name in placement.tensors}
    for group in placement.shared:
        values |= dict.fromkeys(group, max(values[name] for name in group))
    return {name: np.float32(_scales(value, placement.dtype, half)) for name, value in values.items()}


def _scales(amax: float | np.ndarray, dtype: QuantType, half: bool) -> np.ndarray:
    """Scales in float32; for FP16 they are numbers that float16 holds exactly, so that the cast changes nothing."""
    scales = scale_of(amax, dtype)
    if half:
        limit = float(np.finfo(np.float16).max)
        return np.clip(scales, _SMALLEST_FLOAT16, limit).astype(np.float16).astype(np.float32)
    return scales


class _Writer:
    """Writes into ``result``: first the tensors, then the nodes around them."""

    def __init__(self, source: onnx.ModelProto, result: onnx.ModelProto, placement: Placement, half: bool) -> None:
        self._source = source
        self._result = result
        self._placement = placement
        self._half = half
        self._element_type = _ELEMENT_TYPE[placement.dtype]
        self._used = {name for graph in every_graph(result.graph) for name in _names(graph)}
        self._zero_point = self._new(f"{placement.dtype}_zero_point")
        self._pairs: dict[str, list[onnx.NodeProto]] = {}
        self._dequantizers: dict[str, onnx.NodeProto] = {}

    def weights(self, large: set[str]) -> None:
        """Store every weight: those of the placement quantized, the others as they are."""
        stored = stored_constants(self._source.graph)
        graph = self._result.graph
        originals = {value.name for value in self._source.graph.input}
        small = {tensor.name: tensor for tensor in graph.initializer}  # which a new opset may have changed or dropped
        replaced = {name for name in self._placement.weights if not self._read_elsewhere(name)}
        del graph.initializer[:]
        for tensor in self._source.graph.initializer:
            current = tensor if tensor.name in large else small.pop(tensor.name, None)
            if current is not None and tensor.name not in replaced:
                graph.initializer.append(current)
        graph.initializer.extend(small.values())
        inputs = [value for value in graph.input if value.name in originals and value.name not in replaced]
        copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
        del graph.input[:]
        graph.input.extend(copies)
        for name, axis in self._placement.weights.items():
            self._weight(name, numpy_helper.to_array(stored[name]), axis)

    def _weight(self, name: str, values: np.ndarray, axis: int) -> None:
        scales = _scales(channel_amax(values, axis), self._placement.dtype, self._half)
        quantized = quantize(values, scales, self._placement.dtype, axis)
        names = [self._new(f"{name}_quantized"), self._new(f"{name}_scale")]
        self._store(names[0], self._element_type, quantized)
        self._store(names[1], TensorProto.FLOAT, scales)
        output = self._new(f"{name}_dequantized")
        node_name = self._new(f"{name}_DequantizeLinear")
        self._dequantizers[name] = helper.make_node("DequantizeLinear", names, [output], name=node_name, axis=axis)

    def activations(self, scales: Mapping[str, np.float32], *, as_inputs: bool) -> None:
        """Store the scales, and make the pairs."""
        self._store(
            self._zero_point, self._element_type, quantize(np.zeros((), np.float32), 1.0, self._placement.dtype)
        )
        for name, scale in scales.items():
            if (scale_tensor := self._new(scale_name(name))) != scale_name(name) and as_inputs:
                raise ModelError(
                    f"The model uses the name {scale_name(name)!r} already, which an activation's scale needs.",
                    hint="Rename that tensor in the model.",
                )
            self._store(scale_tensor, TensorProto.FLOAT, np.asarray(scale))
            if as_inputs:
                value = helper.make_tensor_value_info(scale_tensor, TensorProto.FLOAT, [])
                self._result.graph.input.append(value)
            between, output = self._new(f"{name}_quantized"), self._new(f"{name}_dequantized")
            kinds = {"QuantizeLinear": ([name, scale_tensor, self._zero_point], between)}
            kinds["DequantizeLinear"] = ([between, scale_tensor], output)
            self._pairs[name] = [
                helper.make_node(kind, inputs, [made], name=self._new(f"{name}_{kind}"))
                for kind, (inputs, made) in kinds.items()
            ]

    def nodes(self) -> None:
        """Put the pairs behind the makers of their tensors, and the weights' dequantizers before their first reader."""
        graph = self._result.graph
        redirect: dict[tuple[str, int], str] = {}
        for name, readers in self._placement.consumers.items():
            redirect |= dict.fromkeys(readers, self._pairs[name][1].output[0])
        for name, readers in self._placement.weight_users.items():
            redirect |= dict.fromkeys(readers, self._dequantizers[name].output[0])
        waiting = {node: name for name, readers in self._placement.weight_users.items() for node, _ in readers[:1]}
        unread = {name for name in self._placement.weights if not self._read_elsewhere(name)}
        made: list[onnx.NodeProto] = []
        for value in graph.input:
            made += self._pairs.get(value.name, [])
        for node in graph.node:
            if node.op_type == "Constant" and node.output[0] in unread:
                continue
            if node.name in waiting:
                made.append(self._dequantizers[waiting[node.name]])
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            for position in range(len(copy.input)):
                copy.input[position] = redirect.get((node.name, position), copy.input[position])
            made.append(copy)
            for name in node.output:
                made += self._pairs.get(name, [])
        del graph.node[:]
        graph.node.extend(made)

    def _read_elsewhere(self, weight: str) -> bool:
        """Whether anything besides its quantized readers needs a weight: another node, a branch, a graph output."""
        readers = set(self._placement.weight_users[weight])
        for graph in every_graph(self._source.graph):
            for node in graph.node:
                for position, name in enumerate(node.input):
                    if name == weight and (node.name, position) not in readers:
                        return True
            if any(value.name == weight for value in graph.output):
                return True
        return False

    def _store(self, name: str, element_type: int, values: np.ndarray) -> None:
        tensor = self._result.graph.initializer.add()
        tensor.name, tensor.data_type = name, element_type
        tensor.dims.extend(values.shape)
        tensor.raw_data = np.ascontiguousarray(values).tobytes()  # both types and float32 alike, little-endian

    def _new(self, base: str) -> str:
        name, count = base, 1
        while name in self._used:
            count += 1
            name = f"{base}_{count}"
        self._used.add(name)
        return name


def _names(graph: onnx.GraphProto) -> set[str]:
    """All names of tensors and nodes in a graph."""
    names = {value.name for value in (*graph.input, *graph.initializer, *graph.output)}
    for node in graph.node:
        names.update([node.name, *node.input, *node.output])
    return names
