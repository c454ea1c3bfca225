"""LRN's sum over neighbouring channels as a 1×1 convolution with a banded matrix.

ONNX defines, for channel c of C (operator LRN),

    y[c] = x[c] / t[c]^β   with   t[c] = bias + α/size · Σ x[i]²,
    i from max(0, c − ⌊(size−1)/2⌋) to min(C−1, c + ⌈(size−1)/2⌉).

The sum is linear in q = x²: t = B·q + bias with the C×C matrix B[c, i] = α/size where i is in c's window, else 0. At
every position of the map that is a 1×1 convolution of q with weights B and a constant bias. Since bias > 0 and α ≥ 0,
t > 0, so t^¾ = √t · √√t, t^½ = √t and t¹ = t are the same real numbers; any other β stays a Pow.

In float16 q overflows above |x| = 255.9. A float16 LRN is therefore written with scaled squares right away, and
``trtkit.graph.float16`` scales those of a float32 band when it casts it: see ``trtkit.graph.float16_squares``.

Conditions: float32 or float16, at least one dimension behind the channels, a fixed number of channels, bias > 0, α ≥ 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx

from trtkit.graph.float16_squares import scales
from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView, attributes_of

__all__ = ["LrnBand", "band"]

_LARGEST = 4096  # channels: the matrix grows with their square (64 MiB here), the window's sum does not


def band(channels: int, size: int, alpha: float) -> npt.NDArray[np.float64]:
    """The matrix B, channels × channels: α/size inside each channel's window, else 0."""
    offset = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    inside = (offset >= -((size - 1) // 2)) & (offset <= size // 2)
    return np.where(inside, alpha / size, 0.0)


class LrnBand(Rewrite):
    """See the module."""

    name = "lrn_band"
    summary = "LRN as a square, a 1×1 convolution with a banded matrix, square roots and a division"
    gains = "GPU: three FP32 kernels become one in the model's own precision (AlexNet 1.4×, GoogLeNet 1.3×); CPU: 1.8×"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.of_type("LRN"):
            shape = graph.shape(node.input[0])
            if shape is None or len(shape) < 3 or not graph.is_float(node.input[0]):
                continue
            channels, given = shape[1], attributes_of(node)
            alpha, bias = float(given.get("alpha", 1e-4)), float(given.get("bias", 1.0))
            if not isinstance(channels, int) or channels > _LARGEST or alpha < 0 or bias <= 0:
                continue
            edit = self._edit(graph, node, channels, len(shape), alpha, bias)
            if edit is not None:
                yield edit

    def _edit(
        self, graph: GraphView, node: onnx.NodeProto, channels: int, rank: int, alpha: float, bias: float
    ) -> Edit | None:
        given = attributes_of(node)
        size, beta = int(given["size"]), round(float(given.get("beta", 0.75)), 7)  # stored as float32
        half = graph.types[node.input[0]] == onnx.TensorProto.FLOAT16
        matrix, shift = band(channels, size, alpha), np.full(channels, bias)
        factor, after = 1.0, 1.0
        if half:
            found = scales(matrix, shift, beta)
            if found is None:
                return None
            factor, after = found.before, found.after
            matrix, shift = matrix * found.weights, shift * found.bias
        dtype = np.float16 if half else np.float32
        edit = Edit(graph, self.name, node, [node], f"{channels} channels, window {size}, power {beta:g}")
        stem = f"{node.name or node.output[0]}/{self.name}"

        def number(what: str, value: float) -> str:
            return edit.tensor(f"{stem}/{what}", np.array(value, dtype))

        x = node.input[0]
        scaled = x if factor == 1 else edit.add("Mul", [x, number("scale", factor)], "scaled")
        square = edit.add("Mul", [scaled, scaled], "square")
        weights = edit.tensor(f"{stem}/band", matrix.reshape(channels, channels, *[1] * (rank - 2)).astype(dtype))
        offsets = edit.tensor(f"{stem}/bias", shift.astype(dtype))
        total = edit.add("Conv", [square, weights, offsets], "sum", kernel_shape=[1] * (rank - 2))
        if beta == 1:
            divisor = total
        elif beta == 0.5:
            divisor = edit.add("Sqrt", [total], "sqrt")
        elif beta == 0.75:
            root = edit.add("Sqrt", [total], "sqrt")
            divisor = edit.add("Mul", [root, edit.add("Sqrt", [root], "sqrt_sqrt")], "power")
        else:
            divisor = edit.add("Pow", [total, number("beta", beta)], "power")
        if after != 1:
            divisor = edit.add("Mul", [divisor, number("unscale", after)], "unscaled")
        edit.add("Div", [x, divisor], "div", output=node.output[0])
        return edit
