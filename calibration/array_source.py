"""``.npy`` and ``.npz`` files as a source: the first dimension counts samples, and no array is ever held as a whole.

An ``.npz`` member lies compressed in a zip archive, which cannot be mapped into memory; its rows are read in order, as
a stream, in every pass. Arrays of Python objects are refused: reading them would run code from the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from calibration.array_samples import check_fits, convert, hash_feeds, match_names
from calibration.source import DataSpec, Feeds, Reading
from trtkit.artifacts.model import TensorSpec
from trtkit.errors import CalibrationError

__all__ = ["ArraySource", "open_arrays"]


@dataclass(frozen=True)
class _Array:
    """One array of the file: its member name ("" for a ``.npy``), and what its header says."""

    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class ArraySource:
    """Samples are rows; a :class:`calibration.source.Source`."""

    kind = "array"
    parallel = False
    decodes = False

    def __init__(self, path: Path, spec: DataSpec, inputs: Sequence[TensorSpec]) -> None:
        self._path, self._inputs, self.label = path, tuple(inputs), str(path)
        self.skipped: dict[str, str] = {}
        self.facts: dict[str, str] = {}
        with _explained(path):
            arrays = _headers(path)
        if list(arrays) == [path.stem] and len(inputs) == 1 and path.suffix.lower() == ".npy":
            arrays = {inputs[0].name: arrays[path.stem]}  # the file's name is not the input's
        names = match_names(list(arrays), inputs, str(path))
        self._arrays = {name: arrays[given] for name, given in names.items()}
        for one in inputs:
            array = self._arrays[one.name]
            if not array.shape:
                raise CalibrationError(f"{path}: the array for {one.text} is a single number.", hint="Save a batch.")
            check_fits(one, array.shape[1:], array.dtype, f"The array for {one.name!r} in {path}")
        counts = {name: array.shape[0] for name, array in self._arrays.items()}
        if len(set(counts.values())) != 1 or not min(counts.values()):
            listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
            raise CalibrationError(
                f"{path} must hold the same positive number of samples for every input; it holds {listed}.",
                hint="The first dimension of every array counts the samples.",
            )
        count = min(counts.values())
        rows = range(count)
        if spec.limit is not None and spec.limit < count:
            drawn = sorted(rows, key=lambda row: hashlib.sha256(f"{spec.seed}/{row}".encode()).digest())
            rows = sorted(drawn[: spec.limit])  # type: ignore[assignment]
        self._rows = tuple(rows)
        self.names = tuple(f"row {row}" for row in self._rows)
        self.content_ids = tuple(hash_feeds(feeds) for feeds in self._read(self._rows))

    def readings(self, indices: Sequence[int]) -> Iterator[Callable[[], Reading]]:
        """See :class:`calibration.source.Source`."""
        stream = self._read([self._rows[index] for index in indices])
        return (partial(self._reading, stream, index) for index in indices)

    def _reading(self, stream: Iterator[Feeds], index: int) -> Reading:
        feeds = next(stream)
        if hash_feeds(feeds) != self.content_ids[index]:
            raise CalibrationError(
                f"{self._path} changed while the calibration was running ({self.names[index]}).",
                hint="Leave the data alone and start again.",
            )
        return Reading(feeds)

    def _read(self, rows: Sequence[int]) -> Iterator[Feeds]:
        with _explained(self._path), contextlib.ExitStack() as stack:
            streams = {one.name: _rows(stack, self._path, self._arrays[one.name], rows) for one in self._inputs}
            for row in rows:
                yield {
                    one.name: convert(one, next(streams[one.name]), f"{self._path}, row {row}") for one in self._inputs
                }


def open_arrays(path: Path, spec: DataSpec, inputs: Sequence[TensorSpec]) -> ArraySource:
    """The rows of a ``.npy`` file (models with one input) or of the arrays in an ``.npz`` file (input name → array).

    Raises:
        CalibrationError: the file is damaged, or its arrays do not fit the inputs.
    """
    return ArraySource(path, spec, inputs)


def _headers(path: Path) -> dict[str, _Array]:
    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            return {path.stem: _header("", file)}
    with zipfile.ZipFile(path) as archive:
        arrays = {}
        for member in archive.namelist():
            with archive.open(member) as stream:
                arrays[member.removesuffix(".npy")] = _header(member, stream)
        return arrays


def _header(member: str, file: IO[bytes]) -> _Array:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"its format version is {version[0]}.{version[1]}, and 1.0 and 2.0 are known")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject or dtype.kind not in "fiub":
        raise ValueError(f"{member or 'the array'} holds {dtype}, and calibration data are numbers or booleans")
    if fortran and len(shape) > 1:
        raise ValueError("its samples are interleaved (Fortran order): save numpy.ascontiguousarray(array)")
    return _Array(member, shape, dtype)


def _rows(stack: contextlib.ExitStack, path: Path, array: _Array, rows: Sequence[int]) -> Iterator[np.ndarray]:
    """The wanted rows (increasing) of one array, read in one go through the file; the file closes with ``stack``."""
    if array.member:
        file: IO[bytes] = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(array.member))
    else:
        file = stack.enter_context(path.open("rb"))
    if (found := _header(array.member, file)) != array:
        raise ValueError(f"its header changed from {array} to {found}")
    return _stream(file, array, rows)


def _stream(file: IO[bytes], array: _Array, rows: Sequence[int]) -> Iterator[np.ndarray]:
    size = array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
    position = 0
    for row in rows:
        file.seek((row - position) * size, 1)
        data = file.read(size)
        if len(data) != size:
            raise ValueError(f"it ends in row {row} of {array.shape[0]}")
        position = row + 1
        yield np.frombuffer(data, array.dtype).reshape(array.shape[1:])


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise CalibrationError(
            f"{path} cannot be read as NumPy data: {error}.",
            hint="Write it with numpy.save (one input) or numpy.savez (several), without pickled objects.",
        ) from error
