"""The magnitudes that an 8-bit format can represent, relative to its largest, and how far a histogram is from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trtkit.errors import UsageError

__all__ = ["levels", "migacz_groups"]

_INT8_LEVELS = 127
_FP8_SUBNORMAL, _FP8_LARGEST = 2.0**-9, 448.0


def levels(dtype: str) -> npt.NDArray[np.float64]:
    """Representable magnitudes divided by the largest, ascending from 0 to 1.

    ``int8``: k / 127 for k = 0…127 (symmetric; −128 is left aside). ``fp8``: E4M3 as in ONNX's FLOAT8E4M3FN, without
    infinities, up to 448 ("FP8 Formats for Deep Learning", Micikevicius et al. 2022, arXiv:2209.05433).

    Raises:
        UsageError: another type.
    """
    if dtype == "int8":
        return np.arange(_INT8_LEVELS + 1) / _INT8_LEVELS
    if dtype == "fp8":
        subnormal = np.arange(8) * _FP8_SUBNORMAL
        normal = np.outer(2.0 ** np.arange(-6, 9), 1 + np.arange(8) / 8).ravel()
        return np.concatenate([subnormal, normal[normal <= _FP8_LARGEST]]) / _FP8_LARGEST
    raise UsageError(f"{dtype!r} is no 8-bit type; allowed are int8 and fp8.", hint="Give int8 or fp8.")


def migacz_groups(dtype: str) -> npt.NDArray[np.float64]:
    """Boundaries, from 0 to 1, of the ranges that count as one level when distributions are compared.

    ``int8``: 128 equal ranges, as in Migacz's talk. ``fp8``: the values that round to one level, so midway between two.
    """
    if dtype == "int8":
        return np.arange(_INT8_LEVELS + 2) / (_INT8_LEVELS + 1)
    magnitudes = levels(dtype)
    return np.concatenate([[0.0], (magnitudes[1:] + magnitudes[:-1]) / 2, [1.0]])
