"""Made-up samples as a source, labelled so wherever they are used: thresholds from them say little about real data.

With a preprocessing and an image input: smooth random colours with noise on top, as 8-bit pixels, through the same
normalisation as photographs. Without: the values of :class:`trtkit.artifacts.samples.SamplePlan` (normal floats of
standard deviation 1, integers 0…15, fair booleans). A sample depends on seed and index only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from PIL import Image

from calibration import preprocess
from calibration.image_input import laid_out, layout_of
from calibration.source import Feeds, Reading
from trtkit.artifacts.files import sha256_json
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.artifacts.samples import SampleCase, SamplePlan
from trtkit.errors import UsageError

__all__ = ["SyntheticSource", "open_synthetic"]


class SyntheticSource:
    """Samples are drawn; a :class:`calibration.source.Source`."""

    kind = "synthetic"
    parallel = True
    decodes = True

    def __init__(
        self, count: int, seed: int, inputs: Sequence[TensorSpec], preprocessing: Preprocessing | None
    ) -> None:
        self._seed, self._inputs = seed, tuple(inputs)
        self.label = f"{count} synthetic samples, seed {seed}"
        self.skipped: dict[str, str] = {}
        self.facts: dict[str, str] = {}
        self.names = tuple(f"synthetic {index}" for index in range(count))
        self._preprocessing = preprocessing if preprocessing and _is_image(self._inputs, preprocessing) else None
        if self._preprocessing is None:
            _check_fixed(self._inputs)
        recipe = {
            "inputs": [[spec.name, spec.dtype, [str(dim) for dim in spec.shape[1:]]] for spec in self._inputs],
            "preprocessing": self._preprocessing.to_json() if self._preprocessing else None,
            "seed": seed,
        }
        # The recipe stands for the values: hashing those would mean drawing everything twice.
        self.content_ids = tuple(sha256_json({**recipe, "index": index}) for index in range(count))

    def readings(self, indices: Sequence[int]) -> Iterator[Callable[[], Reading]]:
        """See :class:`calibration.source.Source`."""
        return (partial(self._reading, index) for index in indices)

    def _reading(self, index: int) -> Reading:
        return Reading(self._image(index) if self._preprocessing else self._plain(index))

    def _image(self, index: int) -> Feeds:
        assert self._preprocessing is not None
        height, width = self._preprocessing.crop
        rng = np.random.default_rng([self._seed, index])
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        noisy = smooth + 12 * rng.standard_normal(smooth.shape, np.float32)
        values = preprocess.normalise(self._preprocessing, noisy.clip(0, 255).astype(np.uint8))
        spec = self._inputs[0]
        values = laid_out(values, layout_of(spec, self._preprocessing.layout) or "NCHW")
        return {spec.name: values.astype(spec.dtype, copy=False)}

    def _plain(self, index: int) -> Feeds:
        shapes = {spec.name: tuple(dim for dim in spec.shape[1:] if isinstance(dim, int)) for spec in self._inputs}
        case = SampleCase(f"sample {index}", shapes)
        plan = SamplePlan(int(sha256_json([self._seed, index])[:12], 16), self._inputs, 1.0, (case,))
        return plan.feeds(case)


def open_synthetic(
    count: int, seed: int, inputs: Sequence[TensorSpec], preprocessing: Preprocessing | None
) -> SyntheticSource:
    """``count`` made-up samples.

    Raises:
        UsageError: an input has a dynamic dimension besides the batch that no preprocessing fixes.
    """
    return SyntheticSource(count, seed, inputs, preprocessing)


def _is_image(inputs: Sequence[TensorSpec], preprocessing: Preprocessing) -> bool:
    if len(inputs) != 1 or len(shape := inputs[0].shape) != 4 or np.dtype(inputs[0].dtype).kind not in "fu":
        return False
    for wanted in ((3, *preprocessing.crop), (*preprocessing.crop, 3)):
        if all(isinstance(dim, str) or dim == side for dim, side in zip(shape[1:], wanted, strict=True)):
            return True
    return False


def _check_fixed(inputs: Sequence[TensorSpec]) -> None:
    for spec in inputs:
        if not spec.shape:
            raise UsageError(
                f"The input {spec.text} has no batch dimension, and samples come in batches: there is none to make up.",
                hint="Make this input a constant of the model, if it always has the same value.",
            )
        if any(isinstance(dim, str) for dim in spec.shape[1:]):
            raise UsageError(
                f"Synthetic data for the input {spec.text} need a fixed size in every dimension but the first.",
                hint="Give real data, or a --preprocess whose crop says the size.",
            )
