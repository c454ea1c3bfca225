"""Raising a model's opset with onnx's version converter, without copying its weights and without losing names.

TensorRT and ONNX Runtime read opset 7 and newer as it is, so nothing is converted by habit. Some steps need more:
Q/DQ with a scale per channel needs opset 13, FP16 scales and FP8 need opset 19.
"""

from __future__ import annotations

import functools
import re

import onnx
from onnx import defs, helper, version_converter

from trtkit.errors import ModelError
from trtkit.graph.tree import every_graph, listed, node_text, weightless

__all__ = ["at_least"]

_DEFAULT = ("", "ai.onnx")


def at_least(model: onnx.ModelProto, minimum: int) -> onnx.ModelProto:
    """Bring ``model`` to opset ``minimum`` **in place** where it is older, and return it.

    In place, because a copy would hold all weights twice. Node names, node metadata, model metadata, initializers and
    input and output names stay; nodes that the converter adds are named by ``trtkit.graph.names``. When this raises,
    the model is as it was.

    Raises:
        ModelError: the installed onnx does not know ``minimum``, or an operator cannot be converted (it is named).
    """
    current = next((entry.version for entry in model.opset_import if entry.domain in _DEFAULT), None)
    if current is not None and current >= minimum:
        return model
    newest = int(defs.onnx_opset_version())
    if current is None or minimum > newest:
        raise ModelError(
            f"The model cannot be brought from opset {current} to {minimum}; the installed onnx package "
            f"({onnx.__version__}) knows opsets up to {newest}.",
            hint="Upgrade onnx: pip install -U onnx.",
        )
    _refuse_inner_changes(model, current, minimum)
    shell, moved = weightless(model)
    shell.ir_version = max(shell.ir_version, 4)  # below 4 every initializer must be an input
    try:
        converted = version_converter.convert_version(shell, minimum)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ModelError(
            f"The model cannot be converted from opset {current} to {minimum}: {_reason(model, error)}",
            hint=f"Export the model again with opset {minimum} or newer.",
        ) from error
    _take_over(model, converted, set(moved))
    return model


def _refuse_inner_changes(model: onnx.ModelProto, current: int, minimum: int) -> None:
    """The converter leaves functions, and that of older onnx inner graphs, as they are: fine if nothing changed."""
    inner = [node for function in model.functions for node in function.node]
    if not _converts_inner_graphs():
        inner += [node for graph in list(every_graph(model.graph))[1:] for node in graph.node]
    changed = [
        node_text(node)
        for node in inner
        if node.domain in _DEFAULT
        and defs.has(node.op_type, current)
        and defs.get_schema(node.op_type, current).since_version != defs.get_schema(node.op_type, minimum).since_version
    ]
    if changed:
        raise ModelError(
            f"The model cannot be converted from opset {current} to {minimum}: onnx {onnx.__version__} leaves nodes "
            f"inside functions and branches as they are, and these changed in between: {listed(changed)}.",
            hint=f"Export the model again with opset {minimum} or newer.",
        )


@functools.cache
def _converts_inner_graphs() -> bool:
    """Whether the installed onnx also converts the graphs inside If, Loop and Scan, tried on one whose axes move."""
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1]) for name in ("x", "inner", "y")]
    branch = helper.make_graph([helper.make_node("ReduceMax", ["x"], ["inner"], axes=[1])], "branch", [], values[1:2])
    condition = helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([node], "probe", [condition, values[0]], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    converted = version_converter.convert_version(model, 18)
    inner = [node for graph in list(every_graph(converted.graph))[1:] for node in graph.node]
    return not any(attribute.name == "axes" for node in inner for attribute in node.attribute)


def _reason(model: onnx.ModelProto, error: Exception) -> str:
    """The converter's message without its source position, and the nodes whose operator it mentions."""
    text = re.sub(r"^\S+:\d+: .*?failed: ", "", " ".join(str(error).split()))
    text = text if len(text) <= 200 else text[:200] + "…"
    guilty = [
        node_text(node) for node in model.graph.node if re.search(rf"(?<![A-Za-z]){node.op_type}(?![A-Za-z])", text)
    ]
    return (f"it cannot convert {listed(guilty, limit=3)}. " if guilty else "") + f"onnx says: {text}"


def _take_over(model: onnx.ModelProto, converted: onnx.ModelProto, moved: set[str]) -> None:
    """Move what the converter changed (nodes, small initializers, opset) into ``model``; weights stay untouched."""
    metadata = {node.name: list(node.metadata_props) for node in model.graph.node if node.name}
    large = {tensor.name for tensor in model.graph.initializer} & moved
    graph = model.graph
    # Small initializers may have been changed or dropped by an adapter, so theirs are taken; large ones were not there.
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in large:
            del graph.initializer[index]
    graph.initializer.extend(tensor for tensor in converted.graph.initializer if tensor.name not in large)
    outputs = {value.name for value in graph.output}
    del graph.node[:], graph.value_info[:]
    graph.node.extend(converted.graph.node)
    graph.value_info.extend(value for value in converted.graph.value_info if value.name not in outputs)
    for node in graph.node:
        if node.name in metadata and not node.metadata_props:
            node.metadata_props.extend(metadata[node.name])
    kept = [entry for entry in model.opset_import if entry.domain not in _DEFAULT]
    version = next(entry.version for entry in converted.opset_import if entry.domain in _DEFAULT)
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", version), *kept])
    model.ir_version = max(model.ir_version, 4, int(helper.find_min_ir_version_for(model.opset_import, True)))
