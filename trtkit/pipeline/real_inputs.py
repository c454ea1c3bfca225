"""A file with one batch of real inputs, held against the model before anything is done with it."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trtkit.artifacts.model import TensorSpec
from trtkit.errors import UsageError

__all__ = ["check_real_inputs"]


def check_real_inputs(data: Path, inputs: Sequence[TensorSpec]) -> None:
    """Refuse a file that the model cannot be run on.

    Args:
        data: an .npz file with an array for every input, under its name.
        inputs: of the model.

    Raises:
        UsageError: saying what does not fit, and what would.
    """
    allowed = f"The model takes {'; '.join(spec.text for spec in inputs)}."
    hint = "Save one array for every input with numpy.savez, under its name, in its type and shape."
    try:
        with np.load(data) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        # Of an .npy file NumPy gives an array, which is no context manager and has no names.
        raise UsageError(f"--data {data} cannot be read as an .npz file of arrays. {allowed}", hint=hint) from error
    wrong = [f"it has no array {spec.name}" for spec in inputs if spec.name not in arrays]
    wrong += [f"the model has no input {name}" for name in arrays if name not in {spec.name for spec in inputs}]
    sizes: dict[str, int] = {}
    for spec in inputs:
        if spec.name in arrays:
            wrong += _unfit(spec, arrays[spec.name], sizes)
    if wrong:
        raise UsageError(f"--data {data} does not fit: {'; '.join(wrong)}. {allowed}", hint=hint)


def _unfit(spec: TensorSpec, values: np.ndarray, sizes: dict[str, int]) -> list[str]:
    """What is wrong with one array; ``sizes`` collects those of the named dimensions."""
    wrong = []
    if values.dtype.name != spec.dtype:
        wrong.append(f"{spec.name} is {values.dtype.name}, not {spec.dtype}")
    fits = len(values.shape) == len(spec.shape) and values.size > 0
    for size, dim in zip(values.shape, spec.shape, strict=False):
        fits &= size == (sizes.setdefault(dim, size) if isinstance(dim, str) else dim)
    if not fits:
        wrong.append(f"{spec.name} has the shape {'×'.join(map(str, values.shape)) or 'of a scalar'}")
    return wrong
