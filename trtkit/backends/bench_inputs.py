"""The inputs of a benchmark: random samples, or those of a file, in sets that are fed in turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.samples import SampleCase, SamplePlan
from trtkit.backends.repeated import Repeated, Samples
from trtkit.errors import UsageError

__all__ = ["input_sets"]

_MOST_SETS = 8
_CACHES = 4  # sets in rotation exceed this many times the last cache, or are _MOST_SETS
_GPU_CACHE_BYTES = 64 << 20  # more than any but the newest have; a family that knows better takes fewer of the sets
_DRAWN_BYTES = 64 << 20


def input_sets(
    inputs: Sequence[TensorSpec], settings: BenchSettings, std: float, data: Path | None, device: Device
) -> list[dict[str, Samples]]:
    """The input sets that are rotated: consecutive samples, seeded and random or of a file, from the start again.

    Without ``settings.buffers`` there are as many as exceed four times the last cache, at most 8, so that inputs are
    read from memory, as in production. Random samples fill 64 MiB, or less where the sets hold less: drawing all of a
    large batch takes longer than measuring it. On a GPU the rows of such a batch are not even written out: the device
    repeats them.

    Args:
        inputs: of the runner; its types are what is made.
        settings: batch, shapes, buffers and seed.
        std: standard deviation of synthetic floating-point inputs.
        data: .npz with an array for each input, or .npy for a single one; samples along axis 0.
        device: where it will run.

    Raises:
        UsageError: the data does not fit the inputs.
    """
    size = sum(math.prod(settings.shapes[spec.name]) * np.dtype(spec.dtype).itemsize for spec in inputs)
    cache = _GPU_CACHE_BYTES if device.kind == "cuda" else _last_cache_bytes()
    count = settings.buffers or min(max(math.ceil(_CACHES * cache / max(size, 1)), 1), _MOST_SETS)
    samples = _drawn(inputs, settings, std, count) if data is None else _read(data, inputs, settings)
    return [
        {
            spec.name: _rows(samples[spec.name], index, settings.shapes[spec.name], spec, device.kind == "cuda")
            for spec in inputs
        }
        for index in range(count)
    ]


def _read(data: Path, inputs: Sequence[TensorSpec], settings: BenchSettings) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(data)
        arrays = {inputs[0].name: loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UsageError(
            f"{data.name} cannot be read as NumPy data: {error}.", hint="Give a .npz or .npy file."
        ) from error
    missing = [spec.name for spec in inputs if spec.name not in arrays]
    if missing:
        raise UsageError(
            f"{data.name} has no array for input {', '.join(missing)}; it has {', '.join(arrays)}.",
            hint="Save one array for each input, under its name.",
        )
    for spec in inputs:
        samples, shape = arrays[spec.name], settings.shapes[spec.name]
        if (why := _loses(samples, spec.dtype)) is not None:
            raise UsageError(
                f"{data.name} has {samples.dtype} for input {spec.name}, which takes {spec.dtype}: {why}.",
                hint="Prepare the data in the type of the input.",
            )
        if samples.shape[1:] != shape[1:] or not len(samples):
            raise UsageError(
                f"{data.name} has samples of shape {samples.shape[1:]}; input {spec.name} takes {shape[1:]}.",
                hint="Prepare the data in the shape of the input.",
            )
    return arrays


def _loses(samples: np.ndarray, dtype: str) -> str | None:
    """Why values do not fit a type: another kind of number, or out of its range; ``None`` where they do."""
    wanted = np.dtype(dtype)
    if np.can_cast(samples.dtype, wanted, "same_kind"):
        return None
    if samples.dtype.kind not in "biu" or wanted.kind not in "iu":
        return "that is another kind of number"
    low, high = np.iinfo(wanted).min, np.iinfo(wanted).max
    if samples.size and (samples.min() < low or samples.max() > high):
        return f"there are values outside of {low} to {high}"
    return None


def _drawn(inputs: Sequence[TensorSpec], settings: BenchSettings, std: float, count: int) -> dict[str, np.ndarray]:
    """Random samples for each input: enough for all sets, or as many as fill 64 MiB."""
    shapes: dict[str, tuple[int, ...]] = {}
    for spec in inputs:
        first, *rest = settings.shapes[spec.name] or (1,)
        row = max(math.prod(rest) * np.dtype(spec.dtype).itemsize, 1)
        shapes[spec.name] = (min(count * first, max(_DRAWN_BYTES // row, 1)), *rest)
    case = SampleCase("all sets", shapes)
    return SamplePlan(settings.seed, tuple(inputs), std, (case,)).feeds(case)


def _rows(samples: np.ndarray, index: int, shape: tuple[int, ...], spec: TensorSpec, may_repeat: bool) -> Samples:
    """The samples of a set, around from the start where they come to their end."""
    first = shape[0] if shape else 1
    start = index * first % len(samples)
    if start + first <= len(samples):
        picked = samples[start : start + first]
    elif may_repeat and len(samples) < first:
        return Repeated(np.roll(samples, -start, axis=0).astype(spec.dtype, copy=False), first)
    else:
        picked = samples[np.arange(start, start + first) % len(samples)]
    made: np.ndarray = np.array(picked, spec.dtype, order="C").reshape(shape)  # its own memory, beyond every cache
    return made


def _last_cache_bytes() -> int:
    """The largest cache of processor 0 in bytes; 32 MiB where the system does not tell."""
    sizes = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        if text.endswith("K") and text[:-1].isdigit():
            sizes.append(int(text[:-1]) << 10)
    return max(sizes, default=32 << 20)
