"""Ranks that work in step: exchange of values, heartbeats, one clock, and an end when one of them is lost.

A thread of each rank carries the messages, so that a rank whose main thread converts a model or waits for a worker
still answers; a process that was stopped or killed does not, and is missed after :data:`PATIENCE_S`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtkit.ranks.link import Link

__all__ = ["PATIENCE_S", "Alone", "Lost", "Meeting"]

PATIENCE_S = 4.0
"""After this silence a rank counts as lost."""

_BEAT_S = 0.5
_PINGS = 20
_GOODBYE_S = 10.0


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

    def exchange(self, value: Any, *, timeout_s: float, to_all: bool = True) -> list[Any]:
        """``[value]``."""
        return [value]

    def warn(self, why: str) -> None:
        """See :meth:`Meeting.warn`."""
        self.trouble = self.trouble or why

    def close(self) -> None:
        """Nothing to leave."""

    def abort(self, code: int) -> None:
        """Nothing to end but the caller itself, which does."""


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
        """The thread: send what is to be sent, take what comes, beat, and miss who is silent."""
        beaten = 0.0
        while not self._leaving.is_set():
            with self._changed:
                outbox, self._outbox = self._outbox, []
            for to, message in outbox:
                self._link.send(to, message)
            packet = self._link.receive(0.002)
            now = time.monotonic()
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
        if kind == "trouble":
            self._hear_of(message["why"])
            return
        with self._changed:
            if kind == "put":
                self._given.setdefault(message["round"], {})[sender] = message["value"]
            elif kind == "all":
                self._gathered[message["round"]] = message["values"]
            elif kind == "bye":
                self._dismissed = True
            elif kind == "pong":
                self._pong = {**message, "arrived": now}
            self._changed.notify_all()

    def _miss(self, now: float) -> None:
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
        """Estimate the difference of the clocks: the ping with the shortest way bounds it best (Cristian 1989)."""
        boots = self.exchange(_boot(), timeout_s=60)
        if self.rank != 0 and boots[0] != boots[self.rank]:
            best = None
            for _ in range(_PINGS):
                self._pong = None
                sent = time.monotonic()
                self._post(0, {"kind": "ping", "sent": sent})
                pong = self._wait(lambda: self._pong, sent + 2)
                if pong is not None and pong["sent"] == sent:
                    trip = pong["arrived"] - sent
                    if best is None or trip < best[0]:
                        best = (trip, pong["clock"] - (sent + pong["arrived"]) / 2)
            if best is not None:
                self.offset_error_s, self.offset_s = best[0] / 2, best[1]
        self.exchange(None, timeout_s=60)


def _boot() -> str:
    """Equal on processes that share a monotonic clock: the kernel's boot and its time namespace."""
    parts: Sequence[Path] = (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/timens_offsets"))
    found = []
    for part in parts:
        with contextlib.suppress(OSError):
            found.append(part.read_text().strip())
    return "\n".join(found) or f"unknown {time.monotonic()}"
