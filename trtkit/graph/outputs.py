"""Which outputs are a Softmax's, and what stood before it: a saturated Softmax hides any error.

A plan shows only its outputs, so the scores before the Softmax are recovered from its probabilities: for
``p = softmax(z)`` along an axis, ``log p − mean(log p) = z − mean(z)``, and adding a constant to z along that axis
changes nothing that the model says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # workers that compare outputs need not load it
    import onnx

__all__ = ["before_softmax", "paired_scores", "softmax_axes"]

_SMALLEST = float(np.finfo(np.float32).tiny)
_SUM_TOLERANCE = 1e-2  # twenty times what rounding to float16 does to a sum


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


def before_softmax(probabilities: np.ndarray, axis: int, *, floor: float = _SMALLEST) -> np.ndarray:
    """The scores before the Softmax, centred along ``axis``; float64, same shape. NaN stays NaN.

    Args:
        probabilities: as the Softmax gave them.
        axis: of the Softmax.
        floor: what smaller probabilities count as. Of a probability that underflowed only this much is known: its
            score is at most the floor's. To leave it out instead would be to forgive a plan that answers with zeros.
    """
    logs = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), floor))
    with np.errstate(invalid="ignore"):  # an infinity, which no Softmax gives, makes its neighbours NaN
        centred: np.ndarray = logs - np.mean(logs, axis=axis, keepdims=True)
    return centred


def paired_scores(reference: np.ndarray, candidate: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The scores of both sides, comparable: see :func:`before_softmax`.

    Both get the floor of the coarser type: below its smallest normal number digits are lost. What centring would hide
    is shown: where the candidate's probabilities do not add up to the reference's sum, its scores are NaN.
    """
    floor = max(_SMALLEST, *(float(np.finfo(values.dtype).tiny) for values in (reference, candidate)))
    scores = [before_softmax(values, axis, floor=floor) for values in (reference, candidate)]
    # Up to opset 12 a Softmax normalises over its axis and all after it; later ones add up to a constant over them.
    over = tuple(range(axis % reference.ndim, reference.ndim))
    wanted, found = (np.sum(values, axis=over, keepdims=True, dtype=np.float64) for values in (reference, candidate))
    lost = np.abs(found - wanted) > _SUM_TOLERANCE * np.abs(wanted)
    return scores[0], np.where(lost, np.nan, scores[1])
