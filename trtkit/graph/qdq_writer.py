"""How a quantized graph is written: tensors first, then the nodes around them. ``trtkit.graph.qdq`` is the way in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trtkit.errors import ModelError
from trtkit.graph.placement import Placement
from trtkit.graph.quantizable import stored_constants
from trtkit.graph.tree import every_graph
from trtkit.quant import QuantType, channel_amax, quantize, scale_of

__all__ = ["Writer", "scale_name", "stored_scales"]

_ELEMENT_TYPE = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}
_SMALLEST_FLOAT16 = 2.0**-24


def scale_name(tensor: str) -> str:
    """The name of an activation's scale in the quantized model: ``TENSOR_scale``."""
    return f"{tensor}_scale"


def stored_scales(amax: float | np.ndarray, dtype: QuantType, half: bool) -> np.ndarray:
    """Scales in float32; for FP16 they are numbers that float16 holds exactly, so that the cast changes nothing."""
    scales = scale_of(amax, dtype)
    if half:
        limit = float(np.finfo(np.float16).max)
        return np.clip(scales, _SMALLEST_FLOAT16, limit).astype(np.float16).astype(np.float32)
    return scales


class Writer:
    """Writes the quantized graph: :meth:`weights`, then :meth:`activations`, then :meth:`nodes`.

    Args:
        source: the float model, with its weights.
        result: its copy without them (``trtkit.graph.tree.weightless``), which is filled.
        placement: where the pairs go.
        half: whether scales are to be numbers that float16 holds exactly.
    """

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
        scales = stored_scales(channel_amax(values, axis), self._placement.dtype, self._half)
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
