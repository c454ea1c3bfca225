"""What the quantizer has to know about a graph: who makes and reads a tensor, which weights are stored, what is float.

Also the operators by what quantization means to them, each with its reason.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from trtkit.errors import ModelError
from trtkit.graph.tree import listed, node_text, subgraphs, weightless

__all__ = [
    "AVERAGING",
    "EPILOGUE",
    "MOVING",
    "NORMALIZING",
    "PASSING",
    "WEIGHTED",
    "GraphIndex",
    "stored_constants",
    "weight_axis",
]

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that gain: their products run on INT8 or FP8 tensor cores."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PASSING = _words("MaxPool Flatten Identity Reshape Squeeze Transpose Unsqueeze Dropout")
"""One data input, and every number of the output is one of the input: INT8 in, INT8 out, with one scale."""

MOVING = PASSING | _words("Concat Pad Slice Split Gather DepthToSpace SpaceToDepth Expand")
"""Quantization commutes with them, so that the engine can move a Q at their output to their inputs."""

NORMALIZING = _words(
    "LRN Softmax LogSoftmax LayerNormalization GroupNormalization InstanceNormalization RMSNormalization "
    "LpNormalization MeanVarianceNormalization"
)
"""Squares, exponentials and quotients: float."""

AVERAGING = _words("AveragePool GlobalAveragePool ReduceMean ReduceSum LpPool GlobalLpPool")
"""Do not commute with quantization: INT8 input would need INT8 output, and a second rounding, for a cheap operation."""

EPILOGUE = _words(
    "Add Sub Mul Div BatchNormalization Relu LeakyRelu PRelu Clip Sigmoid Tanh HardSigmoid HardSwish Elu Selu Gelu "
    "Softplus Mish Erf Sqrt Pow Exp Min Max Abs Neg Cast"
)
"""Elementwise steps that an engine computes in float inside the kernel that makes or reads their operand."""


def weight_axis(node: onnx.NodeProto, rank: int) -> int:
    """The output channels' dimension of a weighted node's second input of ``rank`` dimensions."""
    if node.op_type == "Gemm":
        transposed = next((attribute.i for attribute in node.attribute if attribute.name == "transB"), 0)
        return 0 if transposed else 1
    if node.op_type == "MatMul":
        return rank - 1
    return 1 if node.op_type == "ConvTranspose" else 0


def stored_constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Initializers, and the tensors of Constant nodes, of one graph by name."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        value = next((item.t for item in node.attribute if item.name == "value" and item.HasField("t")), None)
        if node.op_type == "Constant" and value is not None:
            constants[node.output[0]] = value
    return constants


class GraphIndex:
    """The main graph of a model, looked up by name.

    Attributes:
        nodes: in order.
        makers: tensor → the node that makes it.
        users: tensor → (node, input index) of each reader in the main graph, in order.
        constants: initializers, and tensors of Constant nodes, by name.
        inputs: graph inputs that are no initializers.
        outputs: graph outputs.
        captured: tensors that branches and loop bodies read.

    Raises:
        ModelError: a node has no name or shares it, or shape inference finds a contradiction.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        _check_names(self.nodes)
        self.constants = stored_constants(graph)
        self.inputs = [value.name for value in graph.input if value.name not in self.constants]
        self.outputs = {value.name for value in graph.output}
        self.makers: dict[str, onnx.NodeProto] = {}
        self.users: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        self.captured: set[str] = set()
        for node in self.nodes:
            for name in filter(None, node.output):
                self.makers[name] = node
            for position, name in enumerate(node.input):
                if name:
                    self.users.setdefault(name, []).append((node, position))
            for inner in subgraphs(node):
                self.captured.update(name for item in inner.node for name in item.input)
        self._types = _element_types(model)

    def is_float32(self, name: str) -> bool:
        """Whether the tensor is float32, as far as can be told: unknown types count as float32."""
        return self._types.get(name, int(TensorProto.FLOAT)) == int(TensorProto.FLOAT)

    def is_constant(self, name: str) -> bool:
        """Whether the tensor is stored in the model."""
        return name in self.constants

    def only_user(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads the tensor; None if there are more, or if it is a graph output."""
        users = self.users.get(name, [])
        return users[0][0] if len(users) == 1 and name not in self.outputs and name not in self.captured else None


def _check_names(nodes: list[onnx.NodeProto]) -> None:
    seen: set[str] = set()
    for node in nodes:
        if not node.name or node.name in seen:
            why = "has no name" if not node.name else f"shares its name {listed([node.name])!r} with another node"
            raise ModelError(
                f"{node_text(node)} {why}; quantization decides by node names.",
                hint="Call trtkit.graph.prepare.prepare(model, where) first: it makes the names unique.",
            )
        seen.add(node.name)


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    shell, _ = weightless(model)
    try:
        graph = onnx.shape_inference.infer_shapes(shell).graph
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"Types cannot be inferred: {str(error).strip().splitlines()[0]}",
            hint="Run onnx.checker.check_model(model, full_check=True) on the source model.",
        ) from error
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        if value.type.tensor_type.elem_type:
            types[value.name] = value.type.tensor_type.elem_type
    return types
