"""Whether an array fits a model input (shape, channel layout, element type), and how other types are brought in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trtkit.artifacts.model import Dim, TensorSpec
from trtkit.errors import CalibrationError

__all__ = ["UNNAMED", "check_fits", "convert", "hash_feeds", "match_names"]

UNNAMED = "arr_0"
"""What ``numpy.savez`` calls an array that it is given without a name."""


def match_names(given: Sequence[str], inputs: Sequence[TensorSpec], where: str) -> dict[str, str]:
    """Input name → name of the array for it. One array for one input may have no name: NumPy calls it ``arr_0`` then.

    Raises:
        CalibrationError: the names differ.
    """
    wanted = [spec.name for spec in inputs]
    if len(given) == len(wanted) == 1 and given[0] in (UNNAMED, wanted[0]):
        return {wanted[0]: given[0]}
    if set(given) != set(wanted):
        raise CalibrationError(
            f"{where} holds {', '.join(given) or 'nothing'}, and the model's inputs are {', '.join(wanted)}.",
            hint="Give one array for each input, under its name"
            + (f", or a single one without a name ({UNNAMED})." if len(wanted) == 1 else "."),
        )
    return {name: name for name in wanted}


def check_fits(spec: TensorSpec, shape: Sequence[int], dtype: np.dtype[Any], where: str) -> None:
    """Refuse samples (``shape`` is one sample's, without the batch) that the input cannot take.

    Raises:
        CalibrationError: the shape or the type does not fit; channels last instead of first is named as such.
    """
    wanted = spec.shape[1:]
    if not spec.shape:
        raise CalibrationError(
            f"The model's input {spec.text} has no batch dimension, so there are no samples of it.",
            hint="Give the model a batch dimension on every input, or calibrate from Python with its own loop.",
        )
    if not _same(shape, wanted):
        moved = (shape[-1], *shape[:-1])
        back = (*shape[1:], shape[0])
        hint = "Give samples of the input's shape, the batch first."
        if len(shape) == 3 and _same(moved, wanted):
            hint = "The channels are last, and the model wants them first: use array.transpose(0, 3, 1, 2)."
        elif len(shape) == 3 and _same(back, wanted):
            hint = "The channels are first, and the model wants them last: use array.transpose(0, 2, 3, 1)."
        raise CalibrationError(
            f"{where} has samples of shape {_text(shape)}, and the model takes {spec.text}.", hint=hint
        )
    target = np.dtype(spec.dtype)
    if dtype != target and not (
        dtype.kind in "fiu" and (target.kind == "f" or (dtype.kind != "f" and target.kind in "iu"))
    ):
        raise CalibrationError(
            f"{where} holds {dtype}, and the model takes {spec.text}.",
            hint=f"Save the array as {spec.dtype}.",
        )


def convert(spec: TensorSpec, values: np.ndarray, where: str) -> np.ndarray:
    """``values`` as a contiguous array of the input's type.

    Raises:
        CalibrationError: an integer lies outside the input's type, or a finite number overflows it.
    """
    target = np.dtype(spec.dtype)
    if values.dtype == target:
        return np.ascontiguousarray(values)
    with np.errstate(over="ignore", invalid="ignore"):
        converted = np.ascontiguousarray(values, dtype=target)
    lost = (
        bool((np.isinf(converted) & np.isfinite(values)).any())
        if target.kind == "f"
        else not np.array_equal(converted, values)
    )
    if lost:
        raise CalibrationError(
            f"{where} holds values from {values.min()} to {values.max()}, which {spec.dtype} of input {spec.name} "
            "cannot hold.",
            hint=f"Save the array as {spec.dtype}, within its range.",
        )
    return converted


def hash_feeds(feeds: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes, types and values, so that equal samples have equal hashes whatever holds them."""
    digest = hashlib.sha256()
    for name in sorted(feeds):
        values = np.ascontiguousarray(feeds[name])
        digest.update(f"{name}\0{values.dtype.str}\0{values.shape}\0".encode())
        digest.update(values.data if values.size else b"")
    return digest.hexdigest()


def _same(shape: Sequence[int], wanted: Sequence[Dim]) -> bool:
    return len(shape) == len(wanted) and all(isinstance(w, str) or s == w for s, w in zip(shape, wanted, strict=True))


def _text(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"
