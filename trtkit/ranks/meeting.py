"""Ranks that work in step: exchange of values, one clock, and an end when one of them is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from trtkit.ranks import clock
from trtkit.ranks.alone import Lost
from trtkit.ranks.carrier import Carrier
from trtkit.ranks.link import Link
from trtkit.units import seconds_text

__all__ = ["PATIENCE_S", "Meeting"]

PATIENCE_S = 4.0
"""After this silence a rank counts as lost."""

_PINGS = 20
_GOODBYE_S = 10.0
_ANSWER_S = 0.5


class Meeting(Carrier):
    """Several ranks over a link; every rank calls the same methods in the same order.

    Attributes:
        offset_s: rank 0's monotonic clock minus this rank's, in seconds; 0 on rank 0's own machine.
        offset_error_s: bound of its error: half the fastest round trip.
        trouble: what went wrong first on any rank, as soon as this one hears of it; ``None`` while all is well.
        pulse: where this rank's main thread shows that it moves; the others learn if it does not.
    """

    def __init__(self, link: Link, *, patience_s: float = PATIENCE_S) -> None:
        super().__init__(link, patience_s)
        self.offset_s, self.offset_error_s = 0.0, 0.0
        self._pings: clock.Pings | None = None  # of the first estimate; none where rank 0's clock is this one
        self._round = 0
        self._farewell: str | None = None
        self._start()
        self._synchronize()

    @property
    def lost(self) -> bool:
        """Whether a rank is gone: a carrier that ends in step with all ranks (MPI) would then wait for ever."""
        return bool(self._lost)

    @property
    def left_because(self) -> set[str]:
        """Why ranks are gone, this one's own farewell among them."""
        return {*self._lost.values(), *([self._farewell] if self._farewell else [])}

    @property
    def leaderless(self) -> bool:
        """Whether this rank has lost rank 0, so that it has nobody to give its values to."""
        return self.rank != 0 and 0 in self._lost

    def exchange(self, value: Any, *, timeout_s: float, to_all: bool = True) -> list[Any]:
        """Every rank's JSON-ready value, by rank; :class:`Lost` in place of those that are gone or do not come in time.

        Serves as barrier, gather and broadcast alike. It returns when all that are not lost have called it. What all
        ranks learn of all grows with their square: :meth:`consult` does not. Without ``to_all`` only rank 0 learns the
        values, and the others get ``None`` for each.
        """

        def tell(values: list[Any]) -> list[Any]:
            if not to_all:
                return [None] * self.size
            entries = [{"lost": v.why} if isinstance(v, Lost) else {"value": v} for v in values]
            return [entries] * self.size

        values, answer = self._ask(value, tell, timeout_s)
        if values is not None:
            return values
        if isinstance(answer, Lost):
            return [Lost(rank, answer.why) if rank != self.rank else value for rank in range(self.size)]
        if answer is None:
            return [None] * self.size
        return [Lost(rank, entry["lost"]) if "lost" in entry else entry["value"] for rank, entry in enumerate(answer)]

    def consult(self, value: Any, decide: Callable[[list[Any]], Sequence[Any]], *, timeout_s: float) -> Any:
        """Rank 0 gets every rank's value and gives each its answer: bytes grow with the ranks, not with their square.

        Args:
            value: JSON-ready.
            decide: on rank 0, from values by rank (:class:`Lost` for those that are gone) to answers by rank,
                JSON-ready; it must not fail. The others never call it.
            timeout_s: as for :meth:`exchange`.

        Returns:
            This rank's answer; :class:`Lost` if rank 0 does not give it.
        """
        return self._ask(value, decide, timeout_s)[1]

    def _ask(
        self, value: Any, decide: Callable[[list[Any]], Sequence[Any]], timeout_s: float
    ) -> tuple[list[Any] | None, Any]:
        """Every value, on rank 0 alone, and this rank's answer."""
        number, self._round = self._round, self._round + 1
        until = time.monotonic() + timeout_s
        if self.rank != 0:
            self._post(0, {"kind": "put", "round": number, "value": value})
            # Rank 0 has the same deadline and answers after it, with what it has.
            found = self._wait(lambda: self._answers.pop(number, None), until + self._patience_s)
            if found is None:
                late = "it has left" if self._dismissed else f"rank 0 did not answer within {seconds_text(timeout_s)}"
                return None, Lost(0, self._lost.get(0, late))
            return None, found[0]
        with self._changed:
            self._given.setdefault(number, {})[0] = value
        self._wait(lambda: self._complete(number) or None, until)
        with self._changed:
            given = self._given.pop(number)
            for rank in range(self.size):
                if rank not in given:
                    self._lost.setdefault(rank, f"it did not come within {seconds_text(timeout_s)}")
        values = [given[rank] if rank in given else Lost(rank, self._lost[rank]) for rank in range(self.size)]
        answers = decide(values)
        for rank in range(1, self.size):
            if rank not in self._lost:
                self._post(rank, {"kind": "answer", "round": number, "value": answers[rank]})
        return values, answers[0]

    def warn(self, why: str) -> None:
        """Let every rank know at once, as :attr:`trouble`, that something went wrong here."""
        self._hear_of(why)
        if self.rank != 0:
            self._post(0, {"kind": "trouble", "why": why})

    def farewell(self, why: str, value: Any = None) -> None:
        """Leave before the others: they count this rank as lost, for this reason, and rank 0 gets a last value.

        A rank 0 that does not say that it heard counts as lost itself.
        """
        if self._farewell is not None:
            return
        self._farewell = why
        for rank in range(1, self.size) if self.rank == 0 else (0,):
            self._post(rank, {"kind": "gone", "why": why, "value": value})
        self._flush()
        if self.rank != 0 and self._wait(lambda: 0 in self._here or None, time.monotonic() + _ANSWER_S) is None:
            with self._changed:
                self._lost.setdefault(0, "it says nothing any more")

    def farewells(self, wait_s: float) -> tuple[dict[int, Any], set[int]]:
        """On rank 0, which is about to leave in a hurry: the others' last values, and who does not answer any more.

        A launcher that ends all ranks because one has died ends them a second after it told them.
        """
        for rank in range(1, self.size):
            self._post(rank, {"kind": "roll"})
        everybody = set(range(1, self.size))
        self._wait(lambda: everybody <= self._farewells.keys() | self._lost.keys() or None, time.monotonic() + wait_s)
        with self._changed:
            return dict(self._farewells), everybody - self._here - self._farewells.keys()

    def close(self) -> None:
        """Leave in good order; every rank does, rank 0 first.

        A launcher may end all ranks as soon as one has left with an error, and rank 0 is the one that speaks.
        """
        if self.rank == 0:
            for rank in range(1, self.size):
                self._post(rank, {"kind": "bye"})
        else:
            self._wait(lambda: self._dismissed or None, time.monotonic() + _GOODBYE_S)
        self._flush()
        self._leaving.set()
        self._pump.join(timeout=5)
        self._link.close()

    def abort(self, code: int) -> None:
        """End this process and, where the link can, all others; a rank that was stopped would keep them for ever."""
        self._flush()
        self._leaving.set()
        self._pump.join(timeout=2)
        self._link.abort(code)

    def _complete(self, number: int) -> bool:
        given = self._given[number]
        return all(rank in given or rank in self._lost for rank in range(self.size))

    def drift(self) -> clock.Drift:
        """How far rank 0's clock has moved against this one's since they met; every rank calls it, at the end.

        Nothing where they are one clock; unknown where rank 0 does not answer.
        """
        if self._pings is None:
            return clock.Drift(0.0, 0.0)
        return clock.drift(self._pings, self._ping())

    def _synchronize(self) -> None:
        """Estimate the difference of the clocks where they are not one."""
        mine = clock.identity()
        first = self.consult(mine, lambda values: [mine] * self.size, timeout_s=60)
        if first != mine and not isinstance(first, Lost):
            self._pings = self._ping()
            self.offset_s, self.offset_error_s = self._pings.offset_s, self._pings.error_s
        self.exchange(None, timeout_s=60, to_all=False)

    def _ping(self) -> clock.Pings:
        pings = clock.Pings()
        for _ in range(_PINGS):
            self._pong = None
            sent = time.monotonic()
            self._post(0, {"kind": "ping", "sent": sent})
            pong = self._wait(lambda: self._pong, sent + 2)
            if self.leaderless:
                break
            if pong is not None and pong["sent"] == sent:
                pings.add(sent, pong["clock"], pong["arrived"])
        return pings
