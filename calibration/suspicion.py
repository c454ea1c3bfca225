"""Signs that calibration data is not what the network was trained on: wrong range, layout or channel order, no content.

Thresholds taken from such data are wrong without any other symptom than poor accuracy. What cannot be used at all (NaN,
infinity) is an error; everything else is a sentence for people, since odd data may be meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from calibration.image_input import layout_of
from calibration.source import Batch
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import CalibrationError
from trtkit.graph.input_normalization import InputNormalization

__all__ = ["colour_of", "contradictions", "suspect"]

_NAMES_SHOWN = 3
_FEWEST_FOR_COLOUR = 16
_CERTAIN = 4.0
"""Standard errors of the mean from which on a difference is taken for real."""


def suspect(
    batches: Iterable[Batch], inputs: TensorSpec | Sequence[TensorSpec], preprocessing: Preprocessing | None = None
) -> list[str]:
    """What looks wrong in the first batches, one sentence each; empty if nothing does.

    Args:
        batches: a few, of some dozens of samples in all.
        inputs: the model's inputs, or one of them.
        preprocessing: what the model was trained with, if that is known; its range is what values are held against.

    Raises:
        CalibrationError: a value is NaN or infinite; tensor and sample are named.
    """
    looked_at = list(batches)
    warnings: list[str] = []
    for spec in (inputs,) if isinstance(inputs, TensorSpec) else inputs:
        warnings += _suspect_input(looked_at, spec, preprocessing)
    return warnings


def contradictions(found: InputNormalization, preprocessing: Preprocessing) -> list[str]:
    """Where a preprocessing contradicts what the model itself does to its input, one sentence each.

    Args:
        found: the mean that the model subtracts.
        preprocessing: what images go through before they reach the model.
    """
    mean = ", ".join(f"{value:.4g}" for value in found.mean)
    does = f"the model itself subtracts ({mean}) from its input, in {found.node!r}"
    warnings = []
    low, high = preprocessing.value_range
    top = found.highest
    if top is not None and not (-0.02 * top <= low and 0.5 * top <= high <= 1.05 * top):
        way_out = "--preprocess none" if top == 255 else "a JSON file with mean 0, std 1 and scale 0.00392157"
        warnings.append(
            f"{does}: so it takes pixels from 0 to {top:g}, and the preprocessing hands it {low:.4g} to {high:.4g}. "
            f"{way_out} gives it what it seems to want."
        )
    if found.channel_order is not None and found.channel_order != preprocessing.channel_order:
        warnings.append(
            f"{does}: that is ImageNet's mean in the order {found.channel_order}, and the preprocessing hands it "
            f"{preprocessing.channel_order}."
        )
    return warnings


def colour_of(samples: npt.NDArray[np.float64]) -> str | None:
    """The order that the channels of photographs [N, 3, H, W] seem to have: ``RGB``, ``BGR``, or ``None`` if unclear.

    In photographs red is brighter than blue on average (ImageNet's means: 124, 117, 104 of 255), though not in each of
    them. The order counts as seen when over at least 16 samples the mean difference between the outer channels is more
    than four standard errors from zero, and the middle channel lies between them.
    """
    if len(samples) < _FEWEST_FOR_COLOUR:
        return None
    first, middle, last = samples.mean(axis=(2, 3)).T
    difference = first - last
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    ordered = min(first.mean(), last.mean()) <= middle.mean() <= max(first.mean(), last.mean())
    if not ordered or abs(difference.mean()) <= _CERTAIN * error:
        return None
    return "RGB" if difference.mean() > 0 else "BGR"


def _suspect_input(batches: Sequence[Batch], spec: TensorSpec, preprocessing: Preprocessing | None) -> list[str]:
    low, high = np.inf, -np.inf
    whole = True
    flat: list[str] = []
    ids: list[str] = []
    contents: set[bytes] = set()
    for batch in batches:
        values = batch.feeds[spec.name]
        for sample, name in zip(values, batch.ids, strict=True):
            ids.append(name)
            contents.add(sample.tobytes())
            if sample.size > 1 and sample.min() == sample.max():
                flat.append(name)
        if values.dtype.kind == "f":
            _check_finite(values, spec, batch.ids)
            low, high = min(low, float(values.min(initial=np.inf))), max(high, float(values.max(initial=-np.inf)))
            whole = whole and bool(np.all(values == np.rint(values)))
    found = []
    if flat:
        found.append(
            f"{spec.name}: {len(flat)} of {len(ids)} samples hold one and the same value everywhere ({_few(flat)}): "
            "such a sample teaches nothing about ranges."
        )
    if len(ids) > 1 and len(contents) == 1:
        found.append(f"{spec.name}: all of the first {len(ids)} samples are equal: calibration needs variety.")
    if np.dtype(spec.dtype).kind != "f" or not ids:
        return found
    # Constant samples are already reported, and have no telling range.
    if len(flat) < len(ids):
        found += _range(spec, low, high, whole, preprocessing)
    if len(spec.shape) == 4:
        if preprocessing is None or preprocessing.layout == "NCHW":
            found += _layout(spec, batches)
        found += _colour(spec, batches, preprocessing)
    return found


def _check_finite(values: np.ndarray, spec: TensorSpec, ids: Sequence[str]) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    bad = [index for index in range(len(values)) if not finite[index].all()]
    what = "NaN" if np.isnan(values[bad[0]]).any() else "infinity"
    raise CalibrationError(
        f"The input {spec.name!r} holds {what} in {ids[bad[0]]} ({len(bad)} of {len(values)} samples of this batch are "
        "not finite).",
        hint="Remove or repair these samples.",
    )


def _range(spec: TensorSpec, low: float, high: float, whole: bool, preprocessing: Preprocessing | None) -> list[str]:
    seen = f"{spec.name}: values run from {low:.4g} to {high:.4g}"
    pixels = low >= 0 and 2 < high <= 255 and whole
    if preprocessing is None:
        if not pixels or len(spec.shape) != 4:
            return []
        return [f"{seen}, all whole numbers: these look like raw 8-bit pixels. Is that what the model was trained on?"]
    expected_low, expected_high = preprocessing.value_range
    span = expected_high - expected_low
    expected = f"the model's preprocessing gives {expected_low:.4g} to {expected_high:.4g}"
    if low < expected_low - 0.01 * span or high > expected_high + 0.01 * span:
        reason = "these look like raw pixels 0..255" if pixels and high > 20 else "they were prepared in another way"
        return [f"{seen}, and {expected}: {reason}."]
    if high - low < 0.05 * span:
        return [f"{seen}, and {expected}: less than a twentieth of it is used. Were pixels scaled to 0..1 on the way?"]
    if low >= 0 and expected_low < -0.1 * span and not pixels and high <= 1:
        return [f"{seen}, and {expected}: these look like pixels scaled to 0..1, without mean and std."]
    return []


def _layout(spec: TensorSpec, batches: Sequence[Batch]) -> list[str]:
    """Channels last where the model's shape does not say what it wants, so that no shape check can see it."""
    shape = batches[0].feeds[spec.name].shape
    free = isinstance(spec.shape[1], str) and isinstance(spec.shape[3], str)
    if free and shape[3] in (1, 3, 4) and shape[1] > 4 and shape[2] > 4:
        return [
            f"{spec.name}: samples are {'×'.join(map(str, shape[1:]))}, which looks like channels last; ONNX "
            "convolutions take channels first."
        ]
    return []


def _colour(spec: TensorSpec, batches: Sequence[Batch], preprocessing: Preprocessing | None) -> list[str]:
    # Of images that trtkit decoded the order is known, and a folder full of sea and sky is no mistake.
    if preprocessing is None or all(batch.decoded for batch in batches):
        return []
    first = [batch.feeds[spec.name] for batch in batches]
    if layout_of(spec, preprocessing.layout) == "NHWC":
        first = [values.transpose(0, 3, 1, 2) for values in first]
    same = [values for values in first if values.shape[1:] == (3, *first[0].shape[2:])]
    if not same:
        return []
    mean = np.array(preprocessing.mean).reshape(3, 1, 1)
    std = np.array(preprocessing.std).reshape(3, 1, 1)
    pixels = np.concatenate([values[:, :, ::8, ::8] for values in same]).astype(np.float64)
    seen = colour_of(pixels / preprocessing.scale * std + mean)
    if seen is None or seen == preprocessing.channel_order:
        return []
    outer = ("first", "last") if seen == "RGB" else ("last", "first")
    return [
        f"{spec.name}: the {outer[0]} channel is clearly brighter than the {outer[1]}, as red is brighter than blue in "
        f"photographs, so the channels seem to be {seen}; the model's preprocessing says {preprocessing.channel_order}."
    ]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
