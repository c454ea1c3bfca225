"""Other studies beside this one: like runs in pairs, and what could not be paired, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trtkit.artifacts.likeness import Key, key_of, key_text, unlike
from trtkit.artifacts.run_record import RunRecord
from trtkit.artifacts.study import Study
from trtkit.artifacts.study_cell import Cell

__all__ = ["Against", "Other", "Together", "align", "executed_by"]


@dataclass(frozen=True)
class Other:
    """Another study.

    Attributes:
        study: all of it.
        folder: name of the folder that it was read from.
    """

    study: Study
    folder: str


@dataclass(frozen=True)
class Together:
    """Two runs that are alike in all that a comparison must hold still.

    Attributes:
        cell: of this study, and ``theirs`` of the other.
        number: of the other study, from 0.
    """

    cell: Cell
    theirs: Cell
    number: int

    @property
    def medians(self) -> bool:
        """Whether both runs tell their rate at the median time between batches: the statistic of a comparison."""
        return all(cell.run is not None and cell.run.median_images_per_s for cell in (self.cell, self.theirs))

    @property
    def rates(self) -> tuple[float | None, float | None]:
        """Images per second here and there, both of one statistic: at the median, else the throughputs."""
        here, there = (
            cell.run.median_images_per_s if self.medians and cell.run is not None else cell.images_per_s
            for cell in (self.cell, self.theirs)
        )
        return here, there

    @property
    def ratio(self) -> float | None:
        """The rate here over the one there."""
        here, there = self.rates
        return here / there if here and there else None


@dataclass(frozen=True)
class Against:
    """All that stands beside a study.

    Attributes:
        others: the other studies.
        pairs: like runs, in the order of the other studies, then of this one.
        refusals: (number of the other study, reasons) → the runs that were not paired.
    """

    others: tuple[Other, ...] = ()
    pairs: tuple[Together, ...] = ()
    refusals: tuple[tuple[int, str, tuple[str, ...]], ...] = ()


def executed_by(run: RunRecord) -> str:
    """Device, family and version: what tells two studies apart."""
    return f"{run.device.name} · {run.subject.family} {run.subject.version}"


def align(study: Study, others: Sequence[Other]) -> Against:
    """Pair the runs of one device with those of other studies; of each kind of device the first stands for all."""
    pairs: list[Together] = []
    refused: dict[tuple[int, str], list[str]] = {}
    mine = _keyed(study)
    for number, other in enumerate(others):
        theirs = _keyed(other.study)
        for key, cells in mine.items():
            if key not in theirs:
                refused.setdefault((number, "The other study has no such run."), []).append(key_text(key))
            for cell, there in ((cell, there) for cell in cells for there in theirs.get(key, ())):
                reasons = _unlike(cell, there)
                if reasons:
                    refused.setdefault((number, " ".join(reasons)), []).append(key_text(key))
                else:
                    pairs.append(Together(cell, there, number))
        for key in theirs:
            if key not in mine:
                refused.setdefault((number, "This study has no such run."), []).append(key_text(key))
    return Against(
        tuple(others),
        tuple(pairs),
        tuple((number, reason, tuple(dict.fromkeys(runs))) for (number, reason), runs in refused.items()),
    )


def _keyed(study: Study) -> dict[Key, list[Cell]]:
    found: dict[Key, dict[str, Cell]] = {}
    for cell in study.cells:
        if cell.run is not None and cell.spec.count == 1 and cell.spec.batch is not None:
            found.setdefault(key_of(cell.run), {}).setdefault(executed_by(cell.run), cell)
    return {key: list(cells.values()) for key, cells in found.items()}


def _unlike(cell: Cell, there: Cell) -> tuple[str, ...]:
    if cell.run is None or there.run is None:
        return ("There is no measurement.",)
    reasons = unlike(cell.run, there.run, unknown_agrees=True, called=("The run here", "The other"))
    if not reasons and (cell.images_per_s is None or there.images_per_s is None):
        return ("One of the two has too few samples for a throughput.",)
    return reasons
