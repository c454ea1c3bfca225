"""A whole study as data: its plan, what became of every cell, and the artifacts that were measured."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trtkit.artifacts.files import json_ready, read_json, write_bytes, write_json
from trtkit.artifacts.study_aside import Aside
from trtkit.artifacts.study_cell import Cell, Prepared
from trtkit.artifacts.study_peaks import peaks_of, share_of
from trtkit.artifacts.study_plan import StudyPlan
from trtkit.errors import PlanError

__all__ = ["CSV_COLUMNS", "RESULTS", "SCHEMA", "Study"]

SCHEMA = 1
"""Version of the layout; a reader refuses newer ones."""

RESULTS = "results.json"
"""File name of a study inside its folder."""

CSV_COLUMNS = (
    "model",
    "precision",
    "observed",
    "batch",
    "batch_asked",
    "mode",
    "device",
    "device_name",
    "devices",
    "status",
    "verdict",
    "images_per_s",
    "latency_p50_ms",
    "latency_p90_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "fraction_of_peak",
    "images_per_joule",
    "efficiency",
    "sqnr_db",
    "top1_agreement",
    "calibrated_on",
    "family",
    "version",
    "model_sha256",
    "reason",
    "file",
)
"""The columns of results.csv; units are in their names."""


@dataclass(frozen=True)
class Study:
    """What stands in ``results.json``.

    Attributes:
        plan: the matrix.
        prepared: one for each model and precision that was reached.
        cells: one for each place of the matrix, and for each step of a ladder.
        environment: :class:`trtkit.environment.Environment` as JSON.
        title: what the page is called; empty for :attr:`heading`'s own words.
        command, created: the command line and UTC time of its start.
        aside: finished runs of a larger matrix.
    """

    plan: StudyPlan
    prepared: tuple[Prepared, ...] = ()
    cells: tuple[Cell, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    command: tuple[str, ...] = ()
    created: str = ""
    aside: Aside = field(default_factory=Aside)
    schema: int = SCHEMA

    @property
    def heading(self) -> str:
        """The title; without one the models, and what they ran on."""
        if self.title:
            return self.title
        runs = [cell.run for cell in self.cells if cell.run is not None]
        places = dict.fromkeys(f"{run.device.name}, {run.subject.family} {run.subject.version}" for run in runs)
        return f"{_listed(self.plan.models)} on {_listed(tuple(places) or self.plan.devices)}"

    @property
    def limits(self) -> tuple[Cell, ...]:
        """Batch sizes at which a ladder met a limit: that is what it looked for, and no failure."""
        listed = (None, *self.plan.batches)
        return tuple(
            cell
            for cell in self.cells
            if cell.status == "failed" and cell.spec.batch not in listed and cell.kind not in (None, "other")
        )

    def artifact(self, model: str, precision: str) -> Prepared | None:
        """What was prepared for a model in a precision."""
        return next((p for p in self.prepared if (p.model, p.precision) == (model, precision)), None)

    def with_prepared(self, prepared: Prepared) -> Study:
        """The study with this artifact, in place of an older one of the same model and precision."""
        name = (prepared.model, prepared.precision)
        kept = (p for p in self.prepared if (p.model, p.precision) != name)
        return replace(self, prepared=(*kept, prepared))

    def with_cells(self, *cells: Cell) -> Study:
        """The study with these cells, in place of older ones of the same name."""
        new = {cell.spec.id: cell for cell in cells}
        kept = tuple(new.pop(cell.spec.id, cell) for cell in self.cells)
        return replace(self, cells=(*kept, *new.values()))

    @property
    def distinct(self) -> tuple[Cell, ...]:
        """The cells, without those that asked for the largest batch and show a run that another cell shows too."""
        files = {cell.run.file for cell in self.cells if cell.run is not None and cell.spec.batch is not None}
        return tuple(
            cell for cell in self.cells if cell.spec.batch is not None or cell.run is None or cell.run.file not in files
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row for each cell, of :data:`CSV_COLUMNS`; unknown is ``None``."""
        known = {(p.model, p.precision): p for p in self.prepared}
        peaks = peaks_of(self.cells)
        return [
            _row(cell, known.get((cell.spec.model, cell.spec.precision)), share_of(cell.run, peaks))
            for cell in self.cells
        ]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "schema": self.schema,
            "title": self.title,
            "created": self.created,
            "command": list(self.command),
            "plan": self.plan.to_json(),
            "environment": self.environment,
            "prepared": [json_ready(asdict(prepared)) for prepared in self.prepared],
            "cells": [cell.to_json() for cell in self.cells],
            "aside": self.aside.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Study:
        """The inverse of :meth:`to_json`.

        Raises:
            PlanError: the layout is newer than this trtkit knows, or entries are missing.
        """
        if value.get("schema") != SCHEMA:
            raise PlanError(
                f"The study has schema {value.get('schema')}; this trtkit reads schema {SCHEMA}.",
                hint="Update trtkit, or run the study again in another folder.",
            )
        try:
            return cls(
                plan=StudyPlan.from_json(value["plan"]),
                prepared=tuple(Prepared.from_json(entry) for entry in value["prepared"]),
                cells=tuple(Cell.from_json(entry) for entry in value["cells"]),
                environment=value["environment"],
                title=value["title"],
                command=tuple(value["command"]),
                created=value["created"],
                aside=Aside.from_json(value.get("aside")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(
                f"The study's results are incomplete or were changed: {error}.",
                hint="Run trtkit study again in another folder.",
            ) from error

    def write(self, folder: Path) -> None:
        """Save results.json and results.csv by atomic renames: a kill at any moment leaves the last state whole."""
        write_json(folder / RESULTS, self.to_json())
        text = io.StringIO()
        writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        write_bytes(folder / "results.csv", text.getvalue().encode())

    @classmethod
    def read(cls, folder: Path) -> Study:
        """The study in a folder.

        Raises:
            PlanError: it is missing, unreadable or of another layout.
        """
        return cls.from_json(read_json(folder / RESULTS))


def _listed(names: tuple[str, ...]) -> str:
    """``a, b and c``; of more than three the first two."""
    shown = names if len(names) <= 3 else (*names[:2], f"{len(names) - 2} more")
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def _row(cell: Cell, prepared: Prepared | None, share: float | None) -> dict[str, Any]:
    run, spec = cell.run, cell.spec
    accuracy = prepared.accuracy if prepared else None
    reasons = [finding.text for finding in run.verdict.reasons] if run else []
    file = run.file if run else cell.scaling.file if cell.scaling else None
    return {
        "model": spec.model,
        "precision": spec.precision,
        "observed": run.subject.observed if run else None,
        "batch": run.settings.batch if run and spec.batch is None else spec.batch,
        "batch_asked": "auto" if spec.batch is None else spec.batch,
        "mode": spec.mode,
        "device": spec.device,
        "device_name": run.device.name if run else None,
        "devices": spec.count,
        "status": cell.status,
        "verdict": cell.verdict,
        "images_per_s": cell.images_per_s,
        **{f"latency_p{p}_ms": run.latency_ms(p) if run else None for p in (50, 90, 95, 99)},
        "fraction_of_peak": share,
        "images_per_joule": run.images_per_joule if run else None,
        "efficiency": cell.scaling.efficiency if cell.scaling else None,
        "sqnr_db": accuracy.sqnr_db if accuracy else None,
        "top1_agreement": accuracy.top1_agreement if accuracy else None,
        "calibrated_on": prepared.calibrated_on if prepared else None,
        "family": run.subject.family if run else prepared.family if prepared else None,
        "version": run.subject.version if run else prepared.version if prepared else None,
        "model_sha256": run.subject.model_sha256 if run else None,
        "reason": cell.reason or "; ".join(reasons) or None,
        "file": file,
    }
