"""A cell as the page refers to it: its link, and the notes that say that its number may come out otherwise."""

from __future__ import annotations

from trtkit.artifacts.study_cell import Cell

__all__ = ["anchor", "batch_of", "named", "ran_in", "unsteady"]

_UNSTEADY = ("shared-cpu", "clock-moved", "power-capped", "unstable", "few-samples", "not-confident", "warm-up-cut")


def unsteady(cell: Cell) -> tuple[str, ...]:
    """Notes of a run that say that its number, though valid, may come out otherwise next time."""
    notes = cell.run.verdict.notes if cell.run is not None else ()
    return tuple(note.id for note in notes if note.id in _UNSTEADY)


def ran_in(cell: Cell) -> str:
    """What a run computed in where that is not what was asked, such as ``FP32``; empty otherwise, and if unknown."""
    observed = cell.run.subject.observed if cell.run is not None else None
    return observed.upper() if observed is not None and cell.spec.precision not in observed.lower() else ""


def named(cell: Cell) -> str:
    """The precision of a cell as it is read: ``INT8``, or ``INT8 (ran in FP32)``."""
    other = ran_in(cell)
    return f"{cell.spec.precision.upper()} (ran in {other})" if other else cell.spec.precision.upper()


def batch_of(cell: Cell) -> str:
    """``32``; of a ladder what it found, too: ``auto (64)``."""
    if cell.spec.batch is not None:
        return f"{cell.spec.batch:,}"
    return f"auto ({cell.run.settings.batch:,})" if cell.run is not None else "auto"


def anchor(cell: Cell) -> str:
    """The link to a cell's section on the page."""
    return f"#run-{cell.spec.id}"
