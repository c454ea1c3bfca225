"""What a Python function, list or loader yields, taken apart into samples: arrays, mappings of them, Pillow images.

An array with as many dimensions as the model's input is a batch and is taken apart; one with a dimension less is one
sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from calibration import preprocess
from calibration.array_samples import check_fits, convert, match_names
from calibration.image_input import laid_out, layout_of
from calibration.images import UnusableSampleError
from calibration.source import Feeds
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import CalibrationError, TrtkitError, UsageError

__all__ = ["PythonSamples"]


class PythonSamples:
    """Samples in the order in which Python yields them; each iteration calls ``make`` again.

    Args:
        label: what to call the data in errors.
        make: returns an iterable of samples.
        inputs: the model's inputs.
        preprocessing: how Pillow images become input values.
    """

    def __init__(
        self,
        label: str,
        make: Callable[[], Any],
        inputs: Sequence[TensorSpec],
        preprocessing: Preprocessing | None,
    ) -> None:
        self.label, self._make, self._inputs, self._preprocessing = label, make, tuple(inputs), preprocessing

    def __iter__(self) -> Iterator[Feeds | UnusableSampleError]:
        """One pass over the user's data; errors in the user's code are told apart from ours."""
        position = 0
        items = self._items()
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            except TrtkitError:
                raise
            except Exception as error:
                raise CalibrationError(
                    f"{self.label} failed at sample {position}: {type(error).__name__}: {error}",
                    hint="Correct this function; run it by itself first.",
                ) from error
            for sample in self._taken_apart(item, position):
                yield sample
                position += 1

    def _items(self) -> Iterator[Any]:
        made = self._make()
        if not isinstance(made, Iterable) or isinstance(made, str | bytes | Mapping):
            raise CalibrationError(
                f"{self.label} returned {type(made).__name__}, not an iterable of samples.",
                hint="Return a list, a generator, or a data loader.",
            )
        yield from made

    def _taken_apart(self, item: Any, position: int) -> list[Feeds | UnusableSampleError]:
        where = f"{self.label}, sample {position}"
        if isinstance(item, Image.Image):
            if self._preprocessing is None:
                raise UsageError(f"{where} is an image, and nothing says how to prepare it.", hint="Give --preprocess.")
            try:
                layout = layout_of(self._inputs[0], self._preprocessing.layout) or "NCHW"
                item = laid_out(preprocess.apply(self._preprocessing, item), layout)
            except UnusableSampleError as error:
                return [error]
        given = dict(item) if isinstance(item, Mapping) else {self._inputs[0].name: item}
        names = match_names(list(given), self._inputs, where)
        arrays = {spec.name: _as_array(given[names[spec.name]], where) for spec in self._inputs}
        batched = [arrays[spec.name].ndim == len(spec.shape) for spec in self._inputs]
        if all(batched):
            counts = {values.shape[0] for values in arrays.values()}
            if len(counts) != 1:
                raise CalibrationError(f"{where}: batches of different sizes ({counts}).", hint="Make them equal.")
            rows = [{name: values[row] for name, values in arrays.items()} for row in range(counts.pop())]
        else:
            rows = [arrays]
        for row in rows:
            for spec in self._inputs:
                check_fits(spec, row[spec.name].shape, row[spec.name].dtype, where)
        return [{spec.name: convert(spec, row[spec.name], where) for spec in self._inputs} for row in rows]


def _as_array(value: Any, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except Exception as error:
        raise CalibrationError(
            f"{where}: {type(value).__name__} is no array: {error}.", hint="Give NumPy arrays."
        ) from error
    if array.dtype.kind not in "fiub":
        raise CalibrationError(
            f"{where}: {type(value).__name__} is no array of numbers or booleans, but {array.dtype}.",
            hint="Give arrays, mappings from input name to array, or Pillow images.",
        )
    return array
