"""Which two runs may be compared: what they must have in common, and what they are called together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from trtkit.artifacts.bench import Subject
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.finding import Verdict

__all__ = ["Key", "Run", "key_of", "key_text", "shown", "unlike"]

Key = tuple[str, str, int, str, str]
"""Model, precision asked, batch, mode, and the device where a set has several."""


class Run(Protocol):
    """A benchmark with its samples, or summed up."""

    @property
    def subject(self) -> Subject:
        """What was measured."""

    @property
    def settings(self) -> BenchSettings:
        """How."""

    @property
    def verdict(self) -> Verdict:
        """Whether it may be quoted."""


OBSERVED = "the precision observed"
_MUST_AGREE: tuple[tuple[str, Callable[[Run], Any]], ...] = (
    ("the model's SHA-256", lambda r: r.subject.model_sha256),
    (OBSERVED, lambda r: r.subject.observed),
    ("the input's data type", lambda r: r.settings.input_dtype),
    ("the input shapes", lambda r: {name: list(shape) for name, shape in r.settings.shapes.items()}),
    ("the kind of data", lambda r: r.settings.data),
    ("the use of CUDA graphs", lambda r: r.settings.graph if r.settings.mode in ("transfers", "overlapped") else None),
    ("the iterations in flight", lambda r: r.settings.depth if r.settings.mode == "overlapped" else None),
    ("spin waiting", lambda r: r.settings.spin),
)


def key_of(run: Run, device: str = "") -> Key:
    """What two runs of two sets must share to belong together."""
    return run.subject.model, run.subject.precision, run.settings.batch, run.settings.mode, device


def key_text(key: Key) -> str:
    """A key for people."""
    model, precision, batch, mode, device = key
    return f"{model} {precision.upper()}, batch {batch:,}, {mode}{f', {device}' if device else ''}"


def unlike(
    first: Run, second: Run, *, unknown_agrees: bool = False, called: tuple[str, str] = ("The first", "The second")
) -> tuple[str, ...]:
    """Why two runs of one key must not be compared, sentences; empty if they may.

    Args:
        first, second: the runs.
        unknown_agrees: whether a precision that only one side could observe is let through: not every family tells it.
        called: the two, at the beginning of a sentence.
    """
    reasons = []
    for name, of in _MUST_AGREE:
        before, after = of(first), of(second)
        if unknown_agrees and name == OBSERVED and None in (before, after):
            continue
        if before != after:
            reasons.append(f"{name[0].upper()}{name[1:]} differs: {shown(before)} and {shown(after)}.")
    for name, run in zip(called, (first, second), strict=True):
        if not run.verdict.valid:
            found = ", ".join(finding.id for finding in run.verdict.reasons)
            reasons.append(f"{name} is INVALID: {found}.")
    return tuple(reasons)


def shown(value: Any) -> str:
    """A value for people; of a hash its beginning."""
    text = "unknown" if value is None else str(value)
    return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text
