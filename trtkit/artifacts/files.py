"""How artifacts reach the disk: hashed, and by atomic rename, so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trtkit.errors import PlanError, UsageError

__all__ = [
    "atomic_path",
    "json_ready",
    "publish",
    "read_json",
    "real_file",
    "sha256_bytes",
    "sha256_file",
    "sha256_json",
    "staging",
    "write_bytes",
    "write_json",
]


_STAGING = ".trtkit-"
_MOST_LINKS = 40  # as Linux
_NUMBERS = re.compile(r"\[\n +([-+.\deE]+(?:,\n +[-+.\deE]+)*)\n +\]")
_BREAK = re.compile(r"\n +")


def sha256_bytes(data: bytes | memoryview) -> str:
    """SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces (memory stays constant)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: object) -> str:
    """SHA-256 of a value's canonical JSON text (sorted keys, no spaces)."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def json_ready(value: Any) -> Any:
    """The same value as JSON would give it back: mappings as dicts, and tuples as lists, however deep."""
    if isinstance(value, Mapping):
        return {name: json_ready(entry) for name, entry in value.items()}
    return [json_ready(entry) for entry in value] if isinstance(value, list | tuple) else value


def real_file(path: Path, what: str = "") -> Path:
    """The file that a name to be written stands for, symbolic links followed; it need not be there.

    Args:
        path: the name.
        what: the same for the message, with its option.

    Raises:
        UsageError: it stands for a folder, a device, a pipe, or what a process holds open (``/dev/stdout``): a rename
            would put a file in its place.
    """
    place = path.absolute()
    for _ in range(_MOST_LINKS):
        place = place.parent.resolve() / place.name
        if place.is_relative_to("/proc") or place.is_relative_to("/dev/fd"):
            break
        if not place.is_symlink():
            if place.exists() and not place.is_file():
                break
            return place
        place = place.parent / place.readlink()
    raise UsageError(f"{what or path} is no regular file.", hint="Give the name of a file to be written.")


@contextlib.contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a scratch path beside ``final``; rename it there on success, remove it on any failure, Ctrl-C included.

    The folder is made if it is missing. The scratch name keeps the suffix, starts with a dot and is new each time.

    Raises:
        UsageError: the folder cannot be made or written, or ``final`` is a folder or no regular file.
    """
    if final.is_dir():
        raise UsageError(f"{final} is a folder, and a file is to be written there.", hint="Give a file name.")
    real_file(final)
    scratch = final.with_name(f".{final.stem}.{secrets.token_hex(4)}.part{final.suffix}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        scratch.touch()
    except OSError as error:
        raise UsageError(
            f"Cannot write to the folder {final.parent}: {error.strerror or error}.",
            hint="Give a folder you may write to with -o/--output.",
        ) from error
    try:
        yield scratch
        scratch.replace(final)
    except OSError as error:
        _name(error, final)
        raise
    finally:
        scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder inside ``folder`` for files that shall appear together; it is removed whatever happens.

    What is to stay is moved out of it by :func:`publish`, a rename on the same file system. If nothing stays, folders
    that were made for it go again.

    Raises:
        UsageError: ``folder`` is a file, or cannot be made or written.
    """
    scratch = folder / f"{_STAGING}{os.getpid()}-{secrets.token_hex(4)}"
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        scratch.mkdir(parents=True)
        _sweep(folder)
    except OSError as error:
        raise UsageError(
            f"Cannot write to the folder {folder}: {error.strerror or error}.",
            hint="Give a folder you may write to with -o/--output.",
        ) from error
    try:
        yield scratch
    except OSError as error:
        _name(error, folder)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with contextlib.suppress(OSError):  # the first that holds something ends it
            for parent in made:
                parent.rmdir()


def _name(error: OSError, path: Path) -> None:
    """A write that fails (the disk is full) does not say where: say it."""
    if error.errno is not None and error.filename is None:
        error.filename = str(path)


def publish(staged: Path, folder: Path, *, last: str) -> None:
    """Move the files of a staging folder into ``folder``, over older ones; ``last`` names the one to move last.

    Raises:
        UsageError: a folder, a device or a pipe is in a file's way; then nothing is moved.
    """
    files = sorted(
        (path for path in staged.iterdir() if path.is_file()), key=lambda path: (path.name == last, path.name)
    )
    for path in files:
        if (folder / path.name).is_dir():
            raise UsageError(
                f"{folder / path.name} is a folder, and a file is to be written there.", hint="Move the folder away."
            )
        real_file(folder / path.name)
    for path in files:
        path.replace(folder / path.name)


def _sweep(folder: Path) -> None:
    """Remove staging folders of processes that are no more (killed with no chance to clean up)."""
    for left in folder.glob(f"{_STAGING}*-*"):
        owner = left.name.removeprefix(_STAGING).split("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    if os.name == "nt":  # there, os.kill with 0 ends the process instead of asking for it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and another user's; or the system has no such question
        return True
    return True


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write ``data`` atomically and flush it to the disk."""
    with atomic_path(path) as scratch, scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically; lists of numbers, such as raw samples, stand on one line each.

    NaN and infinity are refused: JSON has no word for them.
    """
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    lines = _NUMBERS.sub(lambda found: f"[{_BREAK.sub(' ', found[1])}]", text)  # a string has no line breaks
    write_bytes(path, f"{lines}\n".encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that trtkit wrote.

    Raises:
        PlanError: the file is missing, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise PlanError(
            f"{path} does not exist.", hint="Give the path of a file that trtkit wrote, or make it again."
        ) from error
    except (OSError, ValueError) as error:
        raise PlanError(
            f"{path} is not readable JSON: {error}.", hint="The file was changed or cut short: make it again."
        ) from error
    if not isinstance(value, dict):
        raise PlanError(f"{path} holds {type(value).__name__}, not a JSON object.", hint="Make the file again.")
    return value
