"""Which rewrites a graph is fastest with: one is added or left out at a time, and what was refused is tried again.

A gain depends on what else was done (LRN as a band gains more once the stem is fixed), so after every step all other
steps are tried anew. The search knows no graph and no clock: a :class:`Ground` does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trtkit.measurement.contest import Contest

__all__ = ["Found", "Ground", "Names", "TimeUpError", "search"]

Names = tuple[str, ...]
"""A set of rewrites, in the order in which they are applied."""

_UNMEASURED = ("fold_constants", "remove_identity", "remove_dead")
"""Only ever less work: they are applied and not measured."""


class TimeUpError(Exception):
    """No time is left for another measurement."""


class Ground(Protocol):
    """Where the contests take place."""

    @property
    def width(self) -> int:
        """How many sets it prepares at a time; 1 where each is made when it is needed."""

    def prepare(self, sets: Sequence[Names], against: Names | None = None) -> None:
        """Make ready for contests what can be made at the same time; nothing is measured meanwhile.

        Args:
            sets: what is wanted next.
            against: whom each of them will meet; those are left out of whom the outcome is known.
        """

    def key(self, names: Names) -> str:
        """What tells the rewritten graph from others: equal keys, equal graphs."""

    def contest(self, first: Names, second: Names) -> Contest | str:
        """How much faster the graph is with the second set than with the first; or why that cannot be told, a sentence.

        Raises:
            TimeUpError: it would have to be measured, and no time is left.
        """


@dataclass(frozen=True)
class Found:
    """What the search came to.

    Attributes:
        names: the fastest set.
        gains: rewrite → what it gained, all others of the set applied; of those that were measured.
        refused: rewrite → the contest that it lost, or why it could not be measured.
        total: against the model without rewrites; ``None`` where that was not measured.
        finished: whether every step was tried; otherwise the time was up.
    """

    names: Names
    gains: dict[str, Contest] = field(default_factory=dict)
    refused: dict[str, Contest | str] = field(default_factory=dict)
    total: Contest | None = None
    finished: bool = True


def search(
    ground: Ground, start: Names, candidates: Sequence[str], tell: Callable[[str], None] = lambda text: None
) -> Found:
    """Climb from ``start`` to a set that no single step makes faster.

    Args:
        ground: measures.
        start: the set to begin with.
        candidates: every rewrite that may be used, in the order of application.
        tell: is told of every step, a clause.
    """
    now = tuple(name for name in candidates if name in start)
    finished = True
    try:
        while (step := _better(ground, now, candidates, tell)) is not None:
            now = step
    except TimeUpError:
        finished = False
    return _told(ground, now, candidates, finished)


def _better(ground: Ground, now: Names, candidates: Sequence[str], tell: Callable[[str], None]) -> Names | None:
    """The first neighbour that is faster; ``None`` where there is none."""
    steps = _neighbours(ground, now, candidates)
    while chunk := list(itertools.islice(steps, ground.width)):  # no more: an early winner makes the others useless
        ground.prepare([other for _, other in chunk], against=now)
        for what, other in chunk:
            tell(what)
            found = ground.contest(now, other)
            if isinstance(found, Contest) and found.faster:
                return other
    return None


def _neighbours(ground: Ground, now: Names, candidates: Sequence[str]) -> Iterator[tuple[str, Names]]:
    """Sets that differ by one rewrite and give another graph; an alternative that has no place takes one over."""
    here = ground.key(now)

    def ordered(names: set[str]) -> Names:
        return tuple(name for name in candidates if name in names)

    for name in candidates:
        if name in now or name in _UNMEASURED:
            continue
        other = ordered({*now, name})
        if ground.key(other) != here:
            yield f"with {name}", other
            continue
        for taken in now:
            fewer = set(now) - {taken}
            other = ordered({*fewer, name})
            if ground.key(ordered(fewer)) not in (here, ground.key(other)):
                yield f"{name} instead of {taken}", other
    for name in now:
        other = ordered(set(now) - {name})
        if name not in _UNMEASURED and ground.key(other) != here:
            yield f"without {name}", other


def _told(ground: Ground, now: Names, candidates: Sequence[str], finished: bool) -> Found:
    """Everything that was measured around the set that was chosen; nothing new is measured but the total."""
    found = Found(now, finished=finished)

    def known(first: Names, second: Names) -> Contest | str | None:
        try:
            return ground.contest(first, second)
        except TimeUpError:
            return None

    for what, other in _neighbours(ground, now, candidates):
        (name,) = set(now) - set(other) if what.startswith("without") else set(other) - set(now)
        result = known(other, now) if name in now else known(now, other)
        if name in now and isinstance(result, Contest):
            found.gains[name] = result
        elif name not in now and result is not None:
            found.refused[name] = result
    total = known((), now) if ground.key(()) != ground.key(now) else None
    return Found(now, found.gains, found.refused, total if isinstance(total, Contest) else None, finished)
