"""Messages between ranks over TCP, for launchers without MPI: rank 0 listens, the others connect to it.

A message is one line of JSON. The port is open to whoever reaches it: a rank must name the run's size and belong to its
job (:mod:`trtkit.ranks.job`); everything else that connects is dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from trtkit.errors import RunError, UsageError
from trtkit.ranks.address import connect, listen, shown
from trtkit.ranks.job import job_of
from trtkit.ranks.link import Packet
from trtkit.ranks.place import Place
from trtkit.units import seconds_text

__all__ = ["TcpLink"]

_SEND_S = 10.0  # a stopped rank reads no more, and its buffer fills
_PIECE = 2**20
_HELLO_LIMIT = 2**14
_REFUSED_KEPT = 20
_LINE_LIMIT = 2**30


class _Connection:
    """A socket with its half-read line and, once it has said who it is, its rank."""

    def __init__(self, made: socket.socket) -> None:
        self.socket = made
        self.rank: int | None = None
        self.pending = bytearray()

    def lines(self, data: bytes) -> list[bytes]:
        """The lines that end in ``data``; what was read before is looked at once, however long a line is."""
        first, *more = data.split(b"\n")
        self.pending += first
        if not more:
            return []
        whole = [bytes(self.pending), *more[:-1]]
        self.pending = bytearray(more[-1])
        return whole


class TcpLink:
    """The star over TCP; see :class:`trtkit.ranks.link.Link`.

    Args:
        place: with an ``address``.
        patience_s: how long ranks wait for each other to come, and for the address's name to be known.
        say: is told where rank 0 listens, what is waited for, and who was refused.
        terms: what the job measures, JSON-ready, by name: whoever measures something else belongs to another one.

    Raises:
        RunError: rank 0 cannot listen, or the ranks do not find each other in time.
        UsageError: the address does not exist, or two processes claim one rank.
    """

    def __init__(
        self,
        place: Place,
        *,
        patience_s: float = 60.0,
        say: Callable[[str], None] = lambda text: None,
        terms: Mapping[str, Any] | None = None,
    ) -> None:
        if place.address is None:
            raise ValueError("a TCP link needs an address")
        self.rank, self.size = place.rank, place.size
        self._job = job_of(terms or {})
        self._refused: dict[str, None] = {}  # who, and why; in order
        self._selector = selectors.DefaultSelector()
        self._ranks: dict[int, _Connection] = {}
        self._closed: dict[int, str] = {}
        self._received: deque[Packet] = deque()
        self._listeners: list[socket.socket] = []
        if self.rank == 0:
            self._listen(place, patience_s, say)
        else:
            self._connect(place.address, patience_s, say)

    def send(self, to: int, message: dict[str, Any]) -> None:
        """See :meth:`trtkit.ranks.link.Link.send`."""
        if to == self.rank:
            self._received.append((self.rank, message))
            return
        connection = self._ranks.get(to)
        if connection is not None:
            try:
                connection.socket.settimeout(_SEND_S)
                left = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
                while left:  # piece by piece: the time is for each, so that a long message may take longer
                    left = left[connection.socket.send(left[:_PIECE]) :]
            except OSError as error:
                self._drop(connection, f"its connection broke ({error})")

    def receive(self, wait_s: float) -> Packet | None:
        """See :meth:`trtkit.ranks.link.Link.receive`."""
        if not self._received:
            for key, _ in self._selector.select(wait_s):
                self._read(key.data)
        return self._received.popleft() if self._received else None

    def closed(self) -> dict[int, str]:
        """See :meth:`trtkit.ranks.link.Link.closed`."""
        return dict(self._closed)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._ranks.values()):
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_WR)
                connection.socket.close()
        for listener in self._listeners:
            listener.close()
        self._selector.close()

    def abort(self, code: int) -> None:
        """End this process; the others see their connection break."""
        os._exit(code)

    def _read(self, connection: _Connection | socket.socket) -> None:
        if isinstance(connection, socket.socket):
            self._accept(connection)
            return
        try:
            data = connection.socket.recv(2**18)
        except OSError as error:
            self._drop(connection, f"its connection broke ({error})")
            return
        if not data:
            self._drop(connection, "it closed its connection")
            return
        lines = connection.lines(data)
        if not lines and connection.rank is not None:
            self._received.append((connection.rank, {"kind": "beat"}))  # the middle of a long message: it is there
        for line in lines:
            if connection.socket.fileno() < 0:
                return  # dropped by the line before
            if connection.rank is None:
                self._greet(connection, line)
            else:
                with contextlib.suppress(ValueError):
                    self._received.append((connection.rank, json.loads(line)))
        if len(connection.pending) > (_HELLO_LIMIT if connection.rank is None else _LINE_LIMIT):
            self._drop(connection, "it sent an endless line")

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            made, _ = listener.accept()
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(made, selectors.EVENT_READ, _Connection(made))

    def _greet(self, connection: _Connection, line: bytes) -> None:
        """Take a newcomer in if it belongs to this run, and tell it so."""
        if len(line) > _HELLO_LIMIT:
            self._drop(connection, "")
            return
        try:
            hello = json.loads(line)
            rank, size = int(hello["rank"]), int(hello["size"])
            problem = self._job.objection(hello)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self._drop(connection, "")
            return
        if problem is not None:
            pass
        elif size != self.size:
            problem = f"it counts {size} ranks and rank 0 {self.size}"
        elif not 0 < rank < self.size or rank in self._ranks:
            problem = f"rank {rank} is taken or out of range"
        with contextlib.suppress(OSError):
            connection.socket.sendall(json.dumps({"refused": problem}).encode() + b"\n")
        if problem is not None:
            if len(self._refused) < _REFUSED_KEPT:
                self._refused[f"rank {rank} at {_peer(connection.socket)} was refused: {problem}"] = None
            self._drop(connection, "")
            return
        connection.rank = rank
        self._ranks[rank] = connection
        self._closed.pop(rank, None)  # it was started again

    def _drop(self, connection: _Connection, why: str) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.socket.close()
        if connection.rank is not None and self._ranks.pop(connection.rank, None) is not None:
            self._closed.setdefault(connection.rank, why)

    def _listen(self, place: Place, patience_s: float, say: Callable[[str], None]) -> None:
        assert place.address is not None
        self._listeners, where = listen(place.address, patience_s, self.size, say)
        for listener in self._listeners:
            self._selector.register(listener, selectors.EVENT_READ, listener)
        others = f"{self.size - 1} other rank{'s' * (self.size > 2)}"
        say(f"rank 0 waits for {others} on {where}")
        until, told = time.monotonic() + patience_s, 0
        while len(self._ranks) < self.size - 1:
            for text in list(self._refused)[told:]:
                say(text)
            told = len(self._refused)
            if time.monotonic() > until:
                missing = sorted(set(range(1, self.size)) - set(self._ranks))
                raise RunError(
                    f"Of {self.size} ranks {len(missing)} did not come within {seconds_text(patience_s)}: "
                    f"{', '.join(map(str, missing[:8]))}{' …' * (len(missing) > 8)}."
                    + "".join(f" {text[0].upper()}{text[1:]}." for text in list(self._refused)[:3]),
                    hint=f"See that they start, and that they reach {shown(place.address)}.",
                )
            for key, _ in self._selector.select(0.2):
                self._read(key.data)

    def _connect(self, address: tuple[str, int], patience_s: float, say: Callable[[str], None]) -> None:
        until = time.monotonic() + patience_s
        made = connect(address, patience_s, self.rank, say)
        hello = {"rank": self.rank, "size": self.size, **self._job.to_json()}
        made.sendall(json.dumps(hello).encode() + b"\n")
        made.settimeout(max(until - time.monotonic(), 1))
        try:
            answer = json.loads(made.makefile("rb", buffering=0).readline() or b"{}")
        except (OSError, ValueError) as error:
            raise RunError(f"Rank 0 did not answer rank {self.rank}: {error}.", hint="See what rank 0 says.") from error
        if answer.get("refused", "it closed the connection") is not None:
            raise UsageError(
                f"Rank 0 at {shown(address)} refused rank {self.rank}: "
                f"{answer.get('refused', 'it closed the connection')}.",
                hint="Start every rank of a run with equal options and size, each with a number of its own, and each "
                "run on its own port. One TRTKIT_RENDEZVOUS_TOKEN on all ranks joins what belongs to several jobs.",
            )
        connection = _Connection(made)
        connection.rank = 0
        self._ranks[0] = connection
        self._selector.register(made, selectors.EVENT_READ, connection)


def _peer(made: socket.socket) -> str:
    try:
        return str(made.getpeername()[0])
    except OSError:
        return "an unknown address"
