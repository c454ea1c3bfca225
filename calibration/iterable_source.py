"""Python data as a source: a callable that returns an iterable of samples, or a list of them.

Each item is what :mod:`calibration.python_samples` takes. Nothing is kept: every pass calls the callable again, and a
pass that brings other samples than the first one is an error.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from calibration.array_samples import hash_feeds
from calibration.images import UnusableSampleError
from calibration.python_samples import PythonSamples
from calibration.source import DataSpec, Feeds, Reading
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import CalibrationError, UsageError

__all__ = ["IterableSource", "load_callable", "open_iterable"]


class IterableSource:
    """Samples come out of Python; a :class:`calibration.source.Source`."""

    kind = "callable"
    parallel = False
    decodes = False

    def __init__(
        self,
        label: str,
        make: Callable[[], Any],
        inputs: Sequence[TensorSpec],
        preprocessing: Preprocessing | None,
        limit: int | None,
    ) -> None:
        self.label = label
        self._samples = PythonSamples(label, make, inputs, preprocessing)
        self.skipped: dict[str, str] = {}
        self.facts: dict[str, str] = {}
        self._positions: list[int] = []
        content = []
        for position, feeds in enumerate(self._samples):
            if isinstance(feeds, UnusableSampleError):
                self.skipped[f"sample {position}"] = str(feeds)
                continue
            self._positions.append(position)
            content.append(hash_feeds(feeds))
            if len(content) == limit:
                break
        if not content:
            raise CalibrationError(
                f"{label} gave no usable sample ({len(self.skipped)} were left out).",
                hint="Return an iterable of arrays, of mappings from input name to array, or of Pillow images.",
            )
        self.names = tuple(f"sample {position}" for position in self._positions)
        self.content_ids = tuple(content)

    def readings(self, indices: Sequence[int]) -> Iterator[Callable[[], Reading]]:
        """See :class:`calibration.source.Source`."""
        stream = self._chosen(indices)
        return (partial(self._reading, stream, index) for index in indices)

    def _reading(self, stream: Iterator[Feeds], index: int) -> Reading:
        feeds = next(stream, None)
        if feeds is None or hash_feeds(feeds) != self.content_ids[index]:
            raise CalibrationError(
                f"{self.label} gave another {self.names[index]} than the time before.",
                hint="Return the same samples in the same order every time: fix the seed, switch shuffling off.",
            )
        return Reading(feeds)

    def _chosen(self, indices: Sequence[int]) -> Iterator[Feeds]:
        wanted = iter([self._positions[index] for index in indices])
        position = next(wanted, None)
        for at, feeds in enumerate(self._samples):
            if at != position:
                continue
            if isinstance(feeds, UnusableSampleError):
                return
            yield feeds
            if (position := next(wanted, None)) is None:
                return


def open_iterable(
    source: Callable[[], Any] | Iterable[Any] | str,
    spec: DataSpec,
    inputs: Sequence[TensorSpec],
    preprocessing: Preprocessing | None,
) -> IterableSource:
    """Samples of a callable, of ``package.module:callable``, or of a list.

    Raises:
        CalibrationError: the callable failed, or its samples do not fit the inputs.
        UsageError: there is no such callable, or a one-shot iterator was given.
    """
    if isinstance(source, str):
        return IterableSource(source, load_callable(source), inputs, preprocessing, spec.limit)
    if callable(source):
        label = getattr(source, "__qualname__", type(source).__name__)
        return IterableSource(label, source, inputs, preprocessing, spec.limit)
    if isinstance(source, Iterator) or not isinstance(source, Iterable):
        raise UsageError(
            f"Calibration data of type {type(source).__name__} can be gone through only once, if at all.",
            hint="Give a function that returns a new iterator each time it is called, or a list.",
        )
    return IterableSource(f"a {type(source).__name__} of samples", lambda: source, inputs, preprocessing, spec.limit)


def load_callable(name: str) -> Callable[[], Any]:
    """Import ``package.module:callable``; the current folder is searched too.

    Raises:
        UsageError: the module or the name in it does not exist, or is not callable.
        CalibrationError: importing the module failed.
    """
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    searched = here not in sys.path and "" not in sys.path
    if searched:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"There is no module {error.name!r}, needed for the calibration data {name!r}.",
            hint="Give package.module:callable, importable from the current folder.",
        ) from error
    except Exception as error:
        raise CalibrationError(
            f"Importing {module_name} failed: {type(error).__name__}: {error}", hint="Correct this module."
        ) from error
    finally:
        if searched:
            sys.path.remove(here)
    value: Any = module
    for part in attribute.split("."):
        value = getattr(value, part, None)
    if not callable(value):
        raise UsageError(
            f"{module_name} has no callable {attribute!r}.",
            hint="Give the name of a function that takes nothing and returns an iterable of samples.",
        )
    result: Callable[[], Any] = value
    return result
