"""A cell as the page refers to it: its link, and the notes that say that its number may come out otherwise."""

from __future__ import annotations

from trtkit.artifacts.study_cell import Cell

__all__ = ["anchor", "unsteady"]

_UNSTEADY = ("shared-cpu", "clock-moved", "power-capped", "unstable", "few-samples", "not-confident", "warm-up-cut")


def unsteady(cell: Cell) -> tuple[str, ...]:
    """Notes of a run that say that its number, though valid, may come out otherwise next time."""
    notes = cell.run.verdict.notes if cell.run is not None else ()
    return tuple(note.id for note in notes if note.id in _UNSTEADY)


def anchor(cell: Cell) -> str:
    """The link to a cell's section on the page."""
    return f"#run-{cell.spec.id}"
