"""What stands in for ranks that are not there: a meeting of one, and a rank that is gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

from trtkit.ranks.clock import Drift
from trtkit.ranks.pulse import Pulse

__all__ = ["Alone", "Lost"]


@dataclass(frozen=True)
class Lost:
    """Stands in an exchange for a rank that is gone.

    Attributes:
        rank: which.
        why: what was seen, such as ``silent for 4 s``.
    """

    rank: int
    why: str


class Alone:
    """A meeting of one; what :class:`Meeting` is to several ranks."""

    rank = 0
    size = 1
    offset_s = 0.0
    offset_error_s = 0.0

    trouble: str | None = None
    lost = False
    leaderless = False
    left_because: Set[str] = frozenset()

    def __init__(self) -> None:
        self.pulse = Pulse()

    def exchange(self, value: Any, *, timeout_s: float, to_all: bool = True) -> list[Any]:
        """``[value]``."""
        return [value]

    def consult(self, value: Any, decide: Callable[[list[Any]], Sequence[Any]], *, timeout_s: float) -> Any:
        """``decide([value])[0]``."""
        return decide([value])[0]

    def drift(self) -> Drift:
        """None: there is one clock."""
        return Drift(0.0)

    def warn(self, why: str) -> None:
        """See :meth:`Meeting.warn`."""
        self.trouble = self.trouble or why

    def farewell(self, why: str, value: Any = None) -> None:
        """Nobody to tell."""

    def farewells(self, wait_s: float) -> tuple[dict[int, Any], set[int]]:
        """Of nobody."""
        return {}, set()

    def close(self) -> None:
        """Nothing to leave."""

    def abort(self, code: int) -> None:
        """Nothing to end but the caller itself, which does."""
