"""The names of the methods, as they stand on the command line and in a calibration table."""

from __future__ import annotations

from collections.abc import Callable

from calibration import entropy, minmax, mse, percentile
from calibration.histogram import Histogram
from trtkit.errors import UsageError

__all__ = ["ALL", "METHODS", "method", "methods_of"]

METHODS = ("minmax", "percentile", "entropy", "mse")
"""What can be computed from the statistics of one pass."""

ALL = ("minmax", "percentile:99.99", "entropy", "mse", "search")
"""What ``--method all`` tries."""

_DEFAULT_PERCENTILE = "99.99"


def method(name: str, dtype: str = "int8") -> Callable[[Histogram], float]:
    """The function from a tensor's histogram to its threshold (amax).

    Args:
        name: ``minmax``, ``percentile`` (of 99.99 %), ``percentile:99.9``, ``entropy`` or ``mse``.
        dtype: ``int8`` or ``fp8``.

    Raises:
        UsageError: there is no such method, or a percentage is not above 50 and at most 100.
    """
    base, colon, value = name.partition(":")
    if base not in METHODS or (colon and base != "percentile"):
        raise UsageError(
            f"{name!r} is no calibration method; there are {', '.join(METHODS)}, and percentile:99.9 and the like.",
            hint="Leave --method out to have the best one found.",
        )
    if base == "minmax":
        return minmax.threshold
    if base == "percentile":
        percent = _percent(name, value) if colon else percentile.DEFAULT_PERCENT
        return lambda histogram: percentile.threshold(histogram, percent)
    chosen = entropy.threshold if base == "entropy" else mse.threshold
    return lambda histogram: chosen(histogram, dtype)


def _percent(name: str, text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = float("nan")
    if not 50 < percent <= 100:
        raise UsageError(
            f"{name!r}: the percentage must be a number above 50 and at most 100.", hint="Write percentile:99.99."
        )
    return percent


def methods_of(text: str) -> tuple[str, ...]:
    """``--method`` as a list: a method, several with commas, or ``all``.

    Raises:
        UsageError: unknown method, or a percentile outside 50…100.
    """
    methods: list[str] = []
    for part in text.split(","):
        if part.strip() == "all":
            methods.extend(ALL)
            continue
        name, _, number = part.strip().partition(":")
        if name == "percentile":
            try:
                inside = 50 < float(number or _DEFAULT_PERCENTILE) <= 100
            except ValueError:
                inside = False
            if not inside:
                raise UsageError(
                    f"--method {part}: {number!r} is no percentile above 50 and up to 100.",
                    hint="Write for example percentile:99.99.",
                )
            methods.append(f"percentile:{number or _DEFAULT_PERCENTILE}")
        elif part.strip() in ("minmax", "entropy", "mse", "search"):
            methods.append(part.strip())
        else:
            raise UsageError(
                f"There is no calibration method {part.strip()!r}; allowed: minmax, percentile[:99.99], entropy, mse, "
                "search, all.",
                hint="Choose one of these, or several with commas.",
            )
    return tuple(dict.fromkeys(methods))
