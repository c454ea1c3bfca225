"""A model's main graph as the rewrites see it: who makes and reads a tensor, shapes, types, stored values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from trtkit.graph.known_values import Shape
from trtkit.graph.order import needs
from trtkit.graph.quantizable import stored_constants
from trtkit.graph.rewrites.inferred import inferred, overridable
from trtkit.graph.tree import every_graph, every_node, subgraphs

__all__ = ["GraphView", "attributes_of"]

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
_SMALL = 64  # elements of an integer constant (axes, pads, a shape) whose values belong to a region's identity


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values; texts as ``str``."""
    found = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


class GraphView:
    """The main graph of a model, looked up by name. It shows one state: after a change, make a new one.

    Attributes:
        model: what is shown; it is not changed.
        nodes: in order; a node is always the same object.
        opset: of the default domain.
        makers: tensor → the node that makes it.
        users: tensor → its readers in the main graph, a node once for every input.
        inputs: graph inputs that are no initializers.
        outputs: graph outputs.
        shapes: tensor → its inferred shape, where known.
        types: tensor → its ONNX element type, where known.

    Raises:
        ModelError: shape inference finds a contradiction.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.model = model
        self.nodes = list(graph.node)
        self.opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
        self._index = {id(node): position for position, node in enumerate(self.nodes)}
        open_ = overridable(model)
        self._constants = {name: item for name, item in stored_constants(graph).items() if name not in open_}
        stored = {tensor.name for tensor in graph.initializer}
        self.inputs = tuple(value.name for value in graph.input if value.name not in stored)
        self.outputs = frozenset(value.name for value in graph.output)
        self.makers: dict[str, onnx.NodeProto] = {}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        self._captured: set[str] = set()
        for node in self.nodes:
            self.makers.update((name, node) for name in node.output if name)
            for name in filter(None, node.input):
                self.users.setdefault(name, []).append(node)
            if any(True for _ in subgraphs(node)):
                self._captured.update(needs(node))
        self.shapes, self.types = inferred(model)
        self._taken = {name for node in every_node(model) for name in (node.name, *node.output)}
        for inner in every_graph(graph):
            self._taken.update(value.name for value in (*inner.input, *inner.initializer))

    def position(self, node: onnx.NodeProto) -> int:
        """Where a node of this view stands."""
        return self._index[id(node)]

    def of_type(self, *op_types: str) -> list[onnx.NodeProto]:
        """Nodes of the default domain with one of these operators, in order."""
        return [node for node in self.nodes if node.op_type in op_types and node.domain in ("", "ai.onnx")]

    def maker(self, name: str, *op_types: str) -> onnx.NodeProto | None:
        """The node that makes ``name``, if it has one of these operators and nothing else reads ``name``."""
        node = self.makers.get(name)
        if node is None or node.op_type not in op_types or node.domain not in ("", "ai.onnx"):
            return None
        return node if self.only_user(name) is not None else None

    def only_user(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads the tensor, once; ``None`` if there are more, or if it is a graph output."""
        users = self.users.get(name, [])
        return users[0] if len(users) == 1 and not self.is_visible(name) else None

    def is_visible(self, name: str) -> bool:
        """Whether the tensor is seen outside the main graph's nodes: an output, or read by a graph inside a node."""
        return name in self.outputs or name in self._captured

    def shape(self, name: str) -> Shape | None:
        """The tensor's shape: sizes, and names (or ``None``) of those that are not fixed; ``None`` if unknown."""
        return self.shapes.get(name)

    def sizes(self, name: str, start: int = 0) -> tuple[int, ...] | None:
        """The tensor's sizes from dimension ``start`` on, if all of them are fixed."""
        shape = self.shapes.get(name)
        if shape is None:
            return None
        sizes = [size for size in shape[start:] if isinstance(size, int)]
        return tuple(sizes) if len(sizes) == len(shape[start:]) else None

    def keeps_rank(self, values: npt.NDArray[Any], name: str) -> bool:
        """Whether arithmetic with ``values`` gives the tensor no further dimensions, as far as can be told."""
        shape = self.shapes.get(name)
        return values.ndim == 0 or (shape is not None and values.ndim <= len(shape))

    def is_float(self, name: str) -> bool:
        """Whether the tensor is float32 or float16, and known to be."""
        return self.types.get(name) in _FLOATS

    def is_constant(self, name: str) -> bool:
        """Whether the tensor is stored in the model, and no input that a caller may give another value."""
        return name in self._constants

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """The stored value; ``None`` if it is computed, or lies in a file that was not loaded."""
        tensor = self._constants.get(name)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        value: npt.NDArray[Any] = numpy_helper.to_array(tensor)
        return value

    def floats(self, name: str) -> npt.NDArray[Any] | None:
        """The stored value if it is float32 or float16."""
        tensor = self._constants.get(name)
        return self.constant(name) if tensor is not None and tensor.data_type in _FLOATS else None

    def integers(self, name: str) -> list[int] | None:
        """The stored value of an integer tensor as a list."""
        value = self.constant(name)
        return [int(item) for item in value.reshape(-1)] if value is not None and value.dtype.kind in "iu" else None

    def fresh(self, name: str) -> str:
        """``name``, or ``name_2`` and so on if a node or tensor has it; it is taken afterwards."""
        found, number = name, 2
        while found in self._taken:
            found, number = f"{name}_{number}", number + 1
        self._taken.add(found)
        return found

    def region_hash(self, nodes: Iterable[onnx.NodeProto]) -> str:
        """SHA-256 of what decides a region's speed: operators, attributes, wiring, shapes and types, not the weights.

        Equal regions of different models have one hash; names and the names of dynamic dimensions do not count.
        """
        numbers: dict[str, int] = {}
        lines: list[Any] = []
        for node in nodes:
            ports = [
                [[numbers.setdefault(name, len(numbers)), *self._facts(name)] if name else None for name in names]
                for names in (node.input, node.output)
            ]
            attributes = sorted((item.name, _attribute_text(item)) for item in node.attribute)
            lines.append([node.domain, node.op_type, attributes, ports])
        return hashlib.sha256(json.dumps(lines, separators=(",", ":")).encode()).hexdigest()

    def _facts(self, name: str) -> list[Any]:
        shape = self.shapes.get(name)
        sizes = None if shape is None else [size if isinstance(size, int) else "?" for size in shape]
        tensor = self._constants.get(name)
        small = tensor is not None and np.prod(tensor.dims, dtype=np.int64) <= _SMALL
        return [self.types.get(name), sizes, self.integers(name) if small else None]


def _attribute_text(attribute: onnx.AttributeProto) -> str:
    """An attribute as text; of tensors only type and shape."""
    if attribute.HasField("t"):
        return f"tensor {attribute.t.data_type} {list(attribute.t.dims)}"
    return str(attribute.SerializeToString(deterministic=True).hex())
