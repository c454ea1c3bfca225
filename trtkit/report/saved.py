"""The study's folder as seen from the page: where raw samples are, which are lost, which files hold the numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from trtkit.artifacts.study import RESULTS, Study
from trtkit.artifacts.study_cell import Cell

__all__ = ["Saved", "file_of"]

_TAIL = 64
_NUMBERS = (RESULTS, "results.csv")


@dataclass(frozen=True)
class Saved:
    """The files behind a page.

    Attributes:
        prefix: path from the page's folder to the study's, with a slash at its end; empty where they are the same.
        numbers: those of results.json and results.csv that are there.
        lost: file of raw samples → what became of it: ``missing`` or ``damaged``.
        unread: files that hold no readable run, so that nothing else is known of it.
    """

    prefix: str = ""
    numbers: tuple[str, ...] = ()
    lost: dict[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    @classmethod
    def of(cls, study: Study, source: Path, folder: Path, unread: tuple[str, ...] = ()) -> Saved:
        """Look at a study's folder ``source`` for a page that is written into ``folder``."""
        way = Path(os.path.relpath(source.resolve(), folder.resolve())).as_posix()
        files = dict.fromkeys(file for cell in study.cells if (file := file_of(cell)))
        found = {file: _state(source / file) for file in files}
        return cls(
            "" if way == "." else f"{way}/",
            tuple(name for name in _NUMBERS if (source / name).is_file()),
            {file: state for file, state in found.items() if state is not None},
            unread,
        )


def file_of(cell: Cell) -> str | None:
    """The file of raw samples of a cell, relative to the study's folder; ``None`` without a measurement."""
    if cell.run is not None:
        return cell.run.file or None
    return cell.scaling.file if cell.scaling is not None else None


def _state(path: Path) -> str | None:
    """What is wrong with a file; of a page of thousands only beginnings and ends are read."""
    try:
        with path.open("rb") as file:
            start = file.read(1)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            end = file.read().rstrip()
    except OSError:
        return "missing"
    return None if start == b"{" and end.endswith(b"}") and b"]" in end else "damaged"
