"""What is inside a plan: the layers that the engine builder made of the ONNX nodes, as it reported them itself.

The noun only. Who reads the vendor's texts into it: ``trtkit.backends.layer_log`` (the builder's log) and
``trtkit.backends.layer_inspector`` (the engine inspector's JSON).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from trtkit.artifacts.files import json_ready

__all__ = ["Layer", "LayerReport", "LayerSource", "LayerTensor", "widest"]

LayerSource = Literal["engine-inspector", "builder-log"]
"""Where a report comes from. Only the inspector saw the engine as it will run; the log saw it being built."""

_WIDTH = {"fp4": 0, "int4": 1, "uint8": 2, "int8": 2, "fp8": 3, "fp16": 4, "bf16": 5, "fp32": 6}
_NO_WORK = frozenset(
    {"signal", "wait", "shape_call", "shapecall", "noop", "constant", "shapehosttodevice", "deviceshapetohost"}
    | {"devicetoshapehost", "myelin-exit", "trainstation"}
)
_CONVOLUTION_WORDS = ("correlation", "conv")
_PRODUCT_WORDS = ("gemm", "matrixmultiply", "matmul", "fullyconnected", "deconv", "fusion", "mha")
# Myelin names a generated kernel after its steps, each cut to four letters: __myl_CorrMulAddRelu_myl0_2.
_PRODUCT_KERNEL = re.compile(r"_gemm|__myl_(?:[A-Z][a-z]*)*(?:Corr|Conv|Fc|Gemm|Matm|Dot)(?=[A-Z_])")


def widest(dtypes: Iterable[str | None]) -> str | None:
    """The data type that loses least, of those in which arithmetic happens; indices and booleans do not count.

    ``("int8", "fp32")`` gives ``fp32``, ``("int64", "bool")`` gives None, and so does any None among them: a type
    that is not known may be the widest.
    """
    known = list(dtypes)
    if None in known:
        return None
    return max((dtype for dtype in known if dtype in _WIDTH), key=lambda dtype: _WIDTH[str(dtype)], default=None)


@dataclass(frozen=True)
class LayerTensor:
    """One input, output or constant of a layer.

    Attributes:
        name: the engine's name of the tensor; network inputs and outputs keep their ONNX names.
        dtype: ``fp32``, ``fp16``, ``bf16``, ``int8``, ``fp8``, ``int32``, ``int64``, ``bool``, …; None if not known.
        shape: elements along each dimension, -1 for a dynamic one; None if not known.
        format: the vendor's words for the memory layout; None if not known.
    """

    name: str
    dtype: str | None
    shape: tuple[int, ...] | None = None
    format: str | None = None

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> LayerTensor:
        """The inverse of ``dataclasses.asdict``."""
        shape = value["shape"]
        return cls(value["name"], value["dtype"], None if shape is None else tuple(shape), value["format"])


@dataclass(frozen=True)
class Layer:
    """One layer of the engine: a kernel, or a step that only organises.

    Attributes:
        name: the engine's name of the layer.
        kind: the vendor's layer type (``correlation``, ``kgen``, ``CaskConvolution``); empty if unknown.
        inputs, outputs: the tensors read and written while running, in the vendor's order.
        onnx_nodes: names of the ONNX nodes that the layer carries, from its metadata; several may carry one node.
        tactic: name or number of the kernel that was chosen; None if not known.
        constants: weights, biases and scales built into the layer, where they are reported.
    """

    name: str
    kind: str
    inputs: tuple[LayerTensor, ...] = ()
    outputs: tuple[LayerTensor, ...] = ()
    onnx_nodes: tuple[str, ...] = ()
    tactic: str | None = None
    constants: tuple[LayerTensor, ...] = ()

    @property
    def is_compute(self) -> bool:
        """Whether it does work on tensors: False for ``signal``, ``wait``, ``shape_call`` and the like."""
        return self.kind.lower() not in _NO_WORK

    @property
    def is_product(self) -> bool:
        """Whether it is a convolution or a matrix product, by itself or inside a fusion."""
        kind = self.kind.lower()
        if any(word in kind for word in (*_CONVOLUTION_WORDS, *_PRODUCT_WORDS)):
            return True
        return kind == "kgen" and _PRODUCT_KERNEL.match(self.name) is not None

    @property
    def weights(self) -> LayerTensor | None:
        """The largest constant that has the shape of weights (not of a bias or a scale), if it is reported."""
        candidates = [c for c in self.constants if c.shape is not None and _is_weight(c.name, c.shape)]
        return max(candidates, key=lambda c: math.prod(c.shape or (0,)), default=None)

    @property
    def dtype(self) -> str | None:
        """The data type that the layer computes in, judged by what it reads; the widest where they differ.

        Of a convolution that is the first input and the weights: further inputs are residuals added afterwards. Of
        a matrix product it is the first input and the weights, or the first two inputs when neither is constant. Of
        any other layer it is every input. Accumulators are not counted (INT8 sums in INT32).
        """
        weights, kind = self.weights, self.kind.lower()
        if not self.inputs:
            return None
        read = self.inputs
        if weights is not None or (any(word in kind for word in _CONVOLUTION_WORDS)):
            read = (self.inputs[0], *(() if weights is None else (weights,)))
        elif "gemm" in kind or "matrixmultiply" in kind:
            read = self.inputs[:2]
        return widest(tensor.dtype for tensor in read)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Layer:
        """The inverse of ``dataclasses.asdict``."""
        tensors = {
            key: tuple(LayerTensor.from_json(v) for v in value[key]) for key in ("inputs", "outputs", "constants")
        }
        return cls(
            name=value["name"],
            kind=value["kind"],
            onnx_nodes=tuple(value["onnx_nodes"]),
            tactic=value["tactic"],
            **tensors,
        )


def _is_weight(name: str, shape: tuple[int, ...]) -> bool:
    return name == "Weights" or sum(dim != 1 for dim in shape) >= 2


@dataclass(frozen=True)
class LayerReport:
    """All layers of one plan, in the order in which they run (or were printed).

    Attributes:
        source: who reported them.
        layers: every layer, those that only organise included.
    """

    source: LayerSource
    layers: tuple[Layer, ...]

    @property
    def compute_layers(self) -> tuple[Layer, ...]:
        """The layers that do work: without signal, wait, shape_call and the like."""
        return tuple(layer for layer in self.layers if layer.is_compute)

    @property
    def has_dtypes(self) -> bool:
        """Whether any data type is known; an engine built without detailed profiling verbosity reports names alone."""
        return any(tensor.dtype is not None for layer in self.layers for tensor in (*layer.inputs, *layer.outputs))

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Compute layers by kind, the most frequent first, then by data type; ``unknown`` where it is not known."""
        kinds = Counter(layer.kind or "unknown" for layer in self.compute_layers)
        pairs = Counter((layer.kind or "unknown", layer.dtype or "unknown") for layer in self.compute_layers)
        return {
            kind: {dtype: n for (k, dtype), n in sorted(pairs.items()) if k == kind}
            for kind, _ in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
        }

    def carriers(self, node: str) -> tuple[Layer, ...]:
        """The compute layers whose metadata names the ONNX node."""
        return tuple(layer for layer in self.compute_layers if node in layer.onnx_nodes)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        value: dict[str, Any] = json_ready(asdict(self))
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> LayerReport:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: the source is none of those known.
        """
        if value["source"] not in get_args(LayerSource):
            raise ValueError(f"layer source {value['source']!r} is none of {', '.join(get_args(LayerSource))}")
        return cls(value["source"], tuple(Layer.from_json(v) for v in value["layers"]))
