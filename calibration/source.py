"""What all kinds of calibration data have in common: the request, the batch, and the protocol of a source."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trtkit.arguments import as_path
from trtkit.errors import UsageError

__all__ = ["Batch", "DataSpec", "Feeds", "Reading", "Source"]

Feeds = dict[str, np.ndarray]
"""Input name → values of one sample, without the batch dimension."""


@dataclass(frozen=True)
class DataSpec:
    """Which data to calibrate with. Exactly one of ``source`` and ``synthetic`` is given.

    Attributes:
        source: a folder of images, a list file, a ``.npy`` or ``.npz`` file, or ``package.module:callable``, as text or
            path; in Python also an array, a mapping from input name to array, an iterable of samples, or a callable
            that returns one. A sample is an array, such a mapping, or a Pillow image.
        synthetic: number of made-up samples; 0 for none.
        root: folder that the names in a list file are relative to; ``None``: the list's own folder.
        limit: use so many samples at most. A folder or an array gives a seeded draw, a list or a callable its first.
        seed: of that draw and of synthetic data.
    """

    source: str | Path | Callable[[], Any] | Iterable[Any] | None = None
    synthetic: int = 0
    root: Path | None = None
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", as_path(self.root))
        if isinstance(self.source, os.PathLike):
            object.__setattr__(self, "source", Path(self.source))
        if (self.source is None) == (self.synthetic == 0):
            raise UsageError(
                "Calibration needs either data or a number of synthetic samples"
                + ("." if self.source is None else ", not both."),
                hint="Give --data FOLDER, or --synthetic 64 if made-up data will do.",
            )
        if self.synthetic < 0 or (self.limit is not None and self.limit < 1):
            raise UsageError(
                f"The number of samples must be positive: synthetic is {self.synthetic}, limit is {self.limit}.",
                hint="Leave the limit out to use all of the data.",
            )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values, for the way into a worker.

        Raises:
            UsageError: the source is a Python object, which has no name in another process; see
                :func:`calibration.staged_samples.staged`.
        """
        if not isinstance(self.source, str | Path | None):
            raise UsageError(
                f"Calibration data of type {type(self.source).__name__} cannot be handed to another process.",
                hint="Put a function that returns the samples into a module and give its name as 'module:function'.",
            )
        return {
            "source": None if self.source is None else str(self.source),
            "synthetic": self.synthetic,
            "root": None if self.root is None else str(self.root),
            "limit": self.limit,
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DataSpec:
        """The inverse of :meth:`to_json`."""
        root = value["root"]
        return cls(
            value["source"], value["synthetic"], None if root is None else Path(root), value["limit"], value["seed"]
        )


@dataclass(frozen=True)
class Batch:
    """Some samples as one set of model inputs.

    Attributes:
        feeds: input name → array whose first dimension counts the samples.
        ids: one readable name a sample: a path relative to the folder, ``row 12``, ``sample 12``.
        indices: of the samples in the data set.
        decoded: whether trtkit itself made the values from pixels, so that range and channel order are as asked for.
    """

    feeds: dict[str, np.ndarray]
    ids: tuple[str, ...]
    indices: tuple[int, ...]
    decoded: bool = False


@dataclass(frozen=True)
class Reading:
    """One sample as it was read.

    Attributes:
        feeds: its values.
        notes: what had to be done to it (``grayscale``), for the count in the description.
    """

    feeds: Feeds
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """One kind of data, opened: every sample has been seen once, and none is kept in memory.

    Attributes:
        kind: ``folder``, ``list``, ``array``, ``callable``, ``iterable`` or ``synthetic``.
        label: where it comes from, for people.
        names: one readable name a sample.
        content_ids: SHA-256 of each sample's content; equal samples have equal ones.
        skipped: name → reason, of what was left out while opening.
        facts: more of what belongs into the description.
        parallel: whether readings may run at the same time, in any order.
        decodes: whether all samples are pixels that went through trtkit's own preprocessing.
    """

    kind: str
    label: str
    names: tuple[str, ...]
    content_ids: tuple[str, ...]
    skipped: dict[str, str]
    facts: dict[str, str]
    parallel: bool
    decodes: bool

    def readings(self, indices: Sequence[int]) -> Iterator[Callable[[], Reading]]:
        """One function a sample, in the order of ``indices`` (increasing), which reads it when called.

        The function raises ``UnusableSampleError`` for a sample that is left out. Without ``parallel`` the functions
        are called one after the other, in order.
        """
