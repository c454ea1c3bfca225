"""What a study holds beside its matrix: finished runs of a larger one, for when that is asked for again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from trtkit.artifacts.files import json_ready
from trtkit.artifacts.study_cell import Cell, Prepared

__all__ = ["Aside"]


@dataclass(frozen=True)
class Aside:
    """Cells that a smaller matrix left out; no table, figure or page shows them.

    Attributes:
        cells: finished ones, whose samples lie in the study's folder.
        prepared: their artifacts, where the matrix has none of that model and precision.
        sources, weights: as in :class:`~trtkit.artifacts.study_plan.StudyPlan`, of models that the matrix lacks.
    """

    cells: tuple[Cell, ...] = ()
    prepared: tuple[Prepared, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "cells": [cell.to_json() for cell in self.cells],
            "prepared": [json_ready(asdict(prepared)) for prepared in self.prepared],
            "sources": self.sources,
            "weights": self.weights,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Self:
        """The inverse of :meth:`to_json`; nothing for a study that was written before there was one."""
        if value is None:
            return cls()
        return cls(
            tuple(Cell.from_json(entry) for entry in value["cells"]),
            tuple(Prepared.from_json(entry) for entry in value["prepared"]),
            dict(value["sources"]),
            dict(value["weights"]),
        )
