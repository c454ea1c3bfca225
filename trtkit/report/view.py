"""A study as its page looks at it: which runs a figure shows, and which batch size stands for a model."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from trtkit.artifacts.study import Study
from trtkit.artifacts.study_cell import Cell, Prepared
from trtkit.artifacts.study_peaks import Peaks, peaks_of, share_of
from trtkit.artifacts.study_plan import slug
from trtkit.report.against import Against, Other, Together, align
from trtkit.report.cells import anchor, named, ran_in, unsteady
from trtkit.report.published import Reference

__all__ = [
    "MOST_DEVICES",
    "MOST_MODELS",
    "View",
    "anchor",
    "named",
    "narrower",
    "order_of_precision",
    "ran_in",
    "unsteady",
]

MOST_MODELS = 4
"""Figures are drawn for this many models; the tables have all."""

MOST_DEVICES = 3
"""And for this many kinds of device."""

_PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8")

Key = tuple[str, str, str, str]


def order_of_precision(precision: str) -> tuple[int, str]:
    """Sorts precisions from wide to narrow, and unknown ones behind."""
    known = _PRECISIONS.index(precision) if precision in _PRECISIONS else len(_PRECISIONS)
    return known, precision


def narrower(precision: str, base: str) -> bool:
    """Whether a speed-up over ``base`` is a gain that this precision makes: nobody asks how FP32 fares against TF32."""
    return order_of_precision(precision) > order_of_precision(base)


@dataclass(frozen=True)
class View:
    """A study, indexed.

    Attributes:
        study: all of it.
        reference: what was published.
        lines: (model, precision, device, mode) → cells of one device, by batch size; measured, failed and missing ones.
        against: other studies beside it.
    """

    study: Study
    reference: Reference
    lines: dict[Key, tuple[Cell, ...]] = field(default_factory=dict)
    against: Against = field(default_factory=Against)

    @classmethod
    def of(cls, study: Study, reference: Reference, others: Sequence[Other] = ()) -> View:
        """Index a study, and lay others beside it."""
        lines: dict[Key, list[Cell]] = {}
        for cell in study.cells:
            if cell.spec.count == 1 and cell.spec.batch is not None:
                key = (cell.spec.model, cell.spec.precision, cell.spec.device, cell.spec.mode)
                lines.setdefault(key, []).append(cell)
        ordered = {key: tuple(sorted(cells, key=lambda cell: cell.spec.batch or 0)) for key, cells in lines.items()}
        return cls(study, reference, ordered, align(study, others))

    @functools.cached_property
    def artifacts(self) -> dict[tuple[str, str], Prepared]:
        """(model, precision) → what was prepared."""
        return {(prepared.model, prepared.precision): prepared for prepared in self.study.prepared}

    @functools.cached_property
    def models(self) -> tuple[str, ...]:
        """Models with a place in the matrix, in its order; those of runs that no plan names behind."""
        return tuple(dict.fromkeys((*self.study.plan.models, *(cell.spec.model for cell in self.study.cells))))

    @functools.cached_property
    def precisions(self) -> tuple[str, ...]:
        """Precisions, from wide to narrow."""
        names = {*self.study.plan.precisions, *(cell.spec.precision for cell in self.study.cells)}
        return tuple(sorted(names, key=order_of_precision))

    @functools.cached_property
    def mode(self) -> str:
        """The mode that figures show: the first that has a number."""
        measured = {cell.spec.mode for cell in self.study.cells if cell.run is not None}
        modes = (*self.study.plan.modes, *sorted(measured))
        return next((mode for mode in modes if mode in measured), modes[0] if modes else "compute")

    @functools.cached_property
    def devices(self) -> tuple[tuple[str, str], ...]:
        """(label, name) of the first device of each kind that has a number."""
        kinds: dict[str, str] = {}
        for cell in self.study.cells:
            if cell.run is not None and cell.spec.count == 1:
                kinds.setdefault(cell.run.device.name, cell.spec.device)
        return tuple((device, name) for name, device in kinds.items())

    @property
    def shown(self) -> Iterator[tuple[str, str, str]]:
        """(model, device, device's name) that are drawn one by one."""
        for device, name in self.devices[:MOST_DEVICES]:
            for model in self.models[:MOST_MODELS]:
                yield model, device, name

    def artifact_id(self, model: str, precision: str) -> str:
        """The name of an artifact in anchors."""
        return f"{slug(model)}.{slug(precision)}"

    def line(self, model: str, precision: str, device: str, mode: str | None = None) -> tuple[Cell, ...]:
        """Cells with a number, by batch size."""
        cells = self.lines.get((model, precision, device, mode or self.mode), ())
        return tuple(cell for cell in cells if cell.images_per_s is not None)

    def stop(self, model: str, precision: str, device: str, mode: str | None = None) -> Cell | None:
        """The first cell that failed beyond the last that ran; ``None`` if the line does not end in a failure."""
        cells = self.lines.get((model, precision, device, mode or self.mode), ())
        last = max((cell.spec.batch or 0 for cell in cells if cell.images_per_s is not None), default=0)
        return next((cell for cell in cells if cell.status == "failed" and (cell.spec.batch or 0) > last), None)

    def ladder(self, model: str, precision: str, device: str) -> Cell | None:
        """The cell that asked for the largest batch, in the mode that figures show, if it found one."""
        asked = (model, precision, device, self.mode, 1)
        for cell in self.study.cells:
            spec = cell.spec
            if spec.batch is None and (spec.model, spec.precision, spec.device, spec.mode, spec.count) == asked:
                return cell if cell.status == "done" else None
        return None

    def common_batch(self, model: str, device: str) -> int | None:
        """The batch size with the best rates of those that most precisions were validly measured at, else ``None``.

        The best rates: the highest geometric mean over the precisions. The largest batch is often a worse one, met on
        the way to the limit of the memory.
        """
        rates: dict[int, list[float]] = {}
        for precision in self.precisions:
            for cell in self.line(model, precision, device):
                if cell.valid and cell.spec.batch is not None and cell.images_per_s:
                    rates.setdefault(cell.spec.batch, []).append(cell.images_per_s)
        return max(rates, key=lambda batch: (len(rates[batch]), math.prod(rates[batch]), -batch), default=None)

    def at(self, model: str, precision: str, device: str, batch: int | None) -> Cell | None:
        """The cell of one batch size in the mode that figures show, with a number or without."""
        cells = self.lines.get((model, precision, device, self.mode), ())
        return next((cell for cell in cells if cell.spec.batch == batch), None)

    def instead(self, model: str, precision: str, device: str) -> Cell | None:
        """The cell that says why there is none at a batch size: one that failed, a ladder's own, or any other."""
        asked = (model, precision, device, self.mode)
        found = [
            cell
            for cell in self.study.cells
            if (cell.spec.model, cell.spec.precision, cell.spec.device, cell.spec.mode) == asked
        ]
        return next((cell for cell in found if cell.status != "done"), found[0] if found else None)

    def beside(self, model: str) -> tuple[Together, ...]:
        """Like runs of other studies, of a model in the mode that figures show."""
        named = (pair for pair in self.against.pairs if pair.cell.spec.model == model)
        return tuple(pair for pair in named if pair.cell.spec.mode == self.mode)

    def in_order(self, cells: Sequence[Cell]) -> list[Cell]:
        """Cells in the order of the plan, a ladder's steps among the other batches, whenever they were run."""
        plan = self.study.plan

        def place(cell: Cell) -> tuple[int, int, int, int, str, float]:
            spec = cell.spec
            model, precision = plan.models.index(spec.model), plan.precisions.index(spec.precision)
            batch = float("inf") if spec.batch is None else spec.batch
            return model, precision, plan.modes.index(spec.mode), spec.count, spec.device, batch

        return sorted(cells, key=place)

    def best(self, model: str, precision: str, device: str) -> Cell | None:
        """The fastest valid run."""
        return fastest([cell for cell in self.line(model, precision, device) if cell.valid])

    @functools.cached_property
    def peaks(self) -> Peaks:
        """The peaks that were measured beside the runs."""
        return peaks_of(self.study.cells)

    def share_of_peak(self, cell: Cell) -> float | None:
        """Share of the device's peak; a processor's is measured beside each run, and the highest holds for them all."""
        return share_of(cell.run, self.peaks)

    def named(self, model: str, precision: str, device: str | None = None) -> str:
        """A precision as it is read: ``INT8 (ran in FP32)`` where a run computed in another one."""
        other = (
            named(cell)
            for (of, asked, where, _), cells in self.lines.items()
            if (of, asked) == (model, precision) and device in (None, where)
            for cell in cells
            if ran_in(cell)
        )
        return next(other, precision.upper())

    def speedup(self, cell: Cell, base: str) -> float | None:
        """Over another precision in an otherwise equal run; ``None`` unless both are valid."""
        other = self.base(cell, base)
        below = other.images_per_s if other is not None else None
        return cell.images_per_s / below if cell.valid and cell.images_per_s and below else None

    def base(self, cell: Cell, base: str) -> Cell | None:
        """The valid run in another precision that is alike in all else; ``None`` without one."""
        other = self.lines.get((cell.spec.model, base, cell.spec.device, cell.spec.mode), ())
        return next((c for c in other if c.spec.batch == cell.spec.batch and c.valid), None)


def fastest(cells: Sequence[Cell]) -> Cell | None:
    """The cell with the highest throughput."""
    return max(cells, key=lambda cell: cell.images_per_s or 0.0, default=None)
