"""The matrix of a study: which models, precisions, batch sizes, modes and devices, and the cells that follow."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from trtkit.artifacts.files import json_ready, sha256_json

__all__ = ["CellSpec", "StudyPlan", "slug"]

_UNSAFE = re.compile(r"[^a-z0-9_]+")


def slug(text: str) -> str:
    """A name as it may stand in a file name or an anchor: lower case, letters, digits, underscores and hyphens.

    Two names that differ only in what is replaced get different endings from their hash.
    """
    plain = _UNSAFE.sub("-", text.lower()).strip("-")[:60]
    return plain if plain == text else f"{plain}-{sha256_json(text)[:6]}".strip("-")


@dataclass(frozen=True)
class CellSpec:
    """One place in the matrix.

    Attributes:
        model: as it was named: a definition or an ONNX file.
        precision: what is asked for.
        batch: images per iteration; ``None`` stands for the ladder to the largest batch that runs.
        mode: one of :data:`trtkit.artifacts.bench_settings.MODES`.
        device: on one device, its name; on several, their names joined by ``+``.
        count: number of devices at work together.
    """

    model: str
    precision: str
    batch: int | None
    mode: str
    device: str
    count: int = 1

    @property
    def id(self) -> str:
        """Its name in file names and anchors: ``googlenet.fp16.b32.compute.cuda-0``."""
        batch = "auto" if self.batch is None else f"b{self.batch}"
        parts = [slug(self.model), slug(self.precision), batch, slug(self.mode), _device_slug(self.device)]
        return ".".join(parts)

    @property
    def text(self) -> str:
        """Its name for people."""
        batch = "largest batch" if self.batch is None else f"batch {self.batch}"
        return f"{self.model} {self.precision.upper()}, {batch}, {self.mode}, {self.device}"


def _device_slug(device: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


@dataclass(frozen=True)
class StudyPlan:
    """What a study consists of.

    Attributes:
        models, precisions, modes, devices: in the order in which they are run and shown.
        batches: batch sizes; ``None`` among them asks for the largest batch that runs.
        counts: numbers of devices at work together, 1 among them.
        family: engine family, or ``auto``.
        data: calibration data as it was named; ``None`` for synthetic samples.
        data_content: what identifies what lay there: a digest; ``None`` where nothing lies in files.
        latency_budget_ms: largest latency that the user can take; ``None`` without such a limit.
        settings: fields of :class:`~trtkit.artifacts.bench_settings.BenchSettings` that were chosen for all runs.
        quick: whether it is the short form.
        weights: model → name and SHA-256 of the file whose weights a definition was given.
        seed: of the seeded weights of all other definitions.
        sources: model file → SHA-256 of what it held, external data included.
        machines: device → its name and who executes there: ``NVIDIA H200, tensorrt-rtx 1.6.1.120``.
        sweep_within: the share up to which the largest batch is looked for; 0 for the exact batch.
    """

    models: tuple[str, ...]
    precisions: tuple[str, ...]
    batches: tuple[int | None, ...]
    modes: tuple[str, ...] = ("compute",)
    devices: tuple[str, ...] = ("cpu",)
    counts: tuple[int, ...] = (1,)
    family: str = "auto"
    data: str | None = None
    latency_budget_ms: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    quick: bool = False
    weights: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    sweep_within: float = 0.0
    data_content: str | None = None
    sources: dict[str, str] = field(default_factory=dict)
    machines: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash of all that decides what the runs are; the latency budget is drawn, and decides nothing."""
        value = self.to_json()
        del value["latency_budget_ms"]
        return sha256_json(value)

    @property
    def groups(self) -> Iterator[tuple[str, str]]:
        """(model, precision): each is converted once."""
        return itertools.product(self.models, self.precisions)

    @property
    def cells(self) -> tuple[CellSpec, ...]:
        """Every cell, single devices first, in the order in which they are run."""
        single = [
            CellSpec(model, precision, batch, mode, device)
            for model, precision in self.groups
            for device, mode, batch in itertools.product(self.devices, self.modes, self.batches)
        ]
        together = [
            CellSpec(model, precision, batch, mode, "+".join(self.devices[:count]), count)
            for model, precision in self.groups
            for mode, count in itertools.product(self.modes, self.counts)
            for batch in [max((b for b in self.batches if b is not None), default=None)]
            if 1 < count <= len(self.devices)
        ]
        return (*single, *together)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        value: dict[str, Any] = json_ready(asdict(self))
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        listed = ("models", "precisions", "batches", "modes", "devices", "counts")
        return cls(**{**value, **{name: tuple(value[name]) for name in listed}})
