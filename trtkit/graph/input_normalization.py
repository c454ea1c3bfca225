"""What a model does to its image input before anything else: a mean that it subtracts itself.

Only steps in front of the first real operator are read: Cast, Transpose and the like, a scalar factor, then a mean of
three numbers. A model that was trained on prepared pixels shows nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from trtkit.graph.quantizable import stored_constants

__all__ = ["InputNormalization", "input_normalization"]

_SAME_VALUES = ("Cast", "Identity", "Transpose")
# torchvision's mean of ImageNet's pixels, and Caffe's.
_RED_TO_BLUE = (np.array([123.675, 116.28, 103.53]), np.array([122.68, 116.67, 104.0]))
_NEAR = 2.0  # pixels of 255


@dataclass(frozen=True)
class InputNormalization:
    """A mean that the model subtracts from its input itself.

    Attributes:
        node: the node that does it.
        mean: three numbers, in the input's own unit.
        highest: 255 or 1: what white is in the input, if the mean is one of photographs; ``None`` if it is neither.
        channel_order: ``RGB`` or ``BGR``, if the mean is ImageNet's in that order; ``None`` if it is not.
    """

    node: str
    mean: tuple[float, float, float]
    highest: float | None
    channel_order: str | None


def input_normalization(model: onnx.ModelProto, name: str) -> InputNormalization | None:
    """The mean that the model subtracts from the input ``name`` before anything else; ``None`` if it does not.

    Args:
        model: with its weights.
        name: a graph input.
    """
    constants = stored_constants(model.graph)
    factor = 1.0
    while True:
        readers = [node for node in model.graph.node if name in node.input]
        if len(readers) != 1:
            return None
        (node,) = readers
        if node.op_type in _SAME_VALUES:
            name = node.output[0]
            continue
        others = [constants[other] for other in node.input if other != name and other in constants]
        if node.op_type not in ("Mul", "Div", "Sub", "Add") or len(others) != 1 or node.input[0] != name:
            return None
        value = numpy_helper.to_array(others[0]).astype(np.float64).reshape(-1)
        if node.op_type in ("Mul", "Div"):
            if value.size != 1 or not value[0]:
                return None
            factor *= value[0] if node.op_type == "Mul" else 1 / value[0]
            name = node.output[0]
            continue
        return _read(node, (value if node.op_type == "Sub" else -value) / factor)


def _read(node: onnx.NodeProto, mean: np.ndarray) -> InputNormalization | None:
    if mean.size != 3 or not np.isfinite(mean).all():
        return None
    found = (float(mean[0]), float(mean[1]), float(mean[2]))
    for highest in (255.0, 1.0):
        for known in _RED_TO_BLUE:
            for order, expected in (("RGB", known), ("BGR", known[::-1])):
                if np.abs(mean * 255 / highest - expected).max() < _NEAR:
                    return InputNormalization(node.name, found, highest, order)
    grey = next((top for top in (255.0, 1.0) if 0.2 < mean.min() / top <= mean.max() / top < 0.8), None)
    return InputNormalization(node.name, found, grey, None)
