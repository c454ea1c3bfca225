"""Where rank 0 listens and how the others reach it: names that come up late, a machine's own loopback name, IPv6."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Any

from trtkit.errors import RunError, UsageError
from trtkit.units import seconds_text

__all__ = ["connect", "listen", "shown"]

Address = tuple[str, int]

Say = Callable[[str], None]

_AGAIN_S = 0.2


def _silent(text: str) -> None:
    """Nobody is told."""


def shown(address: Address) -> str:
    """``node0:5000``, ``[::1]:5000``."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(address: Address, patience_s: float, backlog: int, say: Say = _silent) -> tuple[list[socket.socket], str]:
    """Sockets that listen there, and in words where.

    On Debian a machine's own name is 127.0.1.1 in its own eyes, where nobody else could reach it: a name that leads to
    the loopback without being called so is listened for on every address.

    Raises:
        UsageError: the name does not exist, and did not come to.
        RunError: the address is not this machine's, or the port is taken.
    """
    found = _resolved(address, patience_s, say)
    loopback = [host for host in found if ipaddress.ip_address(host.partition("%")[0]).is_loopback]
    if loopback and not _called_loopback(address[0]):
        where = f"every address of this machine, port {address[1]}, because {address[0]} is {loopback[0]} here"
        return [_everywhere(address, backlog)], where
    made: list[socket.socket] = []
    refused: OSError | None = None
    for family, where_to in found.values():
        try:
            made.append(socket.create_server(where_to, family=family, backlog=backlog))
        except OSError as error:
            # A name may lead to several addresses of which some do not work here (no IPv6): one is enough.
            refused = error
            if error.errno == errno.EADDRINUSE:
                break
    if refused is not None and (not made or refused.errno == errno.EADDRINUSE):
        for one in made:
            one.close()
        raise _not_here(address, refused)
    return made, ", ".join(shown((str(one.getsockname()[0]), address[1])) for one in made)


def connect(address: Address, patience_s: float, rank: int, say: Say = _silent) -> socket.socket:
    """A connection to rank 0, which may not be there yet, nor its name.

    Raises:
        UsageError: the name does not exist, and did not come to.
        RunError: rank 0 was not reached.
    """
    until = time.monotonic() + patience_s
    _resolved(address, patience_s, say)
    while True:
        try:
            made = socket.create_connection(address, timeout=5)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made
        except OSError as error:
            if time.monotonic() > until:
                raise RunError(
                    f"Rank {rank} did not reach rank 0 at {shown(address)} within {seconds_text(patience_s)}: "
                    f"{error.strerror or error}.",
                    hint="See that rank 0 runs, and that nothing blocks the port.",
                ) from error
            time.sleep(_AGAIN_S / 2)


def _resolved(address: Address, patience_s: float, say: Say) -> dict[str, tuple[int, Any]]:
    """Numeric host → family and socket address. A name that is unknown may be known soon (Kubernetes): asked again."""
    until, told = time.monotonic() + patience_s, False
    while True:
        try:
            found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
            return {str(where[0]): (family, where) for family, _, _, _, where in found}
        except (socket.gaierror, UnicodeError) as error:
            if time.monotonic() > until or isinstance(error, UnicodeError):
                why = error.strerror if isinstance(error, OSError) else "it is no name"
                raise UsageError(
                    f"There is no host {address[0]!r}, and none came up within {seconds_text(patience_s)}: {why}.",
                    hint="Mend --rendezvous HOST:PORT, or make the name known on this machine: getent hosts HOST.",
                ) from error
            if not told:
                told = True
                say(f"{address[0]} is not known here ({error.strerror}); asking again for {seconds_text(patience_s)}")
        time.sleep(_AGAIN_S)


def _called_loopback(host: str) -> bool:
    """Whether who wrote this meant the loopback: 127.…, ::1, localhost and its kin."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    name = host.rstrip(".").lower()
    return name in ("ip6-localhost", "ip6-loopback") or "localhost" in (name.split(".")[0], name.split(".")[-1])


def _everywhere(address: Address, backlog: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            both = ("", address[1])
            return socket.create_server(both, family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
    try:
        return socket.create_server(("", address[1]), backlog=backlog)
    except OSError as error:
        raise _not_here(address, error) from error


def _not_here(address: Address, error: OSError) -> RunError:
    return RunError(
        f"Rank 0 cannot listen on {shown(address)}: {error.strerror or error}.",
        hint="Give --rendezvous an address of rank 0's machine and a free port.",
    )
