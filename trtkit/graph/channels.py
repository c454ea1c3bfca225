"""Whether convolutions fit their weights in the number of channels: onnx's shape inference does not compare them."""

from __future__ import annotations

import onnx

from trtkit.errors import ModelError
from trtkit.graph.tree import node_text

__all__ = ["check_channels"]


def check_channels(inferred: onnx.ModelProto, where: str) -> None:
    """Check Conv and ConvTranspose of the main graph, wherever both shapes are known.

    Conv takes input [N, C, …] and weight [M, C/group, …]; ConvTranspose takes weight [C, M/group, …] (ONNX
    operators).

    Args:
        inferred: the model after shape inference; it needs no weights, only their shapes.
        where: the file, for the messages.

    Raises:
        ModelError: the channels differ, or do not divide into the groups.
    """
    graph = inferred.graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes.setdefault(value.name, [dim.dim_value if dim.HasField("dim_value") else 0 for dim in dims])
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or node.domain not in ("", "ai.onnx") or len(node.input) < 2:
            continue
        data, weight = (shapes.get(name, []) for name in node.input[:2])
        if len(data) < 3 or len(weight) < 3 or 0 in (data[1], weight[0], weight[1]):
            continue  # unknown, or another fault's business
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        expected = weight[1] * groups if node.op_type == "Conv" else weight[0]
        if data[1] != expected:
            grouped = f" in {groups} groups" if groups != 1 else ""
            raise ModelError(
                f"{where}: {node_text(node)} gets {data[1]} channels, and its weight {node.input[1]!r} of shape "
                f"{weight} takes {expected}{grouped}.",
                hint="Give the layer weights of the right shape, or export the model again.",
            )
        if groups < 1 or weight[0] % groups:
            raise ModelError(
                f"{where}: {node_text(node)} divides {weight[0]} channels into {groups} groups, which does not go.",
                hint="The number of channels is a multiple of the number of groups: export the model again.",
            )
