"""Seeded weights: the same bytes for the same seed on any machine and with any NumPy version.

Each tensor has its own stream, chosen by SHA-256 of (seed, model, tensor), so that neither order nor other tensors
matter. Only the raw 64-bit words of PCG64 are used, whose algorithm is fixed (O'Neill 2014, PCG XSL RR 128/64), and one
float32 multiplication a value. NumPy's normal() and uniform() are not used: their streams may change between versions.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Parameter", "he_half_width", "seeded_values"]

_CHUNK_WORDS = 1 << 17
"""Words drawn at once: 1 MiB, so that drawing and converting stay in the processor's cache."""


@dataclass(frozen=True)
class Parameter:
    """A weight tensor that the graph needs.

    Attributes:
        name: the initializer's name.
        shape: its dimensions.
        center, half_width: the seeded values are uniform in ``center ± half_width``; width 0 makes a constant.
        trained: False for BatchNorm's running mean and variance, which count as no parameters.
    """

    name: str
    shape: tuple[int, ...]
    center: float = 0.0
    half_width: float = 0.0
    trained: bool = True

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def he_half_width(fan_in: int, input_std: float = 1.0) -> float:
    """Half-width of the uniform distribution of variance 2 / fan_in, for inputs of standard deviation ``input_std``.

    He et al., "Delving Deep into Rectifiers", arXiv:1502.01852, equation 10; a uniform in ±w has the variance w²/3.
    """
    return math.sqrt(6.0 / fan_in) / input_std


def seeded_values(parameter: Parameter, *, model: str, seed: int) -> np.ndarray:
    """The parameter's seeded values, float32, of its shape."""
    values = np.full(parameter.size, parameter.center, np.float32)
    if parameter.half_width:
        words = _stream(f"{seed}\n{model}\n{parameter.name}")
        scale = np.float32(parameter.half_width / 2**23)
        for start in range(0, parameter.size, 2 * _CHUNK_WORDS):
            part = values[start : start + 2 * _CHUNK_WORDS]
            raw = words.random_raw((part.size + 1) // 2).astype("<u8", copy=False).view("<i4")[: part.size]
            # 24 signed bits and a half: exact in float32, never zero, symmetric about zero.
            part += ((raw >> 8).astype(np.float32) + np.float32(0.5)) * scale
    return values.reshape(parameter.shape)


def _stream(key: str) -> np.random.PCG64:
    digest = hashlib.sha256(key.encode()).digest()
    words = np.random.PCG64(0)
    words.state = {
        "bit_generator": "PCG64",
        "state": {"state": int.from_bytes(digest[:16], "little"), "inc": int.from_bytes(digest[16:], "little") | 1},
        "has_uint32": 0,
        "uinteger": 0,
    }
    return words
