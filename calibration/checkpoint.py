"""Interrupted calibration goes on where it was: statistics and position in one file, replaced as a whole."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trtkit.artifacts.files import atomic_path
from trtkit.errors import CalibrationError

__all__ = ["SCHEMA", "Checkpoint", "load", "save"]

SCHEMA = 2
"""Version of the layout; another one is refused."""

_META = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """Where a calibration stands.

    Attributes:
        identity: what must be the same for it to go on, for people and by value: hashes of model and data, settings
            (``{"model": "9f86…", "data": "…", "batch size": 8}``). JSON values.
        position: how many samples, in the data's order, are in the statistics.
        state: of :meth:`calibration.collect.Collector.state`.
        seen: of :attr:`calibration.dataset.Dataset.seen`: which samples were left out on the way, and why.
    """

    identity: Mapping[str, Any]
    position: int
    state: Mapping[str, npt.NDArray[Any]] = field(repr=False)
    seen: Mapping[str, Any] = field(default_factory=lambda: {"left_out": {}, "notes": {}})


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write it beside the old one, flush it to the disk, then rename: a kill at any moment leaves one whole file.

    Raises:
        UsageError: the folder cannot be written.
    """
    meta = {
        "schema": SCHEMA,
        "identity": dict(checkpoint.identity),
        "position": checkpoint.position,
        "seen": dict(checkpoint.seen),
    }
    text = json.dumps(meta, allow_nan=False)
    with atomic_path(path) as scratch, scratch.open("wb") as file:
        np.savez(file, **{_META: np.array(text), **checkpoint.state})  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def load(path: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint at ``path``; ``None`` if there is none.

    Raises:
        CalibrationError: it belongs to another model, other data or other settings (each difference is named), or the
            file is damaged.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            state = {name: file[name] for name in file.files}
        meta = json.loads(str(state.pop(_META)))
        schema, found, position, seen = meta["schema"], meta["identity"], meta["position"], meta.get("seen")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CalibrationError(
            f"The checkpoint {path} is damaged: {error}.", hint="Delete it and start the calibration again."
        ) from error
    wanted = json.loads(json.dumps(dict(identity)))
    if schema != SCHEMA:
        found, wanted = {"layout of the file": schema}, {"layout of the file": SCHEMA}
    differences = [
        f"{key}: {_shown(found.get(key))} then, {_shown(wanted.get(key))} now"
        for key in dict.fromkeys([*wanted, *found])
        if found.get(key) != wanted.get(key)
    ]
    if differences:
        raise CalibrationError(
            f"The checkpoint {path} belongs to another calibration. " + "; ".join(differences) + ".",
            hint="Calibrate with the same model, data and settings, or without --resume to start again.",
        )
    return Checkpoint(identity, position, state, seen)


def _shown(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 64 else f"{text[:61]}…"
