"""A cell as the page refers to it: its link, and the notes that say that its number may come out otherwise."""

from __future__ import annotations

from trtkit.artifacts.study_cell import Cell

__all__ = ["anchor", "at_power_limit", "batch_of", "named", "ran_in", "unsteady"]

_UNSTEADY = ("shared-cpu", "clock-moved", "unstable", "few-samples", "not-confident", "warm-up-cut")
_POWER = "power-capped"


def unsteady(cell: Cell) -> tuple[str, ...]:
    """Notes of a run that say that its number, though valid, may come out otherwise next time.

    A card at its power limit is no disturbance but what it can do, and its clock then moves.
    """
    notes = [note.id for note in cell.run.verdict.notes] if cell.run is not None else []
    return tuple(note for note in notes if note in _UNSTEADY and (note != "clock-moved" or _POWER not in notes))


def at_power_limit(cell: Cell) -> bool:
    """Whether a run was at the card's power limit."""
    return cell.run is not None and any(note.id == _POWER for note in cell.run.verdict.notes)


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
