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

_REASONS_SHOWN = 5
_EXAMPLES = 3


class Dataset:
    """Samples of a source, in its order.

    A sample that turns out to be unusable only when it is decoded (a JPEG cut short) is left out of its batch and
    appears in ``skipped`` from then on. It keeps its index, so that numbers and identity stay what they were.

    Attributes:
        names: one readable name a sample.
        content_ids: one SHA-256 a sample; equal content, equal hash.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.names = source.names
        self.content_ids = source.content_ids
        self._left_out: dict[int, str] = {}
        self._notes: dict[int, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def identity(self) -> str:
        """SHA-256 over the content of all samples, in order: equal for equal data, wherever it lies."""
        return sha256_json(list(self.content_ids))

    @property
    def skipped(self) -> dict[str, str]:
        """Name → reason, of everything that was left out so far."""
        return {**self._source.skipped, **{self.names[index]: why for index, why in self._left_out.items()}}

    @property
    def seen(self) -> dict[str, Any]:
        """What reading has shown so far, JSON-ready, for another process that goes on: see :meth:`recall`."""
        return {
            "left_out": {str(index): why for index, why in sorted(self._left_out.items())},
            "notes": {str(index): list(notes) for index, notes in sorted(self._notes.items())},
        }

    def recall(self, seen: Mapping[str, Any]) -> None:
        """Take over what :attr:`seen` said, of the same data."""
        self._left_out |= {int(index): why for index, why in seen["left_out"].items()}
        self._notes |= {int(index): tuple(notes) for index, notes in seen["notes"].items()}

    def leave_out(self, indices: Sequence[int], why: str) -> None:
        """Count samples as skipped that could be read but not used."""
        self._left_out |= dict.fromkeys(indices, why)

    def usable(self, indices: Sequence[int]) -> tuple[int, ...]:
        """Those of the samples that nothing speaks against so far."""
        return tuple(index for index in indices if index not in self._left_out)

    def distinct(self, indices: Sequence[int]) -> int:
        """How many of the samples are usable and different: equal ones count once."""
        return len({self.content_ids[index] for index in self.usable(indices)})

    @property
    def description(self) -> dict[str, Any]:
        """JSON-ready facts for the calibration table; what only decoding shows is counted as the samples are read."""
        reasons = Counter(self.skipped.values())
        everything = range(len(self))
        return {
            "kind": self._source.kind,
            "source": self._source.label,
            "identity": self.identity,
            "samples": len(self.usable(everything)),
            "distinct": self.distinct(everything),
            "synthetic": self._source.kind == "synthetic",
            "skipped": dict(sorted(reasons.items())),
            "skipped_examples": dict(_examples(self.skipped)),
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

        Batches are filled in order: unusable samples are left out and do not make a batch smaller. The last one may be
        smaller; none is empty. Samples of different shapes (dynamic dimensions) never share a batch. Going on behind
        the last sample of any batch gives the same batches as never having stopped.

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
            for index, result in zip(indices, results, strict=True):
                try:
                    reading = result()
                except UnusableSampleError as error:
                    self._left_out[index] = str(error)
                    continue
                if reading.notes:
                    self._notes[index] = reading.notes
                if taken and _shapes(taken[0][1]) != _shapes(reading.feeds):
                    yield self._stacked(taken)
                    taken = []
                taken.append((index, reading.feeds))
                if len(taken) == batch_size:
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
        reasons = Counter(dataset.skipped.values()).most_common(_REASONS_SHOWN)
        listed = ", ".join(f"{count} × {reason}" for reason, count in reasons)
        raise CalibrationError(f"{spec.source} holds no usable sample: {listed}.", hint="Give other data.")
    return dataset


def _open(spec: DataSpec, inputs: tuple[TensorSpec, ...], preprocessing: Preprocessing | None) -> Source:
    # Pillow and the zip machinery are loaded by those that need them.
    from calibration import array_source, image_source, iterable_source, staged_samples, synthetic_source

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
    if suffix == staged_samples.SUFFIX:
        return staged_samples.StagedSource(path)
    if suffix in (".npy", ".npz"):
        return array_source.open_arrays(path, spec, inputs)
    if suffix in SUFFIXES:
        raise CalibrationError(
            f"{path} is a single image, and one sample is no calibration data.", hint="Give the folder it lies in."
        )
    return image_source.open_list(path, spec, inputs, preprocessing)


def _examples(skipped: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The first few names for each reason."""
    shown: Counter[str] = Counter()
    for name, why in sorted(skipped.items()):
        shown[why] += 1
        if shown[why] <= _EXAMPLES:
            yield name, why


def _shapes(feeds: Mapping[str, np.ndarray]) -> tuple[tuple[int, ...], ...]:
    return tuple(values.shape for values in feeds.values())
