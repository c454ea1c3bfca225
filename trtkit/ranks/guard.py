"""A rank that outlives its launcher by the seconds it needs to keep what was measured.

Open MPI's mpirun kills every rank a quarter of a second after one has died. The process that it started therefore only
waits for a child in a session of its own, which is the rank, and ends as that child ends: the launcher sees the truth.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from trtkit.errors import RunError

__all__ = ["abandoned", "at_most", "end_with_guardian", "outlive_launcher", "tell_terminal"]

_LOOK_S = 0.2
_LAST_S = 8.0
"""Longest life of a rank without its launcher."""

_TOO_LONG = b"""error: The ranks did not find each other within the time: at least one did not reach MPI.
hint: See what the ranks say, that none is stopped, and that mpirun alone works: mpirun -n 2 hostname.
"""

_guardian: int | None = None
_terminal: int | None = None


def abandoned() -> bool:
    """Whether the process that the launcher knows is gone, and with it all that the launcher would do for this rank."""
    return _guardian is not None and os.getppid() != _guardian


def end_with_guardian() -> None:
    """From now on this process ends at once when the one that guards it does: its work is done, and MPI may hang."""
    if _guardian is not None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def tell_terminal(text: str) -> bool:
    """Write a line to the terminal that the launcher was started from; whether there is one.

    Open MPI's mpirun shows nothing that ranks write once Ctrl-C was pressed.
    """
    if _guardian is None or _terminal is None:
        return False
    with contextlib.suppress(OSError):
        return os.write(_terminal, f"{text}\n".encode()) > 0
    return False


def outlive_launcher() -> None:
    """Return in a new process that the launcher cannot kill; the old one waits for it and never returns.

    Linux only; elsewhere nothing happens. Call it before MPI is started and before there are threads. When the old
    process ends, the new one gets SIGTERM, and is gone :data:`_LAST_S` seconds later whatever it does.
    """
    global _guardian, _terminal
    if sys.platform != "linux" or _guardian is not None:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    guardian = os.getpid()
    with contextlib.suppress(OSError):  # most ranks have none
        _terminal = os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    child = os.fork()
    if child:
        _wait_for(child)
    os.setsid()
    _guardian = guardian
    signal.signal(signal.SIGTERM, _interrupt_once)
    _die_with_parent()
    threading.Thread(target=_watch, name="guard", daemon=True).start()


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """End the process, with a word by the one that guards it, if this takes longer: for calls that nothing can stop."""
    if _guardian is None:
        yield
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """SIGTERM comes twice: passed on, and when the guardian dies a moment later, in the midst of the last words."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _wait_for(child: int) -> None:
    def pass_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
            os.kill(child, signal.SIGCONT)  # it may be stopped, and would sleep for ever

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGALRM:
        os.write(2, _TOO_LONG)
        os._exit(RunError.exit_code)
    if code < 0:
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        time.sleep(1)  # the signal is on its way
    os._exit(code if code >= 0 else 128 - code)


def _die_with_parent() -> None:
    import ctypes

    pr_set_pdeathsig = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGTERM))
    if abandoned():  # it died before the kernel knew
        os.kill(os.getpid(), signal.SIGTERM)


def _watch() -> None:
    while not abandoned():
        time.sleep(_LOOK_S)
    time.sleep(_LAST_S)
    os._exit(128 + signal.SIGTERM)
