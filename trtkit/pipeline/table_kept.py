"""A calibration table that lies in the output folder already: int8, fp8, photographs and made-up samples share a name.

``MODEL.calibration.json`` is the newest one. What is replaced is said; a table from real data is not lost to a
synthetic one unless that is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from calibration.source import DataSpec
from trtkit.artifacts.calibration_table import CalibrationTable
from trtkit.errors import CalibrationError, UsageError
from trtkit.pipeline.listener import Listener

__all__ = ["note_replaced", "older_table", "table_path"]


def table_path(folder: Path, name: str) -> Path:
    """Where a model's calibration table is written."""
    return folder / f"{name}.calibration.json"


def older_table(path: Path, data: DataSpec | None, *, force: bool) -> CalibrationTable | None:
    """The table that a new calibration would replace; ``None`` if none is there or it cannot be read.

    Args:
        path: of the table.
        data: what the new one would be made from; ``None``: a cache of TensorRT's.
        force: replace whatever is there.

    Raises:
        UsageError: a table made from real data would give way to a synthetic one.
    """
    try:
        older = CalibrationTable.read(path) if path.exists() else None
    except CalibrationError:
        return None
    if older is not None and not older.synthetic and data is not None and data.source is None and not force:
        raise UsageError(
            f"{path} was made from real data ({_described(older)}), and one from synthetic samples would replace it.",
            hint="Give another folder with -o/--output, or add --force.",
        )
    return older


def note_replaced(path: Path, older: CalibrationTable | None, listener: Listener) -> None:
    """Say what was replaced, unless the table is the same."""
    if older is None:
        return
    newer = CalibrationTable.read(path)
    if replace(older, environment={}) != replace(newer, environment={}):
        listener.note(f"replaced {path}, {_described(older)}")


def _described(table: CalibrationTable) -> str:
    """``an int8 table by entropy from 205 samples of photos``."""
    made_up = "SYNTHETIC " if table.synthetic else ""
    count = f"{table.samples} {made_up}samples of " if table.samples else ""
    return f"an {table.dtype} table by {table.method} from {count}{table.data.get('source', 'unknown data')}"
