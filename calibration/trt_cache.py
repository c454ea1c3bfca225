"""TensorRT's calibration caches, which TensorRT 7 to 10 wrote and TensorRT 11 no longer knows: a way in and a way out.

A cache is text: a header such as ``TRT-8601-EntropyCalibration2``, then a line ``name: 3c010a14`` for each tensor, the
eight hexadecimal digits of a float32, big end first: the scale, which is amax / 127. Names are TensorRT's: those of the
ONNX tensors, and inventions for what it fused or left unnamed.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trtkit.artifacts.calibration_table import CalibrationTable, TensorRange
from trtkit.artifacts.files import write_bytes
from trtkit.errors import CalibrationError, UsageError

__all__ = [
    "DEFAULT_HEADER",
    "CacheMatch",
    "TrtCache",
    "check_header",
    "header_for",
    "match",
    "read_cache",
    "write_cache",
]

DEFAULT_HEADER = "TRT-8601-EntropyCalibration2"
"""Of a cache that TensorRT 8.6's entropy calibrator accepts."""

_HEADER = re.compile(r"^TRT-(?P<version>\d{4,6}|\dX{2,3})-(?P<algorithm>\w+)$")
_HEX = re.compile(r"^[0-9a-fA-F]{8}$")
# What TensorRT calls its own tensors: unnamed layers, fusions ("a + b", "a || b"), copies, pointwise kernels, Myelin.
_INVENTED = re.compile(
    r"^\(Unnamed Layer\* ?\d+\)| \+ | \|\| |^PWN\(|^\{ForeignNode\[|^(?:ONNXTRT_|OC2_DUMMY_|__myl|fused_)|"
    r"_(?:clone|copy)(?:_\d+)?$|^Reformatting |\(Output\)$"
)
_LEVELS = 127.0


@dataclass(frozen=True)
class TrtCache:
    """A calibration cache.

    Attributes:
        header: the first line, without its end.
        version: of the TensorRT that wrote it, such as ``8.6.1`` or ``10.3.0``; ``8.x`` where a tool wrote ``8XXX``.
        algorithm: ``EntropyCalibration2``, ``MinMaxCalibration``, ``EntropyCalibration``, ``LegacyCalibration``.
        scales: tensor → scale (amax / 127), float32 values, all finite and positive, in the file's order.
        zero: tensors with the scale 0: they were always zero.
    """

    header: str
    version: str
    algorithm: str
    scales: dict[str, float]
    zero: tuple[str, ...] = ()


@dataclass(frozen=True)
class CacheMatch:
    """A cache held against the tensors that a model needs.

    Attributes:
        matched: wanted tensor → scale.
        missing: wanted tensors that the cache does not have.
        zero: wanted tensors whose scale is 0.
        fused: names in the cache that TensorRT invented.
        unused: names in the cache that are the model's, but of tensors that get no Q/DQ.
        unmatched: names in the cache that are neither; many of them mean another model.
    """

    matched: dict[str, float]
    missing: tuple[str, ...] = ()
    zero: tuple[str, ...] = ()
    fused: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    ranges: dict[str, TensorRange] = field(init=False)
    """Wanted tensor → range, for a calibration table; those with scale 0 included."""

    def to_json(self) -> dict[str, Any]:
        """What matched and what did not, by name, for the report."""
        names = ("missing", "zero", "fused", "unused", "unmatched")
        return {"matched": list(self.matched), **{name: list(getattr(self, name)) for name in names}}

    def __post_init__(self) -> None:
        ranges = {name: TensorRange(scale * _LEVELS, "trt-cache") for name, scale in self.matched.items()}
        ranges |= {name: TensorRange(0.0, "trt-cache") for name in self.zero}
        object.__setattr__(self, "ranges", ranges)


def read_cache(path: Path) -> TrtCache:
    """Read a cache.

    Raises:
        CalibrationError: the file cannot be read, has another header, or a line in it is damaged (its number is named).
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(
            f"The calibration cache {path} cannot be read: {getattr(error, 'strerror', None) or error}.",
            hint="Give the text file that TensorRT wrote.",
        ) from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    header = _HEADER.match(lines[0].strip())
    if header is None:
        raise CalibrationError(
            f"{path} is no TensorRT calibration cache: its first line is {lines[0][:60]!r}, "
            f"and should look like {DEFAULT_HEADER}.",
            hint="Give the file that the calibrator's write_calibration_cache wrote.",
        )
    found: dict[str, float] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        name, scale = _entry(path, number, line)
        if found.setdefault(name, scale) != scale:
            raise _bad_line(path, number, f"{name!r} stands there a second time with another scale")
    return TrtCache(
        header=header[0],
        version=_version(header["version"]),
        algorithm=header["algorithm"],
        scales={name: scale for name, scale in found.items() if scale > 0},
        zero=tuple(name for name, scale in found.items() if scale == 0),
    )


def write_cache(table: CalibrationTable, path: Path, *, header: str = DEFAULT_HEADER) -> None:
    """Write a table as a cache, atomically.

    TensorRT wants the header to name its own version (TensorRT 10 refuses a cache of 8.6) and the calibrator's class.

    Raises:
        UsageError: the table is not for int8, the header is malformed, or a tensor's name cannot stand on one line.
        CalibrationError: an amax is not a finite number, or its scale does not fit a float32.
    """
    if table.dtype != "int8":
        raise UsageError(
            f"TensorRT's calibration caches hold int8 scales, and this table is for {table.dtype}.",
            hint="Calibrate with --precision int8.",
        )
    check_header(header)
    lines = [header]
    for name, amax in table.amax.items():
        if not name or name != name.strip() or "\n" in name or "\r" in name:
            raise UsageError(
                f"The tensor name {name!r} cannot stand in a calibration cache.", hint="Rename the tensor."
            )
        with np.errstate(over="ignore"):
            scale = float(np.float32(amax / _LEVELS))
        if not (math.isfinite(scale) and scale >= 0):
            raise CalibrationError(
                f"The tensor {name!r} has the amax {amax!r}, which gives no float32 scale.", hint="Calibrate again."
            )
        lines.append(f"{name}: {struct.pack('>f', scale).hex()}")
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def header_for(table: CalibrationTable) -> str:
    """The header of a cache that is written from a table: its own cache's, or TensorRT 8.6 and the closest calibrator.

    ``minmax`` is what TensorRT's MinMaxCalibrator does; of the other methods it has only entropy.
    """
    kept = table.data.get("header")
    if isinstance(kept, str) and _HEADER.match(kept):
        return kept
    return "TRT-8601-MinMaxCalibration" if table.method == "minmax" else DEFAULT_HEADER


def check_header(header: str) -> None:
    """Refuse what TensorRT would not take for a header.

    Raises:
        UsageError: it is not of the form ``TRT-8601-EntropyCalibration2``.
    """
    if _HEADER.match(header) is None:
        raise UsageError(
            f"{header!r} is no header of a calibration cache: it is TRT, the version's digits and the calibrator.",
            hint=f"Write it like {DEFAULT_HEADER}, TRT-8601-MinMaxCalibration, or TRT-100300-EntropyCalibration2.",
        )


def match(cache: TrtCache, wanted: Sequence[str], known: Collection[str] = ()) -> CacheMatch:
    """Hold a cache against a model; names must be equal, since a guess would quantize with a stranger's scale.

    Args:
        cache: what was read.
        wanted: the tensors that get Q/DQ, in the graph's order.
        known: all tensor names of the model.
    """
    zero = frozenset(cache.zero)
    rest = [name for name in (*cache.scales, *cache.zero) if name not in set(wanted)]
    model_names = frozenset(known)
    foreign = [name for name in rest if name not in model_names]
    return CacheMatch(
        matched={name: cache.scales[name] for name in wanted if name in cache.scales},
        missing=tuple(name for name in wanted if name not in cache.scales and name not in zero),
        zero=tuple(name for name in wanted if name in zero),
        fused=tuple(name for name in foreign if _INVENTED.search(name)),
        unused=tuple(name for name in rest if name in model_names),
        unmatched=tuple(name for name in foreign if not _INVENTED.search(name)),
    )


def _entry(path: Path, number: int, line: str) -> tuple[str, float]:
    name, colon, text = line.rpartition(":")  # names may hold colons and spaces themselves
    name, text = name.strip(), text.strip()
    if not colon or not name:
        raise _bad_line(path, number, f"{line[:60]!r} is not of the form 'name: hexadecimal scale'")
    if text == "0":
        return name, 0.0
    if not _HEX.match(text):
        raise _bad_line(path, number, f"the scale of {name!r} is {text[:20]!r}, not eight hexadecimal digits")
    (scale,) = struct.unpack(">f", bytes.fromhex(text))
    if not (math.isfinite(scale) and scale >= 0):
        raise _bad_line(path, number, f"the scale of {name!r} is {scale}")
    return name, abs(float(scale))


def _bad_line(path: Path, number: int, why: str) -> CalibrationError:
    return CalibrationError(
        f"{path}, line {number}: {why}.", hint="The file was cut short or changed: take a whole copy of it."
    )


def _version(digits: str) -> str:
    """``8601`` → ``8.6.1``; from TensorRT 10 on, ``100300`` → ``10.3.0``; ``8XXX`` → ``8.x``."""
    if "X" in digits:
        return f"{digits[0]}.x"
    number = int(digits)
    if number >= 100_000:
        return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
    return f"{number // 1000}.{number // 100 % 10}.{number % 100}"
