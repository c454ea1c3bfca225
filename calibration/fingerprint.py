"""Whether data may have changed since the last time, without reading all of it: names, sizes and times of the files."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from calibration.source import DataSpec
from trtkit.artifacts.files import sha256_file, sha256_json
from trtkit.errors import CalibrationError

__all__ = ["fingerprint"]


def fingerprint(spec: DataSpec) -> str:
    """A hash that changes with the data: with each file's name, size and time of change.

    What a Python function returns cannot be told without calling it: its fingerprint is another one each time.
    """
    source = spec.source
    if source is None:
        return sha256_json(["synthetic", spec.synthetic, spec.seed])
    if not isinstance(source, str | Path) or not Path(source).exists():
        return secrets.token_hex(16)
    path = Path(source)
    if path.is_dir():
        return sha256_json(list(_below(path)))
    if path.suffix.lower() in (".npy", ".npz"):
        return sha256_json(_one(path))
    from calibration.image_source import listed_names

    root = spec.root or path.parent
    try:
        names = listed_names(path, root)
    except CalibrationError:  # told when the data are opened
        names = []
    return sha256_json([sha256_file(path), [_one(root / name) for name in names]])


def _below(folder: Path) -> Iterator[list[object]]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            yield _one(Path(parent, file))


def _one(path: Path) -> list[object]:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return [str(path), None]
    return [str(path), found.st_size, found.st_mtime_ns]
