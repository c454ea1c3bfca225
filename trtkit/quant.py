"""From the largest absolute value to a scale to INT8 or FP8 numbers, in plain NumPy.

Symmetric quantization, the only kind TensorRT takes: zero point 0, ``q = saturate(round(x / scale))``, ``x ≈ q·scale``.
The arithmetic equals ONNX QuantizeLinear and DequantizeLinear, as ONNX Runtime computes them, bit for bit: division in
float32, rounding half to even, saturation to −128…127 (INT8) or ±448 (FP8 E4M3FN).
Source: ONNX operators QuantizeLinear and DequantizeLinear, versions 13 to 25; Micikevicius et al., "FP8 formats for
deep learning", arXiv:2209.05433, table 1.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import ml_dtypes
import numpy as np
import numpy.typing as npt

from trtkit.errors import CalibrationError, UsageError

__all__ = [
    "FP8_MAX",
    "INT8_MAX",
    "ZERO_RANGE_SCALE",
    "QuantType",
    "channel_amax",
    "dequantize",
    "fake_quantize",
    "largest",
    "numpy_type",
    "quant_type",
    "quantize",
    "scale_of",
]

QuantType = Literal["int8", "fp8"]
"""``int8``, or ``fp8``: E4M3FN, which has 4 bits of exponent, 3 of mantissa, and no infinity."""

INT8_MAX = 127
"""The integer that stands for amax. −128 exists but is left to saturation, so that the grid is symmetric."""

FP8_MAX = 448.0
"""The largest finite E4M3FN number."""

ZERO_RANGE_SCALE = 2.0**-14
"""The scale of a range of zero. TensorRT refuses a scale of 0; this one is the smallest normal float16 number, so that
it stays one in FP16 too."""

_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # its reciprocal, by which engines multiply, is still finite

_Floats = npt.NDArray[np.floating[Any]]


def largest(dtype: QuantType) -> float:
    """The quantized number that amax maps to: 127 or 448.

    Raises:
        UsageError: ``dtype`` is neither ``int8`` nor ``fp8``.
    """
    if dtype not in get_args(QuantType):
        raise UsageError(
            f"There is no quantized type {dtype!r}. Allowed: {', '.join(get_args(QuantType))}.",
            hint="Use int8, or fp8 for compute capability 8.9 and newer.",
        )
    return float(INT8_MAX) if dtype == "int8" else FP8_MAX


def quant_type(text: str) -> QuantType:
    """A word as a quantized type.

    Raises:
        UsageError: it is neither ``int8`` nor ``fp8``.
    """
    if text == "int8":
        return "int8"
    if text == "fp8":
        return "fp8"
    raise UsageError(
        f"There is no quantized type {text!r}. Allowed: {', '.join(get_args(QuantType))}.",
        hint="Use int8, or fp8 for compute capability 8.9 and newer.",
    )


def numpy_type(dtype: QuantType) -> np.dtype[Any]:
    """The NumPy type that holds the quantized numbers: ``int8`` or ml_dtypes' ``float8_e4m3fn``."""
    largest(dtype)
    return np.dtype(np.int8) if dtype == "int8" else np.dtype(ml_dtypes.float8_e4m3fn)


def scale_of(amax: npt.ArrayLike, dtype: QuantType = "int8") -> npt.NDArray[np.float32]:
    """``amax / 127`` (INT8) or ``amax / 448`` (FP8) as float32, of the same shape as ``amax``.

    Args:
        amax: largest absolute value to be represented, one number or one a channel.
        dtype: the quantized type.

    Returns:
        Scales above 0: :data:`ZERO_RANGE_SCALE` where amax is 0, and never a subnormal float32.

    Raises:
        CalibrationError: an amax is negative, infinite or not a number.
    """
    values = np.asarray(amax, dtype=np.float64)
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        bad = values[~(np.isfinite(values) & (values >= 0))].flat[0]
        raise CalibrationError(
            f"An amax of {bad} cannot be made a scale; it is a finite number, 0 or more.",
            hint="Look for NaN or infinity in the calibration data and in the model's outputs.",
        )
    scales = np.maximum(values / largest(dtype), _SMALLEST_SCALE)
    return np.where(values == 0, ZERO_RANGE_SCALE, scales).astype(np.float32)


def channel_amax(weight: np.ndarray, axis: int | None) -> npt.NDArray[np.float32]:
    """Largest absolute value along ``axis`` (one number a channel), or of everything where ``axis`` is None.

    Args:
        weight: any shape; computed without a copy of its size.
        axis: the output channels' dimension, negative counts from the end.
    """
    others = None if axis is None else tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    if weight.size == 0:
        shape = () if axis is None else (weight.shape[axis],)
        return np.zeros(shape, np.float32)
    # Twice over the data, but no temporary array as np.abs would make one.
    high, low = np.asarray(weight.max(axis=others)), np.asarray(weight.min(axis=others))
    return np.maximum(high.astype(np.float32), -low.astype(np.float32))


def quantize(x: np.ndarray, scale: npt.ArrayLike, dtype: QuantType = "int8", axis: int | None = None) -> np.ndarray:
    """ONNX QuantizeLinear with zero point 0.

    Args:
        x: float32 or float16, any shape.
        scale: one number, or a vector of one a channel along ``axis``; float16 scales count with their float16 value.
        dtype: the quantized type.
        axis: the channels' dimension of a vector of scales; None for one number.

    Returns:
        ``int8`` or ``float8_e4m3fn`` of x's shape. NaN becomes −128 in INT8, as in ONNX Runtime, and stays NaN in FP8.
    """
    kind = numpy_type(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        quotient = np.asarray(x, np.float32) / _spread(scale, np.ndim(x), axis)
        if dtype == "fp8":
            return np.asarray(np.clip(quotient, -FP8_MAX, FP8_MAX).astype(kind))
        rounded = np.clip(np.rint(quotient), -128, 127)
        return np.asarray(np.where(np.isnan(rounded), np.float32(-128), rounded).astype(kind))


def dequantize(q: np.ndarray, scale: npt.ArrayLike, axis: int | None = None) -> _Floats:
    """ONNX DequantizeLinear with zero point 0: ``q · scale``, of the scale's type (float32 unless it is float16).

    Args:
        q: quantized numbers, any shape.
        scale, axis: as for :func:`quantize`.
    """
    kind = np.float16 if np.asarray(scale).dtype == np.float16 else np.float32
    with np.errstate(over="ignore"):
        return np.asarray((q.astype(np.float32) * _spread(scale, q.ndim, axis)).astype(kind))


def fake_quantize(x: np.ndarray, scale: npt.ArrayLike, dtype: QuantType = "int8", axis: int | None = None) -> _Floats:
    """What is left of ``x`` after quantization: :func:`dequantize` of :func:`quantize`."""
    return dequantize(quantize(x, scale, dtype, axis), scale, axis)


def _spread(scale: npt.ArrayLike, rank: int, axis: int | None) -> npt.NDArray[np.float32]:
    """The scale as float32, shaped to broadcast along ``axis``."""
    values = np.asarray(scale).astype(np.float32)
    if axis is None:
        if values.size != 1:
            raise UsageError(
                f"A scale of shape {values.shape} needs the axis that it runs along.",
                hint="Give axis=0 for convolution weights, or one number for a whole tensor.",
            )
        return values.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)
