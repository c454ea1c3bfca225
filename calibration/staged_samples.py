"""Samples of Python objects, written to a file: a worker process cannot be handed a generator, but it can read a file.

The file is a zip archive that is not compressed: one ``.npy`` member for each sample and input, and ``index.json``.
It is written sample by sample, in one pass, so that memory does not grow and an iterator that can be gone through only
once will do; samples may differ in shape. Nothing in it is pickled.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from calibration.array_samples import hash_feeds
from calibration.images import UnusableSampleError
from calibration.source import DataSpec, Reading
from trtkit.artifacts.files import sha256_json
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import CalibrationError, UsageError

__all__ = ["SUFFIX", "StagedSource", "staged"]

SUFFIX = ".samples"
_INDEX = "index.json"
_HASH_SHOWN = 12


class StagedSource:
    """Samples that :func:`staged` wrote; a :class:`calibration.source.Source`."""

    parallel = False
    decodes = False

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
            index = json.loads(self._archive.read(_INDEX))
            self.kind, self.label, self._inputs = str(index["kind"]), str(index["label"]), tuple(index["inputs"])
            self.names, self.content_ids = tuple(index["names"]), tuple(index["content_ids"])
            self.skipped: dict[str, str] = dict(index["skipped"])
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise CalibrationError(
                f"{path} holds no samples that trtkit wrote: {error}.", hint="Give the data themselves."
            ) from error
        self.facts: dict[str, str] = {}

    def readings(self, indices: Sequence[int]) -> Iterator[Callable[[], Reading]]:
        """See :class:`calibration.source.Source`."""
        return (partial(self._reading, index) for index in indices)

    def _reading(self, index: int) -> Reading:
        feeds = {}
        for position, name in enumerate(self._inputs):
            with self._archive.open(_member(index, position)) as stream:
                feeds[name] = np.lib.format.read_array(stream, allow_pickle=False)
        return Reading(feeds)


def staged(spec: DataSpec, folder: Path, inputs: Sequence[TensorSpec], preprocessing: Preprocessing | None) -> DataSpec:
    """The same data as something that has a name in another process; a Python object's samples go to a file.

    Args:
        spec: which data. One with a path, a ``module:function`` or made-up samples is returned as it is.
        folder: an existing folder for the file.
        inputs: the model's inputs.
        preprocessing: how Pillow images become input values.

    Raises:
        CalibrationError: the object failed, has no samples, or they do not fit the inputs.
        UsageError: it is nothing that can be gone through.
    """
    source = spec.source
    if source is None or isinstance(source, str | Path):
        return spec
    kind, label, make = _described(source)
    path = folder / f"python{SUFFIX}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        index = _write(archive, label, make, inputs, preprocessing, spec.limit)
        shown = f"{label}, {len(index['names'])} samples, SHA-256 {sha256_json(index['content_ids'])[:_HASH_SHOWN]}…"
        archive.writestr(_INDEX, json.dumps({"kind": kind, "label": shown, **index}))
    return replace(spec, source=str(path.absolute()), limit=None)


def _write(
    archive: zipfile.ZipFile,
    label: str,
    make: Callable[[], Any],
    inputs: Sequence[TensorSpec],
    preprocessing: Preprocessing | None,
    limit: int | None,
) -> dict[str, Any]:
    from calibration.python_samples import PythonSamples

    names: list[str] = []
    content_ids: list[str] = []
    skipped: dict[str, str] = {}
    for number, feeds in enumerate(PythonSamples(label, make, inputs, preprocessing)):
        if isinstance(feeds, UnusableSampleError):
            skipped[f"sample {number}"] = str(feeds)
            continue
        _append(archive, len(names), [feeds[spec.name] for spec in inputs])
        names.append(f"sample {number}")
        content_ids.append(hash_feeds(feeds))
        if len(names) == limit:
            break
    if not names:
        raise CalibrationError(
            f"{label} gave no usable sample ({len(skipped)} were left out).",
            hint="Give an iterable of arrays, of mappings from input name to array, or of Pillow images; an iterator "
            "that was gone through before is empty.",
        )
    order = [spec.name for spec in inputs]
    return {"inputs": order, "names": names, "content_ids": content_ids, "skipped": skipped}


def _append(archive: zipfile.ZipFile, index: int, arrays: Sequence[np.ndarray]) -> None:
    for position, values in enumerate(arrays):
        with archive.open(_member(index, position), "w", force_zip64=True) as stream:
            np.lib.format.write_array(stream, np.ascontiguousarray(values), allow_pickle=False)


def _described(source: Any) -> tuple[str, str, Callable[[], Any]]:
    """Kind, a text for people, and what returns the iterable."""
    if isinstance(source, np.ndarray):
        return "array", f"a NumPy array {'×'.join(map(str, source.shape))} {source.dtype}", lambda: source
    if isinstance(source, Mapping):
        return "array", f"a mapping of {', '.join(map(str, source))} to arrays", lambda: [source]
    if callable(source):
        return "callable", str(getattr(source, "__qualname__", type(source).__name__)), source
    if isinstance(source, Iterable):
        return "iterable", f"a {type(source).__name__} of samples", lambda: source
    raise UsageError(
        f"Calibration data of type {type(source).__name__} cannot be gone through.",
        hint="Give an array, an iterable of samples, or a function that returns one.",
    )


def _member(index: int, position: int) -> str:
    return f"{index:06}/{position}.npy"
