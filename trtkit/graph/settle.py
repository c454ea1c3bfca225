"""What the sizes of the inputs decide is decided before the build: branches, and the axes of a Squeeze without any.

PyTorch's exporter writes ``x.squeeze(1)`` of an unknown size as an If ("is it 1?") whose branches differ in rank, and
``x.squeeze()`` as a Squeeze without axes. ONNX Runtime looks at each run; an engine's ranks are fixed when it is built.
Where a profile pins the sizes in question (minimum = maximum), the answer is known: the branch is moved into the graph
around it, the axes are written down, and the pinned sizes become the model's own, because it is right for no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from trtkit.artifacts.profile import OptimizationProfile
from trtkit.errors import ModelError
from trtkit.graph.branches import inline_branch
from trtkit.graph.dims import name_dynamic_dims
from trtkit.graph.known_values import Shape, shape_of
from trtkit.graph.names import make_node_names_unique
from trtkit.graph.sized_view import SizedView
from trtkit.graph.tree import every_node, node_text, subgraphs

__all__ = ["settle"]


def settle(model: onnx.ModelProto, profile: OptimizationProfile, where: str) -> bool:
    """Inline the branches, and write down the axes, that ``profile`` decides; in place. For every shape in the profile
    the model computes what it did; run twice, the second changes nothing.

    Returns:
        Whether anything changed. Then inputs have the profile's pinned sizes, and outputs their inferred shapes.

    Raises:
        ModelError: the rank of a tensor still depends on a size, or on data, so that no engine can have it.
    """
    if not any(_undecided(node) for node in every_node(model)):
        return False
    changed = False
    while True:
        view = SizedView.of(model, profile)
        if not _step(model.graph, view.model.graph, {}, {}, model, view):
            break
        changed = True
    _refuse_open_ranks(model.graph, view.model.graph, {}, view, where)
    if changed:
        _pin(model, view)
        name_dynamic_dims(model)
        make_node_names_unique(model)
    return changed


def _undecided(node: onnx.NodeProto) -> bool:
    return node.op_type == "If" or _lacks_axes(node)


def _lacks_axes(node: onnx.NodeProto) -> bool:
    if node.op_type != "Squeeze" or node.domain not in ("", "ai.onnx"):
        return False
    return not any(node.input[1:]) and all(attribute.name != "axes" for attribute in node.attribute)


def _step(
    graph: onnx.GraphProto,
    twin: onnx.GraphProto,
    outer_shapes: Mapping[str, Shape],
    outer_known: Mapping[str, npt.NDArray[Any]],
    model: onnx.ModelProto,
    view: SizedView,
) -> bool:
    """Decide everything that can be decided at once in ``graph``, else in the graphs inside; ``twin`` is its view."""
    shapes = view.shapes(twin, outer_shapes)
    known = view.values(twin, shapes, outer_known)
    changed = False
    for node in graph.node:
        if _lacks_axes(node):
            axes = _axes(shapes.get(node.input[0]), view)
            if axes is not None:
                _write_axes(graph, node, axes, view.opset)
                changed = True
    chosen = [node for node in graph.node if node.op_type == "If" and node.input[0] in known]
    for node in chosen:
        inline_branch(model, graph, node, bool(known[node.input[0]].reshape(-1)[0]))
        changed = True
    if changed:
        return True
    for node, shadow in zip(graph.node, twin.node, strict=True):
        for inner, inner_twin in zip(subgraphs(node), subgraphs(shadow), strict=True):
            if _step(inner, inner_twin, shapes, known, model, view):
                return True
    return False


def _axes(shape: Shape | None, view: SizedView) -> list[int] | None:
    """The axes of size 1, where it is known of every axis whether it is one."""
    if shape is None or not all(isinstance(size, int) or size in view.never_one for size in shape):
        return None
    return [axis for axis, size in enumerate(shape) if size == 1]


def _write_axes(graph: onnx.GraphProto, node: onnx.NodeProto, axes: list[int], opset: int) -> None:
    if not axes:
        node.op_type = "Identity"
        del node.input[1:]
    elif opset < 13:
        node.attribute.append(helper.make_attribute("axes", axes))
    else:
        name = f"{node.output[0]}_axes"
        graph.initializer.append(numpy_helper.from_array(np.array(axes, dtype=np.int64), name))
        del node.input[1:]
        node.input.append(name)


def _pin(model: onnx.ModelProto, view: SizedView) -> None:
    """Inputs and outputs as the view has them; notes on inner shapes are out of date."""
    for ours, theirs in ((model.graph.input, view.model.graph.input), (model.graph.output, view.model.graph.output)):
        found = {value.name: value for value in theirs}
        for value in ours:
            if shape_of(found[value.name]) is not None:
                value.CopyFrom(found[value.name])
    del model.graph.value_info[:]


def _refuse_open_ranks(
    graph: onnx.GraphProto, twin: onnx.GraphProto, outer: Mapping[str, Shape], view: SizedView, where: str
) -> None:
    shapes = view.shapes(twin, outer)
    for node, shadow in zip(graph.node, twin.node, strict=True):
        if _lacks_axes(node):
            shape = shapes.get(node.input[0])
            dims = "of unknown rank" if shape is None else "×".join("?" if s is None else str(s) for s in shape)
            raise ModelError(
                f"{where}: {node_text(node)} has no axes, and its input is {dims}: which axes it removes, and so the "
                "rank of its output, depends on sizes that differ from run to run; an engine's ranks are fixed.",
                hint="Pin the sizes that may be 1 (with --batch 1, or one shape in --shapes), or export with axes.",
            )
        if node.op_type == "If":
            _refuse_unequal_ranks(shadow, shapes, view, where)
        for branch, branch_twin in zip(subgraphs(node), subgraphs(shadow), strict=True):
            _refuse_open_ranks(branch, branch_twin, shapes, view, where)


def _refuse_unequal_ranks(node: onnx.NodeProto, shapes: Mapping[str, Shape], view: SizedView, where: str) -> None:
    branches = {attribute.name: attribute.g for attribute in node.attribute}
    inner = {name: view.shapes(branch, shapes) for name, branch in branches.items()}
    for index, output in enumerate(node.output):
        found = {name: inner[name].get(branch.output[index].name) for name, branch in branches.items()}
        then, otherwise = found["then_branch"], found["else_branch"]
        if then is not None and otherwise is not None and len(then) != len(otherwise):
            raise ModelError(
                f"{where}: {node_text(node)} gives {output!r} {len(then)} dimensions in one branch and "
                f"{len(otherwise)} in the other; an engine's ranks are fixed, so TensorRT cannot take it.",
                hint="If it asks for a size, pin that size (with --batch, or one shape in --shapes); else export the "
                "model without this branch.",
            )
