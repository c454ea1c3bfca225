"""What rewrites gained where they were measured before: the table that ships with trtkit.

It tells on machines that cannot measure. An entry holds for a region, not for a model: the hash of what a rewrite
replaced (operators, attributes, shapes, types), the family and the precision decide whether it speaks of a graph.
``python -m tests.perf.optimize OUT --remember`` writes the entries of one device anew and leaves the others.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trtkit.artifacts.files import read_json
from trtkit.artifacts.rewrites import Site

__all__ = ["TABLE", "Remembered", "entries", "find", "regions_of"]

_WORTHWHILE = 1.01  # a difference below this is not worth another graph

TABLE = Path(__file__).with_name("remembered.json")


@dataclass(frozen=True)
class Remembered:
    """One measurement.

    Attributes:
        rewrite: its name.
        model: where it was measured, for people.
        regions: hashes of the regions that it replaced, sorted; with those of :attr:`after` in place.
        after: rewrites that the graph had already, sorted.
        family, version: who executed.
        device: its name, such as ``NVIDIA H100``.
        precision, batch: as asked.
        gain: speed with it over speed without it.
        interval: 95 % interval of the gain; ``None`` where it was not recorded.
        source: how it was measured, in words.
    """

    rewrite: str
    model: str
    regions: tuple[str, ...]
    after: tuple[str, ...]
    family: str
    version: str
    device: str
    precision: str
    batch: int
    gain: float
    interval: tuple[float, float] | None
    source: str

    @property
    def text(self) -> str:
        """Where and how, for people."""
        return f"{self.model} at batch {self.batch}, {self.device}, {self.family} {self.version} ({self.source})"

    @property
    def slower(self) -> bool:
        """Whether it is known to cost speed, and enough of it to matter."""
        return self.gain <= 1 / _WORTHWHILE and (self.interval is None or self.interval[1] < 1)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Remembered:
        """The inverse of :meth:`to_json`."""
        lists = {name: tuple(value[name]) for name in ("regions", "after")}
        return cls(**{**value, **lists, "interval": tuple(value["interval"]) if value["interval"] else None})


@functools.cache
def entries(table: Path = TABLE) -> tuple[Remembered, ...]:
    """The table.

    Raises:
        PlanError: it is damaged.
    """
    return tuple(Remembered.from_json(entry) for entry in read_json(table)["entries"])


def regions_of(sites: Iterable[Site]) -> tuple[str, ...]:
    """The hashes of all sites of one rewrite, as an entry holds them."""
    return tuple(sorted(site.region_hash for site in sites))


def find(
    rewrite: str,
    sites: Iterable[Site],
    after: Collection[str],
    family: str,
    precision: str,
    batch: int | None,
    *,
    known: Iterable[Remembered] | None = None,
) -> Remembered | None:
    """The entry that comes closest: the same regions, family and precision; the same ``after``, if there is one.

    Args:
        rewrite, sites: what was applied where.
        after: rewrites that the graph had already.
        family: who will execute.
        precision: ``tf32`` counts as ``fp32``.
        batch: of those measured the nearest is taken; ``None`` takes the largest.
        known: the entries to look through; ``None`` for the table.
    """
    regions, numbers = regions_of(sites), "fp32" if precision == "tf32" else precision
    found = [
        entry
        for entry in (entries() if known is None else known)
        if (entry.rewrite, entry.regions, entry.family, entry.precision) == (rewrite, regions, family, numbers)
    ]
    if not found:
        return None
    same = [entry for entry in found if set(entry.after) & _STRUCTURAL == set(after) & _STRUCTURAL] or found
    return min(same, key=lambda entry: -entry.batch if batch is None else abs(entry.batch - batch))


_STRUCTURAL = frozenset(
    {"lrn_band", "stem_space_to_depth", "stem_space_to_depth_16", "fc_as_conv", "merge_parallel_1x1", "join_groups"}
)
