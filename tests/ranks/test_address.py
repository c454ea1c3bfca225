"""Where rank 0 listens: real sockets, with names that this machine is told."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.ranks.test_meeting import free_port
from trtkit.errors import RunError, UsageError
from trtkit.ranks.address import connect, listen, shown

REAL = socket.getaddrinfo


def known(monkeypatch: pytest.MonkeyPatch, leads_to: Callable[[], str]) -> None:
    """``node0`` is where ``leads_to`` says."""

    def look_up(host: str, *rest: Any, **more: Any) -> Any:
        return REAL(leads_to() if host == "node0" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def reached(port: int, host: str) -> bool:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(("name", "everywhere"), [("node0", True), ("127.0.1.1", False), ("localhost", False)])
def test_a_name_that_is_the_loopback_here_is_listened_for_everywhere(
    name: str, everywhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, lambda: "127.0.1.1")
    port = free_port()
    made, where = listen((name, port), 1.0, 2)
    assert (where == f"every address of this machine, port {port}, because node0 is 127.0.1.1 here") is everywhere
    assert reached(port, "127.9.9.9") is everywhere, "an address that was not named"
    assert reached(port, "127.0.0.1" if name == "localhost" else "127.0.1.1")
    for one in made:
        one.close()


def test_a_name_that_comes_up_late_is_waited_for_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def late() -> str:
        asked.append(time.monotonic())
        if asked[-1] - asked[0] < 0.5:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return "127.0.0.1"

    known(monkeypatch, late)
    port = free_port()
    said: list[str] = []
    (listener,), _ = listen(("node0", port), 10.0, 2, said.append)
    assert said == ["node0 is not known here (Name or service not known); asking again for 10.0 s"]
    asked.clear()
    connect(("node0", port), 10.0, 1).close()
    assert len(asked) > 2
    listener.close()


@pytest.mark.parametrize("call", [lambda at: listen(at, 0.3, 2), lambda at: connect(at, 0.3, 1)])
def test_a_name_that_never_comes_up_is_said(call: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> str:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    known(monkeypatch, never)
    with pytest.raises(UsageError, match=r"no host 'node0', and none came up within 300 ms: Name or service") as caught:
        call(("node0", 5000))
    assert "getent" in caught.value.hint


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6_is_listened_on_and_reached() -> None:
    port = free_port()
    (listener,), where = listen(("::1", port), 1.0, 2)
    assert where == f"[::1]:{port}"
    connect(("::1", port), 2.0, 1).close()
    listener.close()


def test_a_port_that_is_taken_is_refused_wherever_it_was_to_be_listened(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, lambda: "127.0.1.1")
    with socket.create_server(("127.0.0.1", 0)) as other:
        for host in ("127.0.0.1", "node0"):
            address = (host, other.getsockname()[1])
            with pytest.raises(RunError, match=f"Rank 0 cannot listen on {shown(address)}: Address already in use"):
                listen(address, 1.0, 2)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(RunError, match=r"Rank 0 cannot listen on 192\.0\.2\.1:5000"):
        listen(("192.0.2.1", 5000), 1.0, 2)
