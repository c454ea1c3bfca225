"""The calibration table: for every tensor that gets quantized, the largest magnitude that its scale has to cover."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trtkit.artifacts.files import read_json, write_json
from trtkit.errors import CalibrationError, PlanError

__all__ = ["SCHEMA", "CalibrationTable", "TensorRange"]

SCHEMA = 2
"""Version of the file's layout; a reader refuses newer ones."""

_DTYPES = ("int8", "fp8")
_GONE = ("command", "created")


@dataclass(frozen=True)
class TensorRange:
    """What calibration found for one tensor.

    Attributes:
        amax: the largest magnitude to be represented, in the tensor's own unit; 0 for a tensor that was always zero.
        method: how it was chosen: ``minmax``, ``percentile:99.99``, ``entropy``, ``mse``, ``search``, ``trt-cache``.
    """

    amax: float
    method: str


@dataclass(frozen=True)
class CalibrationTable:
    """What stands in ``MODEL.calibration.json``.

    Attributes:
        model: the model's name.
        model_sha256: of the float ONNX that was calibrated; a table fits no other.
        weights: what tells its weights from others (their hash, or definition and seed), whatever file they lie in.
        dtype: ``int8`` or ``fp8``: methods weigh clipping against the format's own rounding.
        method: of the table as a whole; single tensors may differ.
        tensors: name → range, in the graph's order.
        samples: how many samples were looked at; 0 where the ranges come from elsewhere.
        held_out: on how many others methods were compared.
        data: what they were: kind, count, hash, what was skipped and why.
        preprocessing: :class:`trtkit.artifacts.preprocessing.Preprocessing` as JSON; ``None`` for arrays taken as they
            are.
        synthetic: whether the samples were made up; such a table says nothing about accuracy.
        transforms: of the model between the source and what was calibrated.
        rewrites: those of them that were for speed: rewrite → names of the nodes where it was applied, in order; a
            conversion does the same again.
        environment: :class:`trtkit.environment.Environment` as JSON.
        schema: :data:`SCHEMA`.

    Command and time stand in the report: the same model, data and options give the same table to the byte.
    """

    model: str
    model_sha256: str
    dtype: str
    method: str
    tensors: Mapping[str, TensorRange]
    samples: int
    data: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] | None = None
    synthetic: bool = False
    transforms: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    held_out: int = 0
    rewrites: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def amax(self) -> dict[str, float]:
        """Tensor → amax."""
        return {name: found.amax for name, found in self.tensors.items()}

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values; the layout's version comes first."""
        return {"schema": self.schema, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CalibrationTable:
        """The inverse of :meth:`to_json`.

        Raises:
            CalibrationError: it is no table, one of a newer trtkit, or a range in it is not a finite number ≥ 0.
        """
        schema = value.get("schema")
        if not isinstance(schema, int) or schema > SCHEMA:
            raise CalibrationError(
                f"This is no calibration table that can be read here: its schema is {schema!r}, known is {SCHEMA}.",
                hint="Calibrate again with this trtkit, or update trtkit.",
            )
        if schema < SCHEMA:  # the first layout had command and time in it
            value = {**{key: entry for key, entry in value.items() if key not in _GONE}, "schema": SCHEMA}
        try:
            tensors = {str(name): TensorRange(**found) for name, found in value["tensors"].items()}
            rewrites = {str(name): tuple(map(str, at)) for name, at in value.get("rewrites", {}).items()}
            table = cls(**{**value, "tensors": tensors, "transforms": tuple(value["transforms"]), "rewrites": rewrites})
        except (KeyError, TypeError, AttributeError) as error:
            raise CalibrationError(
                f"This is no calibration table: {error}.", hint="Make it with trtkit calibrate."
            ) from error
        if table.dtype not in _DTYPES:
            raise CalibrationError(
                f"The table is for the type {table.dtype!r}; known are {', '.join(_DTYPES)}.", hint="Calibrate again."
            )
        for name, found in tensors.items():
            if isinstance(found.amax, bool) or not isinstance(found.amax, int | float):
                raise _bad_range(name, found.amax)
            if not (math.isfinite(found.amax) and found.amax >= 0):
                raise _bad_range(name, found.amax)
        return table

    def write(self, path: Path) -> None:
        """Save atomically.

        Raises:
            CalibrationError: a range is not a finite number.
            UsageError: the folder cannot be written.
        """
        for name, found in self.tensors.items():
            if not (math.isfinite(found.amax) and found.amax >= 0):
                raise _bad_range(name, found.amax)
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> CalibrationTable:
        """Load a table.

        Raises:
            CalibrationError: the file is missing, damaged, or no calibration table.
        """
        try:
            value = read_json(path)
        except PlanError as error:
            raise CalibrationError(error.message, hint="Make it with trtkit calibrate.") from error
        try:
            return cls.from_json(value)
        except CalibrationError as error:
            raise CalibrationError(f"{path}: {error.message}", hint=error.hint) from error


def _bad_range(name: str, amax: object) -> CalibrationError:
    return CalibrationError(
        f"The range of the tensor {name!r} is {amax!r}; it must be a finite number that is not negative.",
        hint="Calibrate again.",
    )
