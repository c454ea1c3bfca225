"""What trtkit keeps for itself between runs: plans that a benchmark converted, just-in-time kernels, spot checks.

It lies in ``$XDG_CACHE_HOME/trtkit`` (``~/.cache/trtkit``) and may be removed at any time. Every entry's name holds a
hash of what decides its content, so an entry is never wrong, only unused. Parallel processes (the ranks of a scaling
run) wait for each other at a lock file; the system gives the lock back when its holder dies.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trtkit.artifacts.files import read_json, sha256_json, write_json
from trtkit.errors import PlanError, UsageError

__all__ = ["PlanCache", "cache_folder"]

_HASH_SHOWN = 16
_UNFIT = re.compile(r"[^A-Za-z0-9_.+-]+")


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/trtkit``, or ``~/.cache/trtkit``. It may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "trtkit"


class PlanCache:
    """The cache in a folder.

    Args:
        root: the folder; made when it is first needed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def entry(self, label: str, identity: Mapping[str, Any], waiting: Callable[[str], None]) -> Iterator[Path]:
        """Yield the folder of an entry, held by this process alone while the ``with`` lasts.

        Args:
            label: its readable part, ``googlenet.fp16.tensorrt-rtx-1.7``.
            identity: JSON-ready; what decides the content.
            waiting: is told, in a sentence, if another process holds the entry.

        Raises:
            UsageError: the cache cannot be written.
        """
        folder = self.root / "plans" / self._name(label, identity)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder.with_name(f"{folder.name}.lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                waiting(f"another trtkit process is making {label}: waiting for it")
                lock.acquire()
        except OSError as error:
            raise self._refusal(error) from error
        try:
            yield folder
        finally:
            lock.release()

    def runtime_file(self, label: str, identity: Mapping[str, Any]) -> Path:
        """Where TensorRT-RTX keeps the just-in-time kernels of one plan on one device."""
        return self._file("runtime", label, identity, ".bin")

    def remembered(self, label: str, identity: Mapping[str, Any], *, kind: str = "checks") -> dict[str, Any] | None:
        """What an earlier run found about the same artifact, device and version; ``None`` if nothing.

        Args:
            label, identity: as for :meth:`entry`.
            kind: ``checks`` for spot checks, ``rewrites`` for contests of rewritten graphs.
        """
        with contextlib.suppress(PlanError):
            return read_json(self._file(kind, label, identity, ".json"))
        return None

    def remember(
        self, label: str, identity: Mapping[str, Any], found: Mapping[str, Any], *, kind: str = "checks"
    ) -> None:
        """Keep what was found.

        Raises:
            UsageError: the cache cannot be written.
        """
        write_json(self._file(kind, label, identity, ".json"), dict(found))

    def _file(self, kind: str, label: str, identity: Mapping[str, Any], suffix: str) -> Path:
        folder = self.root / kind
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refusal(error) from error
        return folder / f"{self._name(label, identity)}{suffix}"

    @staticmethod
    def _name(label: str, identity: Mapping[str, Any]) -> str:
        return f"{_UNFIT.sub('_', label)}-{sha256_json(identity)[:_HASH_SHOWN]}"

    def _refusal(self, error: OSError) -> UsageError:
        return UsageError(
            f"The cache folder {self.root} cannot be written: {error.strerror or error}.",
            hint="Set XDG_CACHE_HOME to a folder you may write to, or add --no-cache.",
        )
