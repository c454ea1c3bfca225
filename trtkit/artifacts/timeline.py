"""When every iteration of a measurement began and ended: the raw samples that all figures are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from trtkit import stats

__all__ = ["COLUMNS", "Iteration", "Timeline"]


class Iteration(NamedTuple):
    """The times of one iteration (one execution of one batch), in milliseconds since the timeline's epoch.

    ``enqueue`` is the host's time in the call that starts the work; the other pairs are the device's own clock where
    there is one. A mode without copies has ``h2d`` of no length at the start of the computation and ``d2h`` at its end.
    """

    start_enqueue_ms: float
    end_enqueue_ms: float
    start_h2d_ms: float
    end_h2d_ms: float
    start_compute_ms: float
    end_compute_ms: float
    start_d2h_ms: float
    end_d2h_ms: float


COLUMNS = Iteration._fields


@dataclass(frozen=True)
class Timeline:
    """The iterations of one measurement, warm-up excluded.

    Attributes:
        rows: one for each iteration, in the order in which they were started.
        images: per iteration (the batch size).
        epoch_monotonic_s: ``time.monotonic()`` at 0 ms, which all processes of one machine share.
    """

    rows: tuple[Iteration, ...]
    images: int
    epoch_monotonic_s: float

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> np.ndarray:
        """One of :data:`COLUMNS`, or ``h2d_ms``, ``compute_ms``, ``d2h_ms``, ``enqueue_ms``, ``latency_ms``; (n,).

        ``latency_ms`` is h2d + compute + d2h (trtexec's definition: a sum, not the wall time from end to end).
        """
        if name in COLUMNS:
            return np.asarray(self._table[:, COLUMNS.index(name)])
        if name == "latency_ms":
            return np.asarray(self.column("h2d_ms") + self.column("compute_ms") + self.column("d2h_ms"))
        part = name.removesuffix("_ms")
        return np.asarray(self.column(f"end_{part}_ms") - self.column(f"start_{part}_ms"))

    @cached_property
    def _table(self) -> np.ndarray:
        """Rows as an array, shape (n, 8): made once, for there may be hundreds of thousands of them."""
        return np.array(self.rows, dtype=np.float64).reshape(len(self.rows), len(COLUMNS))

    @property
    def wall_s(self) -> float:
        """From the first copy to the device to the last copy back, in seconds."""
        if not self.rows:
            return 0.0
        return float(self.column("end_d2h_ms").max() - self.column("start_h2d_ms").min()) / 1e3

    @property
    def throughput_images_per_s(self) -> float | None:
        """Images / wall time; ``None`` without a measured duration."""
        return len(self.rows) * self.images / self.wall_s if self.wall_s > 0 else None

    def summary(self) -> dict[str, Any]:
        """The figures that tables show.

        ``count``, ``wall_s``, ``throughput_images_per_s``; for each of latency, h2d, compute, d2h and enqueue a record
        of ``min_ms mean_ms p50_ms p90_ms p95_ms p99_ms max_ms cov``; ``median_compute_interval_ms`` (95 %).
        """
        figures: dict[str, Any] = {
            "count": len(self.rows),
            "images_per_iteration": self.images,
            "wall_s": self.wall_s,
            "throughput_images_per_s": self.throughput_images_per_s,
        }
        for part in ("latency", "h2d", "compute", "d2h", "enqueue"):
            figures[part] = _spread(self.column(f"{part}_ms")) if self.rows else None
        figures["median_compute_interval_ms"] = (
            stats.median_interval(self.column("compute_ms").tolist()) if self.rows else None
        )
        return figures

    def between(self, start_monotonic_s: float, end_monotonic_s: float) -> Timeline:
        """The iterations that lie wholly within a window of the machine's monotonic clock."""
        low = (start_monotonic_s - self.epoch_monotonic_s) * 1e3
        high = (end_monotonic_s - self.epoch_monotonic_s) * 1e3
        rows = tuple(row for row in self.rows if row.start_h2d_ms >= low and row.end_d2h_ms <= high)
        return Timeline(rows, self.images, self.epoch_monotonic_s)

    def images_between(self, start_monotonic_s: float, end_monotonic_s: float) -> float:
        """Images finished in a window of the machine's monotonic clock, an iteration across its edge by its share.

        The count of finished images is taken as growing evenly from one iteration's end to the next, so that a window
        of 2.5 iterations counts 2.5 of them, and pauses count nothing.
        """
        if not self.rows:
            return 0.0
        ends = np.sort(self.column("end_d2h_ms"))
        first = float(self.column("start_h2d_ms").min())
        window = (np.array([start_monotonic_s, end_monotonic_s]) - self.epoch_monotonic_s) * 1e3
        done = np.interp(window, np.concatenate([[first], ends]), np.arange(len(ends) + 1))
        return float(done[1] - done[0]) * self.images

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values: one list for each column, to a tenth of a microsecond."""
        table = np.round(self._table, 4)
        columns = {name: table[:, index].tolist() for index, name in enumerate(COLUMNS)}
        return {"images": self.images, "epoch_monotonic_s": self.epoch_monotonic_s, "columns": columns}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Timeline:
        """The inverse of :meth:`to_json`."""
        columns: Sequence[Sequence[float]] = [value["columns"][name] for name in COLUMNS]
        rows = tuple(Iteration(*row) for row in zip(*columns, strict=True))
        return cls(rows, int(value["images"]), float(value["epoch_monotonic_s"]))


def _spread(values: np.ndarray) -> dict[str, float | None]:
    listed = values.tolist()
    return {
        "min_ms": float(values.min()),
        "mean_ms": float(values.mean()),
        **{f"p{percent}_ms": stats.percentile(listed, percent) for percent in (50, 90, 95, 99)},
        "max_ms": float(values.max()),
        "cov": stats.coefficient_of_variation(listed),
    }
