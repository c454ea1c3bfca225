"""Ranks that work in step: exchange of values, heartbeats, one clock, and an end when one of them is lost.

A thread of each rank carries the messages, so that a rank whose main thread converts a model or waits for a worker
still answers; a process that was stopped or killed does not, and is missed after :data:`PATIENCE_S`.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from trtkit.ranks import clock
from trtkit.ranks.alone import Lost
from trtkit.ranks.link import Link

__all__ = ["PATIENCE_S", "Meeting"]

PATIENCE_S = 4.0
"""After this silence a rank counts as lost."""

_BEAT_S = 0.5
_PINGS = 20
_GOODBYE_S = 10.0
_ANSWER_S = 0.5
_AWAKE_S, _ASLEEP_S = 0.002, 0.01  # how long the thread listens at a time: after a message, and after a silence
_DROWSY_S = 0.1


class Meeting:
    """Several ranks over a link; every rank calls the same methods in the same order.

    Attributes:
        offset_s: rank 0's monotonic clock minus this rank's, in seconds; 0 on rank 0's own machine.
        offset_error_s: bound of its error: half the fastest round trip.
        trouble: what went wrong first on any rank, as soon as this one hears of it; ``None`` while all is well.
    """

    def __init__(self, link: Link, *, patience_s: float = PATIENCE_S) -> None:
        self.rank, self.size = link.rank, link.size
        self.offset_s, self.offset_error_s = 0.0, 0.0
        self.trouble: str | None = None
        self._link = link
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._outbox: list[tuple[int, dict[str, Any]]] = []
        self._round = 0
        self._given: dict[int, dict[int, Any]] = {}  # round → rank → value, on rank 0
        self._gathered: dict[int, list[Any]] = {}  # round → values as rank 0 sent them
        self._pong: dict[str, Any] | None = None
        self._lost: dict[int, str] = {}
        self._dismissed = False
        self._left = False
        self._farewells: dict[int, Any] = {}  # rank → last value, on rank 0
        self._here: set[int] = set()
        # Rank 0 hears everybody, the others hear rank 0.
        self._heard = dict.fromkeys(range(1, self.size) if self.rank == 0 else (0,), time.monotonic())
        self._leaving = threading.Event()
        self._pump = threading.Thread(target=self._carry, name="ranks", daemon=True)
        self._pump.start()
        self._synchronize()

    @property
    def lost(self) -> bool:
        """Whether a rank is gone: a carrier that ends in step with all ranks (MPI) would then wait for ever."""
        return bool(self._lost)

    @property
    def leaderless(self) -> bool:
        """Whether this rank has lost rank 0, so that it has nobody to give its values to."""
        return self.rank != 0 and 0 in self._lost

    def exchange(self, value: Any, *, timeout_s: float, to_all: bool = True) -> list[Any]:
        """Every rank's JSON-ready value, by rank; :class:`Lost` in place of those that are gone or do not come in time.

        Serves as barrier, gather and broadcast alike. It returns when all that are not lost have called it. Without
        ``to_all`` only rank 0 learns the values (for large ones), and the others get ``None`` for each.
        """
        number, self._round = self._round, self._round + 1
        until = time.monotonic() + timeout_s
        if self.rank != 0:
            self._post(0, {"kind": "put", "round": number, "value": value})
            # Rank 0 has the same deadline and answers after it, with what it has.
            values = self._wait(lambda: self._gathered.pop(number, None), until + self._patience_s)
            if values is None:
                why = self._lost.get(0, f"rank 0 did not answer within {timeout_s:g} s")
                return [Lost(rank, why) if rank != self.rank else value for rank in range(self.size)]
            return [
                Lost(rank, entry["lost"]) if "lost" in entry else entry.get("value")
                for rank, entry in enumerate(values)
            ]
        with self._changed:
            self._given.setdefault(number, {})[0] = value
        self._wait(lambda: self._complete(number) or None, until)
        with self._changed:
            given = self._given.pop(number)
            for rank in range(self.size):
                if rank not in given:
                    self._lost.setdefault(rank, f"it did not come within {timeout_s:g} s")
            entries: list[dict[str, Any]] = [
                ({"value": given[rank]} if to_all else {}) if rank in given else {"lost": self._lost[rank]}
                for rank in range(self.size)
            ]
        for rank in range(1, self.size):
            if rank not in self._lost:
                self._post(rank, {"kind": "all", "round": number, "values": entries})
        return [given[rank] if rank in given else Lost(rank, self._lost[rank]) for rank in range(self.size)]

    def warn(self, why: str) -> None:
        """Let every rank know at once, as :attr:`trouble`, that something went wrong here."""
        self._hear_of(why)
        if self.rank != 0:
            self._post(0, {"kind": "trouble", "why": why})

    def farewell(self, why: str, value: Any = None) -> None:
        """Leave before the others: they count this rank as lost, for this reason, and rank 0 gets a last value.

        A rank 0 that does not say that it heard counts as lost itself.
        """
        if self._left:
            return
        self._left = True
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

    def _post(self, to: int, message: dict[str, Any]) -> None:
        with self._changed:
            self._outbox.append((to, message))

    def _flush(self) -> None:
        until = time.monotonic() + 2
        while self._outbox and self._pump.is_alive() and time.monotonic() < until:
            time.sleep(0.002)

    def _wait(self, ready: Any, until: float) -> Any:
        """What ``ready()`` gives once it is not ``None``; ``None`` at the deadline or when rank 0 is lost."""
        with self._changed:
            while (found := ready()) is None:
                left = until - time.monotonic()
                if left <= 0 or 0 in self._lost:
                    return None
                self._changed.wait(min(left, 0.2))
            return found

    def _carry(self) -> None:
        try:
            self._carry_on()
        except Exception as error:  # nothing can be heard any more, so nobody is there
            with self._changed:
                self._lost = dict.fromkeys(self._heard, f"the connection failed ({error})") | self._lost
                self._changed.notify_all()
            self._hear_of(f"rank {self.rank} cannot reach the others: {error}")

    def _carry_on(self) -> None:
        """The thread: send what is to be sent, take what comes, beat, and miss who is silent."""
        beaten = busy = 0.0
        while not self._leaving.is_set():
            with self._changed:
                outbox, self._outbox = self._outbox, []
            for to, message in outbox:
                self._link.send(to, message)
            # Listening costs processor time, which is the measurement's: seldom while nothing is going on.
            packet = self._link.receive(_AWAKE_S if time.monotonic() - busy < _DROWSY_S else _ASLEEP_S)
            now = time.monotonic()
            if outbox or (packet is not None and packet[1]["kind"] != "beat"):
                busy = now
            if packet is not None:
                self._take(*packet, now)
            if now - beaten > _BEAT_S:
                if beaten and now - beaten > self._patience_s / 2:
                    # This process itself was stopped or starved: the others' silence is its own.
                    self._heard = dict.fromkeys(self._heard, now)
                beaten = now
                for rank in self._heard:
                    if rank not in self._lost:
                        self._link.send(rank, {"kind": "beat"})
            self._miss(now)

    def _take(self, sender: int, message: dict[str, Any], now: float) -> None:
        self._heard[sender] = now
        kind = message["kind"]
        if kind == "ping":
            self._link.send(sender, {"kind": "pong", "sent": message["sent"], "clock": time.monotonic()})
            return
        if kind == "roll":
            self._link.send(sender, {"kind": "here"})
            return
        if kind == "trouble":
            self._hear_of(message["why"])
            return
        if kind == "gone":
            self._link.send(sender, {"kind": "here"})
            with self._changed:
                self._lost.setdefault(sender, message["why"])
                self._farewells[sender] = message["value"]
                self._changed.notify_all()
            self._hear_of(f"rank {sender} is lost: {message['why']}")
            return
        with self._changed:
            if kind == "put":
                self._given.setdefault(message["round"], {})[sender] = message["value"]
            elif kind == "all":
                self._gathered[message["round"]] = message["values"]
            elif kind == "here":
                self._here.add(sender)
            elif kind == "bye":
                self._dismissed = True
            elif kind == "pong":
                self._pong = {**message, "arrived": now}
            self._changed.notify_all()

    def _miss(self, now: float) -> None:
        if self._dismissed:
            return  # rank 0 has said goodbye
        gone = {rank: why for rank, why in self._link.closed().items() if rank not in self._lost}
        for rank, heard in self._heard.items():
            if now - heard > self._patience_s and rank not in self._lost:
                gone.setdefault(rank, f"silent for {now - heard:.0f} s")
        if gone:
            with self._changed:
                self._lost |= gone
                self._changed.notify_all()
            self._hear_of("; ".join(f"rank {rank} is lost: {why}" for rank, why in sorted(gone.items())))

    def _hear_of(self, why: str) -> None:
        """Keep the first trouble; rank 0 passes it on."""
        with self._changed:
            if self.trouble is not None:
                return
            self.trouble = why
        if self.rank == 0:
            for rank in range(1, self.size):
                if rank not in self._lost:
                    self._post(rank, {"kind": "trouble", "why": why})

    def _synchronize(self) -> None:
        """Estimate the difference of the clocks where they are not one."""
        clocks = self.exchange(clock.identity(), timeout_s=60)
        if self.rank != 0 and clocks[0] != clocks[self.rank]:
            pings = clock.Pings()
            for _ in range(_PINGS):
                self._pong = None
                sent = time.monotonic()
                self._post(0, {"kind": "ping", "sent": sent})
                pong = self._wait(lambda: self._pong, sent + 2)
                if pong is not None and pong["sent"] == sent:
                    pings.add(sent, pong["clock"], pong["arrived"])
            self.offset_s, self.offset_error_s = pings.offset_s, pings.error_s
        self.exchange(None, timeout_s=60)
