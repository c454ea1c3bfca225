"""Several processes, on one machine or many, that run one benchmark together: who they are, and how they keep step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trtkit.ranks.alone import Alone, Lost
from trtkit.ranks.meeting import Meeting
from trtkit.ranks.place import Place, find
from trtkit.ranks.pulse import LONG_S

__all__ = ["LONG_S", "Alone", "Lost", "Meeting", "Place", "find", "join"]


def join(
    place: Place, say: Callable[[str], None] = lambda text: None, terms: Mapping[str, Any] | None = None
) -> Alone | Meeting:
    """Meet the other ranks of a run: over TCP where the place has an address, else over MPI.

    With MPI the caller goes on in a child process (:mod:`trtkit.ranks.guard`): call it before there are threads.

    Args:
        place: this process's.
        say: is told where rank 0 listens, what is waited for, and who was refused.
        terms: what is measured, JSON-ready, by name: over TCP whoever measures something else is refused.

    Raises:
        UsageError: the launcher is one that needs ``--rendezvous``, or the ranks do not belong together.
        BackendUnavailableError: mpi4py or its MPI is missing.
        RunError: the ranks do not find each other.
    """
    if place.size == 1:
        return Alone()
    if place.address is not None:
        from trtkit.ranks.tcp import TcpLink

        return Meeting(TcpLink(place, say=say, terms=terms))
    from trtkit.ranks.guard import outlive_launcher
    from trtkit.ranks.mpi import MpiLink

    outlive_launcher()
    return Meeting(MpiLink(place))
