"""Samples that repeat: a large batch made of few rows, without the memory and the time that writing it out takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Repeated", "Samples"]


@dataclass(frozen=True, eq=False)
class Repeated:
    """``count`` rows along axis 0, of which row i is ``rows[i % len(rows)]``; NumPy takes it for such an array.

    Attributes:
        rows: the rows that differ, contiguous; at least one.
        count: how many rows there are.
    """

    rows: np.ndarray
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array that it stands for."""
        return (self.count, *self.rows.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of the array that it stands for."""
        return self.rows.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, as if they were written out."""
        return self.rows.nbytes // len(self.rows) * self.count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Sequence[int]) -> np.ndarray:
        picked: np.ndarray = self.rows[np.asarray(index) % len(self.rows)]
        return picked

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("Rows that repeat have to be copied to make an array.")
        made = np.empty(self.shape, self.dtype)
        self.fill(made.reshape(-1).view(np.uint8))
        return made if dtype is None else made.astype(dtype, copy=False)

    def fill(self, memory: np.ndarray) -> None:
        """Write all rows into contiguous bytes (uint8, :attr:`nbytes` of them)."""
        period = np.ascontiguousarray(self.rows).reshape(-1).view(np.uint8)
        for start in range(0, len(memory), len(period)):
            part = memory[start : start + len(period)]
            part[:] = period[: len(part)]


Samples = np.ndarray | Repeated
"""Values of an input: an array, or a large batch of rows that repeat."""
