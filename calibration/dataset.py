"""The calibration data set: samples in a fixed order, batches of them read ahead, and the split into two parts."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calibration import split as splitting
from calibration.images import SUFFIXES, UnusableSampleError
from calibration.prefetch import ahead, reading_threads
from calibration.source import Batch, DataSpec, Feeds, Source
from trtkit.artifacts.files import sha256_json
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import CalibrationError, UsageError

__all__ = ["Batch", "DataSpec", "Dataset", "open_dataset"]

_NAMES_SHOWN = 5


class Dataset:
    """Samples of a source, in its order.

    A sample that turns out to be unusable only when it is decoded (a JPEG cut short) is left out of its batch and
    appears in ``skipped`` from then on. It keeps its index, so that numbers and identity stay what they were.

    Attributes:
        names: one readable name a sample.
        content_ids: one SHA-256 a sample; equal content, equal hash.
        skipped: name → reason, of everything that was left out so far.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.names = source.names
        self.content_ids = source.content_ids
        self.skipped: dict[str, str] = dict(source.skipped)
        self._notes: dict[int, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def identity(self) -> str:
        """SHA-256 over the content of all samples, in order: equal for equal data, wherever it lies."""
        return sha256_json(list(self.content_ids))

    @property
    def description(self) -> dict[str, Any]:
        """JSON-ready facts for the calibration table; counts of skipped and converted samples grow as they are read."""
        reasons = Counter(self.skipped.values())
        return {
            "kind": self._source.kind,
            "source": self._source.label,
            "identity": self.identity,
            "samples": len(self),
            "distinct": len(set(self.content_ids)),
            "synthetic": self._source.kind == "synthetic",
            "skipped": dict(sorted(reasons.items())),
            "skipped_examples": dict(sorted(self.skipped.items())[:_NAMES_SHOWN]),
            "converted": dict(sorted(Counter(note for notes in self._notes.values() for note in notes).items())),
            **self._source.facts,
        }

    def split(self, holdout: float, seed: int = 0) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(calibration indices, held-out indices), disjoint by content; see :func:`calibration.split.split`."""
        return splitting.split(self.content_ids, holdout, seed)

    def batches(
        self, indices: Sequence[int] | None = None, batch_size: int = 8, *, threads: int | None = None
    ) -> Iterator[Batch]:
        """The samples as batches, read ahead in the background; memory holds about two batches.

        Batch k covers ``indices[k * batch_size : (k + 1) * batch_size]``. It is smaller where samples were left out and
        at the end; none is empty. Samples of different shapes (dynamic dimensions) never share a batch.

        Args:
            indices: strictly increasing; ``None`` for all.
            batch_size: samples a batch, at least 1.
            threads: that read and decode; ``None`` takes half of the processors, at most 4.

        Raises:
            UsageError: the arguments are out of order or range.
            CalibrationError: the data changed since it was opened, or a callable failed.
        """
        chosen = tuple(range(len(self))) if indices is None else tuple(indices)
        out_of_order = any(left >= right for left, right in itertools.pairwise(chosen))
        if batch_size < 1 or out_of_order or (chosen and not 0 <= chosen[0] <= chosen[-1] < len(self)):
            raise UsageError(
                f"Batches of {batch_size} over {len(chosen)} indices: the size must be positive, and the indices "
                f"strictly increasing and below {len(self)}.",
                hint="Use the indices that Dataset.split returns.",
            )
        return self._batches(chosen, batch_size, threads)

    def _batches(self, indices: tuple[int, ...], batch_size: int, threads: int | None) -> Iterator[Batch]:
        workers = (threads or reading_threads(True)) if self._source.parallel else 1
        results = ahead(self._source.readings(indices), threads=workers, window=batch_size + workers)
        try:
            taken: list[tuple[int, Feeds]] = []
            for count, (index, result) in enumerate(zip(indices, results, strict=True), start=1):
                try:
                    reading = result()
                except UnusableSampleError as error:
                    self.skipped[self.names[index]] = str(error)
                else:
                    if reading.notes:
                        self._notes[index] = reading.notes
                    if taken and _shapes(taken[0][1]) != _shapes(reading.feeds):
                        yield self._stacked(taken)
                        taken = []
                    taken.append((index, reading.feeds))
                if count % batch_size == 0 and taken:
                    yield self._stacked(taken)
                    taken = []
            if taken:
                yield self._stacked(taken)
        finally:
            results.close()  # type: ignore[attr-defined]

    def _stacked(self, taken: list[tuple[int, Feeds]]) -> Batch:
        feeds = {name: np.stack([feeds[name] for _, feeds in taken]) for name in taken[0][1]}
        indices = tuple(index for index, _ in taken)
        return Batch(feeds, tuple(self.names[index] for index in indices), indices, self._source.decodes)


def open_dataset(spec: DataSpec, inputs: tuple[TensorSpec, ...], preprocessing: Preprocessing | None = None) -> Dataset:
    """Open calibration data for a model: every sample is read once (images: their header) and hashed, none is kept.

    Args:
        spec: which data.
        inputs: the model's inputs; the first dimension of each is the batch.
        preprocessing: how images become input values; ``None`` if the model does not say and nobody asked.

    Raises:
        CalibrationError: the data is missing, empty, unreadable, or does not fit the model.
        UsageError: the request makes no sense: no preprocessing for images, an unknown callable.
    """
    dataset = Dataset(_open(spec, inputs, preprocessing))
    if not len(dataset):
        reasons = Counter(dataset.skipped.values()).most_common(_NAMES_SHOWN)
        listed = ", ".join(f"{count} × {reason}" for reason, count in reasons)
        raise CalibrationError(f"{spec.source} holds no usable sample: {listed}.", hint="Give other data.")
    return dataset


def _open(spec: DataSpec, inputs: tuple[TensorSpec, ...], preprocessing: Preprocessing | None) -> Source:
    # Pillow and the zip machinery are loaded by those that need them.
    from calibration import array_source, image_source, iterable_source, synthetic_source

    source = spec.source
    if source is None:
        return synthetic_source.open_synthetic(spec.synthetic, spec.seed, inputs, preprocessing)
    if not isinstance(source, str | Path):
        return iterable_source.open_iterable(source, spec, inputs, preprocessing)
    path = Path(source)
    if path.is_dir():
        return image_source.open_folder(path, spec, inputs, preprocessing)
    if isinstance(source, str) and not path.exists() and re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", source):
        return iterable_source.open_iterable(source, spec, inputs, preprocessing)
    if not path.exists():
        raise CalibrationError(
            f"The calibration data {source} does not exist.",
            hint="Give a folder of images, a list file, a .npy or .npz file, or package.module:callable.",
        )
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        return array_source.open_arrays(path, spec, inputs)
    if suffix in SUFFIXES:
        raise CalibrationError(
            f"{path} is a single image, and one sample is no calibration data.", hint="Give the folder it lies in."
        )
    return image_source.open_list(path, spec, inputs, preprocessing)


def _shapes(feeds: Mapping[str, np.ndarray]) -> tuple[tuple[int, ...], ...]:
    return tuple(values.shape for values in feeds.values())
