"""Numbers for people: every function returns text that carries its unit."""

from __future__ import annotations

import re

from trtkit.errors import UsageError

__all__ = ["bytes_text", "count_text", "parse_bytes", "seconds_text"]

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)\s*$", re.IGNORECASE)


def bytes_text(count: int | None) -> str:
    """``29079744`` → ``27.7 MiB``; ``None`` (unknown) → ``unknown``."""
    if count is None:
        return "unknown"
    value = float(count)
    for unit in _BINARY:
        if abs(value) < 1024 or unit == _BINARY[-1]:
            return f"{int(value)} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def count_text(count: int) -> str:
    """``60965224`` → ``60,965,224``."""
    return f"{count:,}"


def seconds_text(seconds: float | None) -> str:
    """``0.0421`` → ``42 ms``; ``3.21`` → ``3.2 s``; ``93`` → ``1 min 33 s``; ``None`` → ``unknown``."""
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def parse_bytes(text: str) -> int:
    """A size in bytes from ``512MiB``, ``4G``, ``1073741824``; K, M, G and T are powers of 1024.

    Raises:
        UsageError: the text is not a size, or it is zero.
    """
    match = _SIZE.match(text)
    if match is None or _bytes_of(match) == 0:
        raise UsageError(
            f"{text!r} is not a size: give a positive number with an optional unit K, M, G or T.",
            hint="Write for example 512MiB or 4G (powers of 1024).",
        )
    return _bytes_of(match)


def _bytes_of(match: re.Match[str]) -> int:
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))
