"""Constants of a model as float32 arrays, what float16 would do to them, and their float16 copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from trtkit.errors import ModelError

__all__ = ["WeightFit", "constant_of", "fill_float16", "float_values", "put_float16", "weight_fit"]

FLOAT = onnx.TensorProto.FLOAT
FLOAT16 = onnx.TensorProto.FLOAT16
_LOST_SHARE = 1 / 256
"""A constant that loses more than this share of its norm to float16 (8 times the worst normal rounding) is not cast."""


@dataclass(frozen=True)
class WeightFit:
    """How a float32 constant fits into float16.

    Attributes:
        elements: number of elements.
        overflowing: finite elements that would become infinite (|w| ≥ 65520).
        flushed: nonzero elements that would become zero (|w| ≤ 2⁻²⁵).
        subnormal: elements that stay nonzero, with fewer than 11 significant bits (below 2⁻¹⁴).
        max_abs: largest finite magnitude.
        lost: ‖float16(w) − w‖ / ‖w‖ over the finite elements; 0 for an all-zero constant.
    """

    elements: int
    overflowing: int
    flushed: int
    subnormal: int
    max_abs: float
    lost: float

    @property
    def unfit(self) -> str | None:
        """Why the constant must stay float32, or None."""
        if self.overflowing:
            return f"{self.overflowing} of {self.elements} values lie outside ±65504 (largest {self.max_abs:.4g})"
        if self.lost > _LOST_SHARE:
            return (
                f"values as small as these (largest {self.max_abs:.4g}) lose {self.lost:.1%} of their norm in float16"
            )
        return None


def weight_fit(values: npt.NDArray[np.float32]) -> WeightFit:
    """Measure a constant, in pieces of a million elements, so that it costs no second copy of the weights."""
    flat = values.reshape(-1)
    overflowing = flushed = subnormal = 0
    max_abs = squares = error_squares = 0.0
    for start in range(0, flat.size, 1 << 20):
        piece = flat[start : start + (1 << 20)]
        magnitude = np.abs(piece)
        finite = np.isfinite(magnitude)
        if not finite.all():
            magnitude = magnitude[finite]
        if not magnitude.size:
            continue
        max_abs = max(max_abs, float(magnitude.max()))
        overflowing += int(np.count_nonzero(magnitude >= 65520))
        # Only small values lose more than ordinary rounding, so a layer without any needs no second look.
        small = magnitude[magnitude < 2.0**-14].astype(np.float64)
        rounded = small.astype(np.float16)
        flushed += int(np.count_nonzero((rounded == 0) & (small != 0)))
        subnormal += int(np.count_nonzero(rounded))
        error_squares += float(np.square(rounded - small).sum())
        squares += float(np.square(magnitude, dtype=np.float64).sum())
    lost = float(np.sqrt(error_squares / squares)) if squares else 0.0
    return WeightFit(flat.size, overflowing, flushed, subnormal, max_abs, lost)


def constant_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The float32 tensor of a Constant node, None for constants of any other kind."""
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.t.data_type == FLOAT:
            return attribute.t
        if attribute.name == "value_float":
            return numpy_helper.from_array(np.float32(attribute.f).reshape(()))
        if attribute.name == "value_floats":
            return numpy_helper.from_array(np.array(attribute.floats, np.float32))
    return None


def float_values(tensor: onnx.TensorProto) -> npt.NDArray[np.float32]:
    """The elements of a float32 tensor, one row; a view of one copy of its raw bytes.

    Raises:
        ModelError: its data lies in an external file that was not loaded.
    """
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ModelError(
            f"weights {tensor.name!r} lie in an external file that has not been loaded",
            hint="load the model together with its external data (onnx.load does so by default)",
        )
    if tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, np.dtype("<f4"))
    return np.array(tensor.float_data, np.float32)


def put_float16(source: onnx.TensorProto, target: onnx.TensorProto, name: str) -> None:
    """Fill the empty ``target`` with ``source`` rounded to float16 (to nearest, ties to even)."""
    target.name = name
    target.dims.extend(source.dims)
    target.data_type = FLOAT16
    target.raw_data = float_values(source).astype("<f2").tobytes()


def fill_float16(node: onnx.NodeProto) -> None:
    """Make a ConstantOfShape node fill with float16."""
    fill = next((attribute for attribute in node.attribute if attribute.name == "value"), None)
    if fill is None:
        node.attribute.append(helper.make_attribute("value", helper.make_tensor("", FLOAT16, [1], [0.0])))
    else:
        old = onnx.TensorProto()
        old.CopyFrom(fill.t)
        fill.t.Clear()
        put_float16(old, fill.t, "")
