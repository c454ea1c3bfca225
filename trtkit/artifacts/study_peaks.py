"""Share of the peak, by one rule for table, page, figures and CSV: measured peaks vary, and the highest holds."""

from __future__ import annotations

from collections.abc import Iterable

from trtkit.artifacts.run_record import RunRecord
from trtkit.artifacts.study_cell import Cell

__all__ = ["PEAK_RULE", "Peaks", "is_measured", "peaks_of", "share_of"]

PEAK_RULE = "of a processor the peak is the highest rate of matrix products measured beside any run of the study"
"""The rule in words."""

_Key = tuple[str, str, int | None, tuple[int, ...]]
Peaks = dict[_Key, float]
"""Device's name, source, threads and processors → the highest of the rates measured there, in operations a second."""


def is_measured(run: RunRecord) -> bool:
    """Whether the peak of a run's device was measured beside it; a GPU's is theoretical."""
    return (run.peak_source or "").startswith("measured")


def peaks_of(cells: Iterable[Cell]) -> Peaks:
    """The highest of the peaks that were measured beside the runs of each device."""
    found: Peaks = {}
    for run in (cell.run for cell in cells):
        if run is not None and run.peak_ops_per_s and is_measured(run):
            found[_key(run)] = max(found.get(_key(run), 0.0), run.peak_ops_per_s)
    return found


def share_of(run: RunRecord | None, peaks: Peaks) -> float | None:
    """Share of the device's peak, 0 to 1; ``None`` where one is unknown."""
    share, peak = (run.fraction_of_peak, run.peak_ops_per_s) if run is not None else (None, None)
    if run is None or share is None or not peak:
        return share
    return share * peak / (peaks.get(_key(run), peak) if is_measured(run) else peak)


def _key(run: RunRecord) -> _Key:
    return run.device.name, run.peak_source or "", run.device.threads, tuple(run.device.affinity or ())
