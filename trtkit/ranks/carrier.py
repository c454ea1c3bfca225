"""The thread of a rank that carries its messages: it sends, listens, beats, and misses who is silent.

So a rank whose main thread converts a model or waits for a worker still answers; a process that was stopped or killed
does not, and is missed after the patience that it was given. A heartbeat also says whether the main thread hangs
(:mod:`trtkit.ranks.pulse`): such a rank counts as lost too.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from trtkit.errors import RunError
from trtkit.ranks.link import Link
from trtkit.ranks.pulse import Pulse

__all__ = ["Carrier"]

_BEAT_S = 0.5
_AWAKE_S, _ASLEEP_S = 0.002, 0.02  # how long the thread listens at a time: after a message, and after a silence
_DROWSY_S = 0.1
_LAST_S = 10.0  # a rank that hangs ends itself so long after all others have left


class Carrier:
    """What a rank has sent, heard and lost; its thread runs from :meth:`_start` on.

    Attributes:
        trouble: what went wrong first on any rank, as soon as this one hears of it; ``None`` while all is well.
        pulse: where this rank's main thread shows that it moves.
    """

    def __init__(self, link: Link, patience_s: float) -> None:
        self.rank, self.size = link.rank, link.size
        self.trouble: str | None = None
        self.pulse = Pulse()
        self._link = link
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._outbox: list[tuple[int, dict[str, Any]]] = []
        self._given: dict[int, dict[int, Any]] = {}  # round → rank → value, on rank 0
        self._answers: dict[int, tuple[Any]] = {}  # round → what rank 0 answered
        self._pong: dict[str, Any] | None = None
        self._lost: dict[int, str] = {}
        self._dismissed = False
        self._farewells: dict[int, Any] = {}  # rank → last value, on rank 0
        self._here: set[int] = set()
        # Rank 0 hears everybody, the others hear rank 0.
        self._heard = dict.fromkeys(range(1, self.size) if self.rank == 0 else (0,), time.monotonic())
        self._left_alone_s: float | None = None  # since when all others are gone while the main thread hangs
        self._leaving = threading.Event()
        self._pump = threading.Thread(target=self._carry, name="ranks", daemon=True)

    def _start(self) -> None:
        self._pump.start()

    def _post(self, to: int, message: dict[str, Any]) -> None:
        with self._changed:
            self._outbox.append((to, message))

    def _flush(self) -> None:
        until = time.monotonic() + 2
        while self._outbox and self._pump.is_alive() and time.monotonic() < until:
            time.sleep(0.002)

    def _wait(self, ready: Any, until: float) -> Any:
        """What ``ready()`` gives once it is not ``None``; ``None`` at the deadline or once rank 0 is gone."""
        with self._changed:
            while (found := ready()) is None:
                self.pulse.move()
                left = until - time.monotonic()
                if left <= 0 or 0 in self._lost or self._dismissed:
                    return None
                self._changed.wait(min(left, 0.2))
            self.pulse.move()
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
                    self.pulse.move()
                beaten = now
                self._beat(now)
            self._miss(now)

    def _beat(self, now: float) -> None:
        stuck = self.pulse.stuck()
        beat = {"kind": "beat"} if stuck is None else {"kind": "beat", "stuck": stuck}
        for rank in self._heard:
            if rank not in self._lost:
                self._link.send(rank, beat)
        if stuck is None:
            self._left_alone_s = None
            return
        self._hear_of(f"rank {self.rank} is lost: {stuck}")  # should it move again, it learns that nobody waits for it
        if self._left_alone_s is None and self._heard.keys() <= self._link.closed().keys():
            self._left_alone_s = now
        if self._left_alone_s is not None and now - self._left_alone_s > _LAST_S:
            os.write(2, f"error: Rank {self.rank} ends, for the others have left: {stuck}.\n".encode())
            self._link.abort(RunError.exit_code)

    def _take(self, sender: int, message: dict[str, Any], now: float) -> None:
        self._heard[sender] = now
        kind = message["kind"]
        if kind == "beat":
            if message.get("stuck"):
                self._lose({sender: message["stuck"]})
            return
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
            elif kind == "answer":
                self._answers[message["round"]] = (message["value"],)
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
        gone = dict(self._link.closed())
        for rank, heard in self._heard.items():
            if now - heard > self._patience_s:
                gone.setdefault(rank, f"silent for {now - heard:.0f} s")
        self._lose(gone)

    def _lose(self, gone: dict[int, str]) -> None:
        gone = {rank: why for rank, why in gone.items() if rank not in self._lost}
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
