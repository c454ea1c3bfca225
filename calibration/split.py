"""Calibration and held-out samples: disjoint by content, so that no threshold is judged on what it was tuned on.

Samples of equal content (SHA-256 of the file's bytes, or of the array's values) always land on one side. Which side is
decided by the content and the seed alone, not by order or name. Near duplicates, such as the same photograph saved
twice with different settings, have different hashes and are not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from trtkit.errors import CalibrationError, UsageError

__all__ = ["check_disjoint", "split"]


def split(content_ids: Sequence[str], holdout: float, seed: int = 0) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(calibration indices, held-out indices), both increasing, together all samples.

    Args:
        content_ids: one hash a sample.
        holdout: below 1 the share of held-out samples, from 1 on their number. Where duplicates make it impossible to
            meet it exactly, fewer are held out, but at least one group of equal samples. 0 holds nothing out.
        seed: another seed gives another division.

    Raises:
        UsageError: ``holdout`` is negative, not a number, or above 1 and not whole.
        CalibrationError: one side would be empty.
    """
    count = len(content_ids)
    if not holdout >= 0 or (holdout >= 1 and holdout % 1 != 0):
        raise UsageError(
            f"holdout is {holdout}: give a share from 0 to below 1, or a whole number of samples.",
            hint="Write for example --holdout 0.25, or --holdout 256.",
        )
    if holdout == 0:
        return tuple(range(count)), ()
    groups: dict[str, list[int]] = {}
    for index, content in enumerate(content_ids):
        groups.setdefault(content, []).append(index)
    wanted = max(1, round(holdout * count)) if holdout < 1 else int(holdout)
    if wanted >= count or len(groups) < 2:
        equal = "" if len(groups) == count else f" ({len(groups)} different)"
        raise CalibrationError(
            f"There {'is' if count == 1 else 'are'} {count} sample{'' if count == 1 else 's'}{equal}: with {wanted} of "
            "them held out, nothing is left to calibrate with.",
            hint="Give more data, or hold out fewer with --holdout (0 for none, and then nothing is compared).",
        )
    ranked = sorted(groups, key=lambda content: hashlib.sha256(f"{seed}/{content}".encode()).digest())
    held_out: list[int] = []
    for content in ranked[:-1]:
        if len(held_out) + len(groups[content]) <= wanted:
            held_out += groups[content]
    if not held_out:
        # Every group is larger than what was asked for: the smallest one is the closest.
        held_out = groups[min(ranked, key=lambda content: len(groups[content]))]
    chosen = set(held_out)
    return tuple(index for index in range(count) if index not in chosen), tuple(sorted(chosen))


def check_disjoint(calibration: Sequence[str], held_out: Sequence[str], names: Sequence[str] | None = None) -> None:
    """Refuse held-out data that calibration has seen, for two data sets that were given separately.

    Args:
        calibration: content hashes of the calibration samples.
        held_out: content hashes of the held-out samples.
        names: readable names of the held-out samples, in the same order.

    Raises:
        CalibrationError: they share content.
    """
    seen = set(calibration)
    shared = [index for index, content in enumerate(held_out) if content in seen]
    if shared:
        first = names[shared[0]] if names else f"sample {shared[0]}"
        raise CalibrationError(
            f"{len(shared)} of {len(held_out)} held-out samples were also used for calibration; the first is {first}.",
            hint="Take them out of one of the two sets: accuracy on samples seen before says nothing.",
        )
