"""What ``trtkit bench`` reads out of its comma-separated options."""

from __future__ import annotations

import re

from trtkit.errors import UsageError

__all__ = ["batches_of", "processors_of", "share_of", "words"]

_SHARE = re.compile(r"^\s*(\d+(?:\.\d*)?|\.\d+)\s*%?\s*$", re.ASCII)


def words(text: str | None) -> tuple[str, ...]:
    """``a, B`` → ``("a", "b")``."""
    return tuple(part.strip().lower() for part in (text or "").split(",") if part.strip())


def batches_of(batch: str | None, sweep: str | None) -> tuple[bool, tuple[int, ...]]:
    """Whether the largest batch is looked for, and the batch sizes that were named.

    Raises:
        UsageError: neither numbers nor auto.
    """
    if sweep is not None and sweep.lower() != "auto":
        raise UsageError(f"--batch-sweep is auto, not {sweep!r}.", hint="Give a list of sizes with --batch.")
    if (batch or "").strip().lower() == "auto" or (sweep is not None and batch is None):
        return True, ()
    sizes = words(batch)
    if "auto" in sizes:
        rest = ",".join(size for size in sizes if size != "auto")
        both = f"Give --batch auto, then --batch {rest}: the results stay side by side. trtkit study takes both."
        raise UsageError(
            f"--batch {batch}: auto chooses the sizes itself, 1, 2, 4, … to the largest that runs.",
            hint=both if rest else "Write auto once.",
        )
    if batch is not None and (not sizes or not all(size.isascii() and size.isdigit() for size in sizes)):
        raise UsageError(f"--batch {batch} is neither a list of whole numbers nor auto.", hint="Write --batch 1,8,64.")
    return sweep is not None, tuple(int(size) for size in sizes)


def share_of(option: str, text: str | None) -> float:
    """``5%``, ``5`` → 0.05; nothing → 0.

    Raises:
        UsageError: it is no percentage from 0 to below 100.
    """
    match = _SHARE.match(text or "0")
    if match is None or float(match[1]) >= 100:
        raise UsageError(f"{option} {text} is no percentage from 0 to below 100.", hint=f"Write {option} 5%.")
    return float(match[1]) / 100


def processors_of(text: str | None) -> tuple[int, ...]:
    """``0,2-4`` → ``(0, 2, 3, 4)``.

    Raises:
        UsageError: it is no such list.
    """
    found: list[int] = []
    for word in words(text):
        low, dash, high = word.partition("-")
        if not low.isdigit() or (dash and not high.isdigit()) or (dash and int(high) < int(low)):
            raise UsageError(f"--affinity {text} is no list of processors.", hint="Write 0,1 or 0-3.")
        found += range(int(low), int(high or low) + 1)
    return tuple(dict.fromkeys(found))
