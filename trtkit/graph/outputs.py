"""Which outputs are a Softmax's, and what stood before it: a saturated Softmax hides any error.

A plan shows only its outputs, so the scores before the Softmax are recovered from its probabilities: for
``p = softmax(z)`` along an axis, ``log p − mean(log p) = z − mean(z)``, and adding a constant to z along that axis
changes nothing that the model says.
"""

from __future__ import annotations

import numpy as np
import onnx

__all__ = ["before_softmax", "softmax_axes"]

_SMALLEST = float(np.finfo(np.float32).tiny)


def softmax_axes(model: onnx.ModelProto) -> dict[str, int]:
    """Output name → the axis that its Softmax normalises, for every graph output that is a Softmax's.

    A Cast or Identity between the two is looked through; a shape change is not (the axis would be another one).
    """
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    producers = {name: node for node in model.graph.node for name in node.output}
    found: dict[str, int] = {}
    for output in model.graph.output:
        node = producers.get(output.name)
        while node is not None and node.op_type in ("Cast", "Identity"):
            node = producers.get(node.input[0])
        if node is not None and node.op_type == "Softmax":
            default = -1 if opset >= 13 else 1
            found[output.name] = next((a.i for a in node.attribute if a.name == "axis"), default)
    return found


def before_softmax(probabilities: np.ndarray, axis: int) -> np.ndarray:
    """The scores before the Softmax, centred along ``axis``; float64, same shape.

    Probabilities below the smallest normal float32 carry no information about their score: they become NaN, for the
    caller to leave out.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    logs = np.log(np.where(values >= _SMALLEST, values, np.nan))
    centred: np.ndarray = logs - np.nanmean(logs, axis=axis, keepdims=True)
    return centred
