"""One study at a time in a folder: the second is told who is there, at once."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from trtkit.artifacts.files import read_json, write_json
from trtkit.errors import PlanError, UsageError

__all__ = ["held"]

_LOCK, _HOLDER = ".study.lock", ".study.holder.json"  # filelock empties its own file whenever someone tries


@contextlib.contextmanager
def held(folder: Path, command: Sequence[str] = ()) -> Iterator[None]:
    """Hold a study's folder while the ``with`` lasts; the system gives it back when the holder dies.

    Args:
        folder: the study's; made if it is not there.
        command: the command line, told to whoever comes second.

    Raises:
        UsageError: another process is at work in the folder, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(
            f"Another study is at work in {folder}: {_who(folder)}.",
            hint="Wait until it has ended, stop it, or give another folder with -o.",
        ) from error
    except OSError as error:
        raise UsageError(
            f"The study's folder {folder} cannot be written: {error.strerror or error}.",
            hint="Give a folder that you may write to with -o.",
        ) from error
    try:
        write_json(
            folder / _HOLDER,
            {
                "process": os.getpid(),
                "machine": platform.node(),
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": list(command),
            },
        )
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / _HOLDER).unlink(missing_ok=True)
        lock.release()  # its file stays: to remove it would open a gap for a third process


def _who(folder: Path) -> str:
    try:
        found = read_json(folder / _HOLDER)
    except PlanError:  # it has only just begun
        return "a process that has only just begun"
    command = shlex.join(map(str, found.get("command") or ()))
    who = f"process {found.get('process')} on {found.get('machine')}, since {found.get('since')}"
    return f"{who} ({command})" if command else who
