"""Figures that others published: data with sources, for comparison beside a study, never among its measurements."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

__all__ = ["Published", "Reference", "load"]


@dataclass(frozen=True)
class Published:
    """One published throughput.

    Attributes:
        source: key of its source in :attr:`Reference.sources`.
        device, model, precision, batch, devices: of the measurement; ``devices`` is their number.
        images_per_s: throughput.
        where: which figure or table of the source.
    """

    source: str
    device: str
    model: str
    precision: str
    batch: int
    devices: int
    images_per_s: float
    where: str


@dataclass(frozen=True)
class Reference:
    """All published figures that ship with trtkit.

    Attributes:
        sources: key → title, authors, date, and how they measured.
        points: the throughputs.
        peaks: theoretical peaks as the sources state them: device, precision, ``tera_ops_per_s``.
        failures: what the sources say did not run.
        notes: what does not fit together in a source.
        macs: model → multiply-accumulate operations per image; a model of that name with others is another model.
    """

    sources: Mapping[str, Mapping[str, str]]
    points: tuple[Published, ...]
    peaks: tuple[Mapping[str, Any], ...]
    failures: tuple[Mapping[str, Any], ...]
    notes: tuple[Mapping[str, str], ...]
    macs: Mapping[str, int]

    def of(self, model: str, macs_per_image: int | None, devices: int | None = 1) -> tuple[Published, ...]:
        """What was published for this model; nothing for another model of the same name.

        Args:
            model: its name.
            macs_per_image: of the model that was measured; ``None`` if unknown, and then the name decides.
            devices: how many devices worked together; ``None`` for any number.
        """
        if model not in self.macs or macs_per_image not in (None, self.macs[model]):
            return ()
        return tuple(p for p in self.points if p.model == model and devices in (None, p.devices))


@functools.cache
def load() -> Reference:
    """Read published.json."""
    value = json.loads(resources.files("trtkit.report").joinpath("published.json").read_text(encoding="utf-8"))
    points = tuple(
        Published(
            entry["source"],
            entry["device"],
            model,
            entry["precision"],
            int(batch),
            entry["devices"],
            float(rate),
            entry["where"],
        )
        for entry in value["points"]
        for model, batches in entry["images_per_s"].items()
        for batch, rate in batches.items()
    )
    return Reference(
        sources=value["sources"],
        points=points,
        peaks=tuple(value["peaks"]),
        failures=tuple(value["failures"]),
        notes=tuple(value["notes"]),
        macs={name: entry["macs_per_image"] for name, entry in value["models"].items()},
    )
