"""Numbers as a page shows them: as many digits as mean something, with their units."""

from __future__ import annotations

import math

__all__ = ["decibels", "images", "milliseconds", "percent", "significant", "times"]

_UNKNOWN = "–"


def significant(value: float | None, digits: int = 3) -> str:
    """``1446.2`` → ``1,446``, ``63.27`` → ``63.3``, ``0.0412`` → ``0.0412``; never an exponent below a billion.

    Whole digits are never rounded away: a benchmark of 16,292 images/s is not 16,300.
    """
    if value is None or not math.isfinite(value):
        return _UNKNOWN
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(places, 0)}f}"


def images(value: float | None) -> str:
    """Images per second, without its unit."""
    return significant(value)


def milliseconds(value: float | None) -> str:
    """A latency in ms, without its unit."""
    return significant(value)


def percent(share: float | None) -> str:
    """``0.4312`` → ``43 %``, ``0.0431`` → ``4.3 %``."""
    return _UNKNOWN if share is None else f"{significant(share * 100, 2)} %"


def times(ratio: float | None) -> str:
    """``2.894`` → ``2.89×``."""
    return _UNKNOWN if ratio is None else f"{significant(ratio)}×"


def decibels(value: float | None) -> str:
    """``39.314`` → ``39.3 dB``."""
    return _UNKNOWN if value is None else f"{value:.1f} dB"
