"""Names in a damaged file: protobuf hands out a text that is not UTF-8 as bytes, which nothing else expects."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trtkit.errors import ModelError
from trtkit.graph.tree import every_graph, every_node, every_tensor

__all__ = ["check_texts"]


def check_texts(model: onnx.ModelProto, where: str) -> None:
    """Check that every name in ``model`` is text.

    Raises:
        ModelError: a name is not valid UTF-8.
    """
    for kind, text in _texts(model):
        if isinstance(text, bytes):
            raise ModelError(
                f"{where}: {kind} is not valid UTF-8 text: {text[:40]!r}.",
                hint="The file is damaged: export or download it again.",
            )


def _texts(model: onnx.ModelProto) -> Iterator[tuple[str, object]]:
    for entry in model.opset_import:
        yield "the name of an operator set", entry.domain
    for node in every_node(model):
        yield "the operator of a node", node.op_type
        yield "the domain of a node", node.domain
        yield "the name of a node", node.name
        for name in (*node.input, *node.output):
            yield "the name of a node's input or output", name
        for attribute in node.attribute:
            yield "the name of a node's attribute", attribute.name
    for tensor in every_tensor(model):
        yield "the name of a tensor", tensor.name
    for graph in every_graph(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield "the name of a graph's input, output or inner tensor", value.name
            for dim in value.type.tensor_type.shape.dim:
                yield "the name of a dimension", dim.dim_param
    for function in model.functions:
        yield "the name of a function", function.name
        yield "the domain of a function", function.domain
        for name in (*function.input, *function.output):
            yield "the name of a function's input or output", name
