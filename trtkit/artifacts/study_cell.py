"""The parts of a study: what was prepared for a model in a precision, and what became of a place in the matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from trtkit.artifacts.files import json_ready
from trtkit.artifacts.run_record import RunRecord
from trtkit.artifacts.study_plan import CellSpec

__all__ = ["Accuracy", "Cell", "Prepared", "Scaling", "Status"]

Status = Literal["planned", "done", "failed", "gap"]
"""``failed`` was tried; a ``gap`` cannot be had here, and nothing was tried."""


@dataclass(frozen=True)
class Accuracy:
    """How well a precision computes what the model computes.

    Attributes:
        sqnr_db: signal-to-noise ratio of the scores against the FP32 source, in dB; ``None`` if unknown or exact.
        exact: whether every score was equal.
        top1_agreement: share of inputs with the same first class as FP32; ``None`` if unknown.
        samples: how many inputs; ``None`` if unknown.
        on: what the inputs were, for people: ``52 held-out samples``, ``seeded random inputs``.
        synthetic: whether the scales (INT8, FP8) come from made-up data, or none were needed and inputs are random.
        executed: what executed it.
    """

    sqnr_db: float | None
    exact: bool
    top1_agreement: float | None
    samples: int | None
    on: str
    synthetic: bool
    executed: str


@dataclass(frozen=True)
class Prepared:
    """One model in one precision: what was converted, validated and then measured.

    Attributes:
        model, precision: as in the plan.
        status: ``done``, ``failed`` or ``gap``.
        reason: why not, a sentence; ``None`` for ``done``.
        file: the artifact, relative to the study's folder, and ``manifest`` what stands beside it.
        sha256, bytes: of the artifact.
        family, version: what executes it.
        observed: the numbers that it is proved to compute in, such as ``int8 + fp32``; ``None`` if unknown.
        proof: what its layers are proved to compute in, a sentence; ``None`` if unknown.
        validation: the sentence of its validation, and ``validation_status`` its status.
        accuracy: see :class:`Accuracy`; ``None`` where nothing was executed.
        calibrated_on: what the scales come from, a sentence; ``None`` where there are none.
        seconds: wall time of conversion and validation.
        notes: what the user should know, sentences.
    """

    model: str
    precision: str
    status: Status
    reason: str | None = None
    file: str | None = None
    manifest: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    family: str | None = None
    version: str | None = None
    observed: str | None = None
    proof: str | None = None
    validation: str | None = None
    validation_status: str | None = None
    accuracy: Accuracy | None = None
    calibrated_on: str | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :func:`dataclasses.asdict` through JSON."""
        accuracy = Accuracy(**value["accuracy"]) if value["accuracy"] else None
        return cls(**{**value, "accuracy": accuracy, "notes": tuple(value["notes"])})


@dataclass(frozen=True)
class Scaling:
    """Several devices at work together.

    Attributes:
        total_images_per_s: counted over the window that all shared.
        together, alone: device → images/s while all work, and by itself in the same run.
        efficiency: total over the sum of the devices alone.
        cause: why it is not 1, a sentence; ``None`` if nothing was noticed.
        file: the scaling run's own file, relative to the study's folder.
        valid: whether it may be quoted.
        reasons: why not, sentences.
    """

    total_images_per_s: float
    together: dict[str, float]
    alone: dict[str, float]
    efficiency: float | None
    cause: str | None
    file: str
    valid: bool = True
    reasons: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :func:`dataclasses.asdict` through JSON."""
        return cls(**{**value, "reasons": tuple(value["reasons"])})


@dataclass(frozen=True)
class Cell:
    """What became of one place in the matrix.

    Attributes:
        spec: the place. A ladder's steps are cells of their own, added as they are found.
        status: see :data:`Status`.
        reason: why it failed or cannot be had, a sentence; ``None`` otherwise.
        kind: ``device_memory``, ``workspace``, ``profile``, ``element_limit``, ``host_memory``, ``timeout`` or
            ``other`` for a run that failed; ``None`` otherwise.
        run: the measurement, of one device.
        scaling: the measurement, of several.
    """

    spec: CellSpec
    status: Status = "planned"
    reason: str | None = None
    kind: str | None = None
    run: RunRecord | None = None
    scaling: Scaling | None = None

    @property
    def images_per_s(self) -> float | None:
        """Throughput, valid or not; ``None`` without a measurement."""
        if self.scaling is not None:
            return self.scaling.total_images_per_s
        return self.run.images_per_s if self.run is not None else None

    @property
    def valid(self) -> bool:
        """Whether there is a number, and it may be quoted."""
        if self.scaling is not None:
            return self.scaling.valid
        return self.run is not None and self.run.valid and self.run.images_per_s is not None

    @property
    def verdict(self) -> str:
        """``valid``, ``INVALID``, or the status of a cell without a number."""
        if self.status != "done":
            return self.status
        return "valid" if self.valid else "INVALID"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "id": self.spec.id,
            "spec": asdict(self.spec),
            "status": self.status,
            "reason": self.reason,
            "kind": self.kind,
            "run": self.run.to_json() if self.run else None,
            "scaling": json_ready(asdict(self.scaling)) if self.scaling else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        if value["status"] not in get_args(Status):
            raise ValueError(f"a cell's status is none of {', '.join(get_args(Status))}")
        run, scaling = value["run"], value["scaling"]
        return cls(
            CellSpec(**value["spec"]),
            value["status"],
            value["reason"],
            value["kind"],
            RunRecord.from_json(run) if run else None,
            Scaling.from_json(scaling) if scaling else None,
        )
