"""A model as it looks at the sizes of one optimization profile: shapes inferred, and values that sizes decide known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, shape_inference

from trtkit.artifacts.profile import OptimizationProfile
from trtkit.graph.known_values import Shape, Values, known_values, shape_of
from trtkit.graph.tree import every_graph, subgraphs, weightless

__all__ = ["SizedView"]


@dataclass(frozen=True)
class SizedView:
    """A copy of a model without large weights, to look things up in; its nodes stand where the model's own stand.

    Attributes:
        model: inputs have the sizes that the profile pins (minimum = maximum), and shapes are inferred from those;
            nodes whose value follows became Constant nodes, one for one.
        opset: of the default domain.
        never_one: names of dynamic dimensions whose minimum is 2 or more.
    """

    model: onnx.ModelProto
    opset: int
    never_one: frozenset[str]

    @classmethod
    def of(cls, model: onnx.ModelProto, profile: OptimizationProfile) -> SizedView:
        """The view of ``model``, which is not changed.

        Args:
            model: checked, its dynamic dimensions named.
            profile: with a range for every input.
        """
        shell, _ = weightless(model)
        never_one = _pin_inputs(shell, profile)
        for graph in every_graph(shell.graph):
            del graph.value_info[:]  # what an exporter noted held for unknown sizes, and so did the outputs' shapes
        for output in shell.graph.output:
            output.type.tensor_type.ClearField("shape")
        opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        while True:  # each known value can settle more shapes (the pads of a Pad), and each shape more values
            view = cls(shape_inference.infer_shapes(shell, data_prop=True), opset, never_one)
            if not view._write_known_values(view.model.graph, {}, {}):
                return view
            shell = view.model

    def shapes(self, graph: onnx.GraphProto, outer: Mapping[str, Shape]) -> dict[str, Shape]:
        """Shapes of the tensors that a graph of the view sees, those of the graphs around it (``outer``) included."""
        found = dict(outer)
        for value in (*graph.input, *graph.value_info, *graph.output):
            shape = shape_of(value)
            if shape is not None:
                found[value.name] = shape
        for tensor in graph.initializer:
            found[tensor.name] = tuple(tensor.dims)
        return found

    def values(
        self, graph: onnx.GraphProto, shapes: Mapping[str, Shape], outer: Mapping[str, npt.NDArray[Any]]
    ) -> Values:
        """Known values that a graph of the view sees; see :func:`trtkit.graph.known_values.known_values`."""
        return known_values(graph, shapes, outer, self.opset)

    def _write_known_values(
        self, graph: onnx.GraphProto, outer_shapes: Mapping[str, Shape], outer_known: Mapping[str, npt.NDArray[Any]]
    ) -> bool:
        shapes = self.shapes(graph, outer_shapes)
        known = self.values(graph, shapes, outer_known)
        changed = False
        for node in graph.node:
            if len(node.output) == 1 and node.op_type != "Constant" and node.output[0] in known:
                value = numpy_helper.from_array(np.asarray(known[node.output[0]]))
                node.CopyFrom(helper.make_node("Constant", [], list(node.output), name=node.name, value=value))
                changed = True
            for inner in subgraphs(node):
                changed |= self._write_known_values(inner, shapes, known)
        return changed


def _pin_inputs(shell: onnx.ModelProto, profile: OptimizationProfile) -> frozenset[str]:
    """Give inputs the sizes that the profile pins; the names of the other dimensions that are never 1."""
    never_one = set()
    for value in shell.graph.input:
        shapes = profile.ranges.get(value.name)
        if shapes is None:
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            low, high = shapes.minimum[axis], shapes.maximum[axis]
            if low == high:
                dim.dim_value = low
            elif low > 1 and dim.dim_param:
                never_one.add(dim.dim_param)
    return frozenset(never_one)
