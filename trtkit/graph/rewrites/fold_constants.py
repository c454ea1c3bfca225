"""What follows from stored numbers and fixed sizes alone, computed once instead of at every run.

Small tensors (shapes, axes, pads) come from :mod:`trtkit.graph.known_values`, which also knows sizes that shape
inference finds. Weights that a chain of moving and elementwise operators prepares (Transpose, Reshape, Cast, Mul …)
are computed with ONNX's own reference implementation. Quantization is left alone: a DequantizeLinear of weights is
what the engine looks for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from trtkit.graph.known_values import known_values
from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView

__all__ = ["FoldConstants"]

_MOVING = frozenset(
    ("Cast", "Concat", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
)
_ELEMENTWISE = frozenset(("Abs", "Add", "Div", "Exp", "Mul", "Neg", "Pow", "Reciprocal", "Sqrt", "Sub"))


class FoldConstants(Rewrite):
    """See the module."""

    name = "fold_constants"
    summary = "what does not depend on the inputs is computed beforehand"
    gains = "nothing where the engine folds it itself; it opens the way for other rewrites, which need stored weights"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        known = known_values(graph.model.graph, graph.shapes, {}, graph.opset)
        for node in graph.nodes:
            if node.op_type == "Constant" or not node.output or any(graph.is_visible(name) for name in node.output):
                continue
            if len(node.output) == 1 and node.output[0] in known:
                values: list[npt.NDArray[np.generic]] | None = [known[node.output[0]]]
            else:
                values = _computed(graph, node)
            if values is None or any(_differs(graph, *pair) for pair in zip(node.output, values, strict=True)):
                continue
            edit = Edit(graph, self.name, node, [node], f"{node.op_type} of stored numbers")
            for name, value in zip(node.output, values, strict=True):
                edit.tensors.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))
            yield edit


def _differs(graph: GraphView, name: str, value: npt.NDArray[np.generic]) -> bool:
    """Whether the value does not have the element type that ONNX infers for the tensor."""
    return graph.types.get(name) != int(helper.np_dtype_to_tensor_dtype(value.dtype))


def _computed(graph: GraphView, node: onnx.NodeProto) -> list[npt.NDArray[np.generic]] | None:
    if node.op_type not in _MOVING | _ELEMENTWISE or node.domain not in ("", "ai.onnx") or not node.input:
        return None
    feeds = {name: graph.constant(name) for name in node.input if name}
    if any(value is None for value in feeds.values()) or not all(node.output):
        return None
    inputs = [helper.make_tensor_value_info(name, graph.types[name], None) for name in feeds]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    single = helper.make_model(
        helper.make_graph([node], "one", inputs, outputs), opset_imports=[helper.make_opsetid("", graph.opset)]
    )
    try:
        return [np.asarray(value) for value in ReferenceEvaluator(single).run(None, feeds)]
    except Exception:  # onnx's evaluator raises what it likes; then the node stays, which is always right
        return None
