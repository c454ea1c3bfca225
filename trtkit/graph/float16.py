"""FP16 as a property of the ONNX file: weights and activations become float16, delicate nodes stay float32 islands.

TensorRT networks are strongly typed, so the types written here are the types that run. Which nodes stay is decided in
``float16_rules``, the graph is written in ``float16_rewrite``.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import inliner

from trtkit.errors import ModelError
from trtkit.graph.float16_constants import WeightNote
from trtkit.graph.float16_rewrite import KeptNode, Rewriter
from trtkit.graph.float16_squares import scale_squares
from trtkit.graph.order import sort_nodes
from trtkit.graph.tree import every_graph, weightless

__all__ = ["Float16Result", "KeptNode", "WeightNote", "to_float16"]


@dataclass(frozen=True)
class Float16Result:
    """What :func:`to_float16` made.

    Attributes:
        model: a new model; the source is unchanged.
        modified: False if nothing was left to cast; ``model`` then is a plain copy.
        kept_float32: nodes left in float32 (or float64), in graph order, a subgraph's after the node that holds it.
        weight_notes: constants that lose more than ordinary rounding, or were not cast. Nothing is ever clamped.
    """

    model: onnx.ModelProto
    modified: bool
    kept_float32: tuple[KeptNode, ...]
    weight_notes: tuple[WeightNote, ...]

    @property
    def flushed_weights(self) -> int:
        """Nonzero weight elements that became zero in float16."""
        return sum(note.flushed for note in self.weight_notes if note.cast)

    @property
    def subnormal_weights(self) -> int:
        """Weight elements that kept fewer than float16's 11 significant bits, without becoming zero."""
        return sum(note.subnormal for note in self.weight_notes if note.cast)


def to_float16(model: onnx.ModelProto, *, keep_io: bool = True) -> Float16Result:
    """Cast a float32 model to float16.

    Node names stay, and so do the names of graph inputs, outputs and weights; where float16 and float32 nodes share a
    weight, its float16 copy is called ``NAME_float16``. A Cast is named after its tensor. Functions are inlined.
    ``value_info`` is dropped, since its types would no longer hold, except for custom operators. Nodes come out in
    topological order. Sums of squares that an LRN was rewritten to are scaled into float16's range. Memory needed: the
    source, the result, and twice the largest weight.

    Args:
        model: any ONNX model with its weights loaded. It is not changed. Casting a cast model changes nothing.
        keep_io: graph inputs and outputs stay float32, with Casts behind and before them; otherwise they become float16
            (but for outputs that are constants).

    Raises:
        ModelError: a node that cannot be typed (a custom operator without ``value_info``), external data that was not
            loaded, sparse initializers, or Q/DQ before opset 19, where scales cannot be float16.
    """
    bare, _ = weightless(model)
    if model.functions:
        bare = inliner.inline_local_functions(bare)
    moved = sort_nodes(bare)
    replaced = scale_squares(bare.graph, model.graph)
    try:
        bare = onnx.shape_inference.infer_shapes(bare, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"types cannot be inferred: {str(error).strip().splitlines()[0]}",
            hint="run onnx.checker.check_model(model, full_check=True) on the source model",
        ) from error
    for graph in every_graph(bare.graph):
        if graph.sparse_initializer:
            raise ModelError(
                f"graph {graph.name!r} holds sparse initializers, which the float16 cast does not know",
                hint="store those weights as dense initializers",
            )

    result = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name in ("graph", "functions", "opset_import"):
            continue
        if field.message_type is None:
            setattr(result, field.name, value)
        else:
            getattr(result, field.name).extend(value)
    result.opset_import.extend(bare.opset_import)
    rewriter = Rewriter(result, bare.graph, keep_io=keep_io, replaced=replaced)
    rewriter.run(model.graph)
    modified = moved or rewriter.changed
    if not modified:
        result = onnx.ModelProto()
        result.CopyFrom(model)
    return Float16Result(result, modified, tuple(rewriter.kept), tuple(rewriter.notes))
