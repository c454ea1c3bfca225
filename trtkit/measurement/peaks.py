"""Theoretical peaks of GPUs by name and precision, from ``peaks.json``; a GPU that is not in it has none.

Every entry names its source. Figures are dense (no 2:4 sparsity) and at the boost clock; two operations count for one
multiply-accumulate. TF32 has FP32's peak on GPUs that do not know it.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from importlib import resources

__all__ = ["PeakFacts", "lookup", "peak_of", "table"]

_UNLIKE = re.compile(r"\b(laptop|mobile|max q|mig|vgpu|grid|\d+[qcab])\b", re.IGNORECASE)
_PRECISION = re.compile(r"fp32|tf32|fp16|fp8|int8")


@dataclass(frozen=True)
class PeakFacts:
    """What a kind of GPU can do at most.

    Attributes:
        name: of the product.
        pattern: regular expression for the driver's name, brand words taken off.
        memory_bytes_per_s: bandwidth of its memory.
        ops_per_s: precision → dense operations per second.
        source: where the figures are from.
    """

    name: str
    pattern: str
    memory_bytes_per_s: int
    ops_per_s: dict[str, int]
    source: str

    def of(self, precision: str) -> int | None:
        """Operations per second of the fastest precision that is named: a peak must not be below what is possible.

        Args:
            precision: asked or observed, ``fp16`` or ``fp16 + fp32``.
        """
        named = _PRECISION.findall(precision)
        known = {"tf32": self.ops_per_s.get("fp32"), **self.ops_per_s}
        rates = [known.get(name) for name in named]
        if not rates or None in rates:
            return None
        return max(rate for rate in rates if rate is not None)


@functools.cache
def table() -> tuple[PeakFacts, ...]:
    """All that is known."""
    text = resources.files("trtkit.measurement").joinpath("peaks.json").read_text(encoding="utf-8")
    return tuple(PeakFacts(**entry) for entry in json.loads(text))


def lookup(device: str) -> PeakFacts | None:
    """The entry for a device by the name that CUDA and NVML give it, such as ``NVIDIA H100 80GB HBM3``.

    ``None`` for all that is unknown, and for what only sounds alike: laptop variants, MIG slices, virtual GPUs.
    """
    words = re.sub(r"[\s\-_]+", " ", device).strip()
    if _UNLIKE.search(words):
        return None
    words = re.sub(r"^(NVIDIA )?((Tesla|Quadro|GeForce) )?", "", words, flags=re.IGNORECASE)
    return next((entry for entry in table() if re.fullmatch(entry.pattern, words, re.IGNORECASE)), None)


def peak_of(device: str, precision: str) -> tuple[float, str] | None:
    """Operations per second and their source for a device and a precision; ``None`` if it is not known."""
    entry = lookup(device)
    rate = entry.of(precision) if entry is not None else None
    return (float(rate), entry.source) if entry is not None and rate is not None else None
