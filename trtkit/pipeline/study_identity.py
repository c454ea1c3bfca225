"""What a study's inputs hold: model files and calibration data, so that another content is not taken for the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from trtkit.artifacts.files import sha256_file
from trtkit.errors import ModelError
from trtkit.graph import io

__all__ = ["data_content", "source_sha256"]

_READ_BYTES = 1 << 30
"""Data up to this size is read; of more, names, sizes and times of change stand for the content."""


def source_sha256(model: str) -> str:
    """SHA-256 of a model file, external data included; of its own bytes alone where that data cannot be found."""
    try:
        return io.sha256_of(Path(model))
    except ModelError:  # the conversion says what is wrong with it
        return sha256_file(Path(model))


def data_content(data: Path | None, *, read_bytes: int = _READ_BYTES) -> str | None:
    """A digest of the files at ``data``; ``None`` where there are none: no data was given, or a function makes it.

    Args:
        data: a file or a folder.
        read_bytes: files of more than this together are told apart by name, size and time of change.
    """
    if data is None or not data.exists():
        return None
    files = [(name, path, path.stat()) for name, path in _files(data)]
    read = sum(found.st_size for _, _, found in files) <= read_bytes
    digest = hashlib.sha256()
    for name, path, found in files:
        content = sha256_file(path) if read else str(found.st_mtime_ns)
        digest.update(f"{name}\0{found.st_size}\0{content}\n".encode(errors="surrogateescape"))
    return f"{len(files):,} {'file' if len(files) == 1 else 'files'}, digest {digest.hexdigest()}"


def _files(data: Path) -> Iterator[tuple[str, Path]]:
    if data.is_file():
        yield data.name, data
        return
    for path in sorted(data.rglob("*")):
        if path.is_file():
            yield path.relative_to(data).as_posix(), path
