"""Doubt as data: what makes a measurement invalid, and what a reader of a valid one should know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Finding", "Verdict"]


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed about a measurement.

    Attributes:
        id: stable name for programs, such as ``throttled``, ``above-peak``, ``unstable``, ``enqueue-bound``.
        text: what was seen, with its numbers and units, a sentence.
        next_step: what to do about it, one sentence in the imperative.
        values: the numbers behind the text, names ending in their units.
    """

    id: str
    text: str
    next_step: str
    values: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Finding:
        """The inverse of :meth:`to_json`."""
        return cls(**value)


@dataclass(frozen=True)
class Verdict:
    """Whether a measurement may be quoted.

    Attributes:
        reasons: why it is INVALID; empty for a valid one.
        notes: what does not invalidate it.
    """

    reasons: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values, ``valid`` among them for readers that are not Python."""
        return {
            "valid": self.valid,
            "reasons": [finding.to_json() for finding in self.reasons],
            "notes": [finding.to_json() for finding in self.notes],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Verdict:
        """The inverse of :meth:`to_json`."""
        return cls(
            tuple(Finding.from_json(finding) for finding in value["reasons"]),
            tuple(Finding.from_json(finding) for finding in value["notes"]),
        )
