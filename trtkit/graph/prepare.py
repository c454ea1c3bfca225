"""From a foreign ONNX model to one that every later step can rely on: normalized, or refused.

The opset is left alone: TensorRT and ONNX Runtime read 7 and newer, and onnx's version converter is the one step here
that can fail on a sound model. Steps that need a newer opset call ``trtkit.graph.opset.at_least`` themselves.
"""

from __future__ import annotations

import onnx

from trtkit.graph.check import check
from trtkit.graph.dims import name_dynamic_dims
from trtkit.graph.names import make_node_names_unique
from trtkit.graph.order import sort_nodes
from trtkit.graph.output_types import infer_output_types
from trtkit.graph.texts import check_texts

__all__ = ["prepare"]

_STEPS = (
    ("sort_nodes", sort_nodes),
    ("infer_output_types", infer_output_types),
    ("name_dynamic_dims", name_dynamic_dims),
    ("make_node_names_unique", make_node_names_unique),
)


def prepare(
    model: onnx.ModelProto, where: str, *, for_tensorrt: bool = True
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Normalize ``model`` in place, then check it. The function it computes stays the same; run twice, nothing
    changes.

    Args:
        model: the model, weights inside.
        where: what messages call it, usually the file's path.
        for_tensorrt: as in :func:`trtkit.graph.check.check`.

    Returns:
        The same model, and the names of the transformations that changed something, in order.

    Raises:
        ModelError: as for :func:`trtkit.graph.check.check`.
    """
    check_texts(model, where)
    changed = tuple(name for name, step in _STEPS if step(model))
    check(model, where, for_tensorrt=for_tensorrt)
    return model, changed
