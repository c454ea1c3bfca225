"""Image files as a source: found in a folder or named by a list file, hashed at once, decoded when they are needed."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL

from calibration import preprocess
from calibration.image_input import laid_out, layout_of
from calibration.images import SUFFIXES, UnusableSampleError, decode, probe
from calibration.source import DataSpec, Reading
from trtkit.artifacts.files import sha256_bytes
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import CalibrationError, UsageError

__all__ = ["ImageSource", "listed_names", "open_folder", "open_list"]

_LARGEST_FILE = 128 * 2**20


class ImageSource:
    """Samples are image files; a :class:`calibration.source.Source`."""

    parallel = True
    decodes = True

    def __init__(
        self,
        kind: str,
        label: str,
        root: Path,
        candidates: Iterable[str],
        inputs: Sequence[TensorSpec],
        preprocessing: Preprocessing | None,
        limit: int | None,
    ) -> None:
        self.kind, self.label, self._root = kind, label, root
        self._input, self._layout = _image_input(inputs, preprocessing)
        self._preprocessing = _checked(preprocessing, self._input, self._layout)
        self.skipped: dict[str, str] = {}
        self.facts = {"decoder": f"Pillow {PIL.__version__}"}
        found: dict[str, str] = {}
        for number, name in enumerate(candidates, start=1):
            if limit is not None and len(found) >= limit:
                break
            if name in found:
                self.skipped[f"{name} (again as number {number})"] = "named twice"
                continue
            try:
                data = _read(root / name)
                probe(data)
                found[name] = sha256_bytes(data)
            except UnusableSampleError as error:
                self.skipped[name] = str(error)
        ordered = sorted(found) if kind == "folder" else list(found)
        self.names = tuple(ordered)
        self.content_ids = tuple(found[name] for name in ordered)

    def readings(self, indices: Sequence[int]) -> Iterator[Callable[[], Reading]]:
        """See :class:`calibration.source.Source`."""
        return (functools.partial(self._reading, index) for index in indices)

    def _reading(self, index: int) -> Reading:
        name = self.names[index]
        data = _read(self._root / name)
        if sha256_bytes(data) != self.content_ids[index]:
            raise CalibrationError(
                f"{self._root / name} changed while the calibration was running.",
                hint="Leave the data alone and start again.",
            )
        picture = decode(data, needed=self._preprocessing.resize)
        values = laid_out(preprocess.apply(self._preprocessing, picture), self._layout)
        return Reading({self._input.name: values.astype(self._input.dtype, copy=False)}, picture.notes)


def open_folder(
    folder: Path, spec: DataSpec, inputs: Sequence[TensorSpec], preprocessing: Preprocessing | None
) -> ImageSource:
    """All image files below ``folder``, hidden ones left out; order of their relative paths.

    Raises:
        CalibrationError: no image file is there.
        UsageError: images do not fit the model's inputs, or nobody said how to prepare them.
    """
    names, others = [], 0
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in files:
            if file.startswith("."):
                continue
            if os.path.splitext(file)[1].lower() in SUFFIXES:  # noqa: PTH122 - a Path for each of a million files is slow
                names.append(Path(parent, file).relative_to(folder).as_posix())
            else:
                others += 1
    if not names:
        raise CalibrationError(
            f"The folder {folder} holds no image (files of other kinds: {others}). Images end in "
            f"{', '.join(sorted(SUFFIXES))}.",
            hint="Give a folder of images, a .npy or .npz file, or a list file of image names.",
        )
    # A draw that does not follow the order of names: ImageNet's folders are classes.
    names.sort(key=lambda name: hashlib.sha256(f"{spec.seed}/{name}".encode()).digest() if spec.limit else name)
    return ImageSource("folder", str(folder), folder, names, inputs, preprocessing, spec.limit)


def open_list(
    path: Path, spec: DataSpec, inputs: Sequence[TensorSpec], preprocessing: Preprocessing | None
) -> ImageSource:
    """The images that a list file names, in its order. Names are relative to ``spec.root``, or to the list's folder.

    Raises:
        CalibrationError: the file is no text, names nothing, or none of the files that it names exists.
        UsageError: as for :func:`open_folder`.
    """
    root = spec.root or path.parent
    names = listed_names(path, root)
    source = ImageSource("list", str(path), root, names, inputs, preprocessing, spec.limit)
    if not source.names and set(source.skipped.values()) <= {"file not found", "named twice"}:
        raise CalibrationError(
            f"None of the {len(names)} files that {path} names is in {root}; the first is {names[0]!r}.",
            hint="Give the folder that the names are relative to with --data-root.",
        )
    return source


def listed_names(path: Path, root: Path) -> list[str]:
    """The file names in a list file: one a line.

    MLPerf's calibration lists hold bare names, its ``val_map.txt`` (like Caffe's lists) a name and a class number; the
    number is dropped unless a file of that very name exists. Empty lines and lines that start with ``#`` are left out.

    Raises:
        CalibrationError: the file is not UTF-8 text, or names nothing.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(
            f"{path} cannot be read as a list of images: {error}.",
            hint="Give a text file with one image name a line, a folder, or a .npy or .npz file.",
        ) from error
    names = []
    for line in (line.strip() for line in lines):
        if not line or line.startswith("#"):
            continue
        name, _, number = line.replace("\t", " ").rpartition(" ")
        labelled = bool(name.strip()) and number.lstrip("-").isdecimal() and not (root / line).exists()
        names.append(name.strip() if labelled else line)
    if not names:
        raise CalibrationError(f"{path} names no image.", hint="Write one image name a line.")
    return names


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UnusableSampleError(f"file larger than {_LARGEST_FILE // 2**20} MiB")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UnusableSampleError("file not found") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in a listed name
        reason = error.strerror if isinstance(error, OSError) else None
        raise UnusableSampleError(f"cannot be read ({(reason or 'impossible name').lower()})") from error


def _image_input(inputs: Sequence[TensorSpec], preprocessing: Preprocessing | None) -> tuple[TensorSpec, str]:
    """The model's one image input, and its layout."""
    layout = layout_of(inputs[0], preprocessing.layout if preprocessing else "NCHW") if len(inputs) == 1 else None
    if layout is None:
        raise UsageError(
            "Images fit a model with one input of 4 dimensions and 3 channels; this model takes "
            f"{'; '.join(spec.text for spec in inputs)}.",
            hint="Give the prepared values as a .npy file (one input) or a .npz file (input name → array).",
        )
    return inputs[0], layout


def _checked(preprocessing: Preprocessing | None, spec: TensorSpec, layout: str) -> Preprocessing:
    if preprocessing is None:
        raise UsageError(
            f"Nothing says how images become the model's input ({spec.text}).",
            hint="Give --preprocess imagenet, caffe, none, or a JSON file.",
        )
    sides = spec.shape[1:3] if layout == "NHWC" else spec.shape[2:4]
    if any(isinstance(side, int) and side != crop for side, crop in zip(sides, preprocessing.crop, strict=True)):
        raise UsageError(
            f"The preprocessing crops to {preprocessing.crop[0]}×{preprocessing.crop[1]}, and the model's input is "
            f"{spec.text}.",
            hint="Give --preprocess FILE.json with a crop of the input's height and width.",
        )
    raw = preprocessing.value_range == (0.0, 255.0) and len({*preprocessing.mean, *preprocessing.std}) == 2
    if np.dtype(spec.dtype).kind != "f" and not (spec.dtype == "uint8" and raw):
        raise UsageError(
            f"The preprocessing gives fractions, and the model's input is {spec.text}.",
            hint="For a uint8 input that takes pixels as they are, give --preprocess none.",
        )
    return preprocessing
