"""How ranks send each other messages, whatever carries them; the two carriers are ``mpi`` and ``tcp``."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Link", "Packet"]

Packet = tuple[int, dict[str, Any]]
"""A sender's rank and a JSON-ready message."""


class Link(Protocol):
    """A star: every rank can write to rank 0 and be written to by it. Used by one thread at a time."""

    rank: int
    size: int

    def send(self, to: int, message: dict[str, Any]) -> None:
        """Send a JSON-ready message; to a rank that is gone it goes nowhere, without an error."""

    def receive(self, wait_s: float) -> Packet | None:
        """The next message; ``None`` if none comes within the time."""

    def closed(self) -> dict[int, str]:
        """Ranks whose connection is known to be gone, and how that was seen."""

    def close(self) -> None:
        """Leave in good order, when every rank does."""

    def abort(self, code: int) -> None:
        """End this process and, where the carrier can, all others, at once. May not return."""
