"""What crosses the process boundary: one JSON object a line, on the worker's standard input and output.

Parent → worker: one request ``{"function": "package.module:name", "arguments": {...}}``, then what the job asks for by
``receive`` (most ask nothing); the end of the stream means that the parent is gone. Worker → parent: ``progress``,
``log`` and ``message`` events, then exactly one ``result``, ``error`` (one of trtkit's) or ``crash`` (a bug, with its
traceback). Arrays and plans go through files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Log", "Message", "Progress", "Reporter", "decode", "encode"]


@dataclass(frozen=True)
class Progress:
    """One step of a phase is done.

    Attributes:
        phase: what is being done, for people (``Building engine``, ``Graph optimizations``).
        step: steps done in this phase so far.
        steps: steps in all; ``None`` where the vendor does not say. ``step == steps`` ends the phase.
        parent: the phase that this one is part of; ``None`` at the top.
    """

    phase: str
    step: int
    steps: int | None
    parent: str | None = None


@dataclass(frozen=True)
class Log:
    """One line of a vendor's log.

    Attributes:
        severity: ``error``, ``warning``, ``info`` or ``verbose``.
        text: the line, as the vendor wrote it.
    """

    severity: str
    text: str


@dataclass(frozen=True)
class Message:
    """Something that a job says in a conversation with its parent; what it means is between the two.

    Attributes:
        kind: such as ``ready``.
        values: JSON-ready.
        received_monotonic_s: ``time.monotonic()`` when the parent read it.
    """

    kind: str
    values: dict[str, Any]
    received_monotonic_s: float


class Reporter(Protocol):
    """What a job in the worker may say before it returns."""

    def progress(self, phase: str, step: int, steps: int | None, parent: str | None = None) -> None:
        """Report a step; see :class:`Progress`."""

    def log(self, severity: str, text: str) -> None:
        """Pass on a vendor's log line; see :class:`Log`."""

    def message(self, kind: str, **values: Any) -> None:
        """Say something to the parent in the middle of the job; see :class:`Message`."""

    def receive(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """What the parent sends next; waits for it, ``None`` when nothing comes within the time."""


def encode(message: dict[str, Any]) -> bytes:
    """One message as one line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The inverse of :func:`encode`.

    Raises:
        ValueError: the line is not a JSON object.
    """
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError(f"a message is a JSON object, not {type(message).__name__}")
    return message
