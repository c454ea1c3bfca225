"""The console script: Ctrl-C and signals are taken care of before anything that takes time is imported.

Between its first line and the command's own care of interruptions, a process has written nothing and started nobody, so
it may leave at once. Without this, Ctrl-C in the first tenths of a second would show a traceback out of an import.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType

__all__ = ["run"]

_INTERRUPTED = 130  # trtkit.errors.EXIT_INTERRUPTED, which may not be imported yet
_POLITE = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, kill, a closed ssh session


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted: nothing had begun\n")
    os._exit(_INTERRUPTED)


def _on_signals(handler: object) -> None:
    for name in _POLITE:
        # What the parent told us to ignore (nohup, a shell's background job) stays ignored.
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]


def run() -> None:
    """Run the command line with this process's arguments, and leave with its exit code."""
    _on_signals(_leave)
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a stdout in ASCII or cp1252 has no "×": "?" stands there then
        from trtkit.cli.main import main

        _on_signals(signal.default_int_handler)
        code = main()
        # The result stands: an interruption of the interpreter's own clearing up would only add a traceback.
        _on_signals(signal.SIG_IGN)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)
