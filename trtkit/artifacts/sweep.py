"""A row of measurements at growing batch sizes, attempt by attempt, as it is saved: what ran, what did not, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from trtkit.artifacts.files import json_ready, read_json, write_json
from trtkit.errors import PlanError

__all__ = ["SCHEMA", "Attempt", "Outcome", "Sweep"]

SCHEMA = 1
"""Version of the layout; a reader refuses newer ones."""

Outcome = Literal["measured", "probed", "failed", "skipped"]
"""``probed`` ran for a moment, to find the largest batch; ``skipped`` was not tried, because it could not run."""


@dataclass(frozen=True)
class Attempt:
    """One batch size, tried in a worker of its own.

    Attributes:
        batch: images per iteration.
        outcome: see :data:`Outcome`.
        reason: why it did not run: ``device_memory``, ``workspace``, ``profile``, ``element_limit``, ``host_memory``,
            ``timeout`` or ``other``; ``None`` if it ran.
        text: that reason in words, with its numbers; empty if it ran.
        estimate_bytes: memory that weights and activations need, estimated before the attempt; ``None`` if unknown.
        available_bytes: memory that was free then; ``None`` if unknown.
        device_bytes: memory in use on the device while it ran, of everybody; ``None`` if it did not, or if unknown.
        device_total_bytes: all memory of the device; ``None`` likewise.
        images_per_s: throughput; ``None`` unless measured.
        file: name of the result file beside the sweep; ``None`` unless measured.
        file_sha256: of that file as it was written; ``None`` unless measured.
    """

    batch: int
    outcome: Outcome
    reason: str | None = None
    text: str = ""
    estimate_bytes: int | None = None
    available_bytes: int | None = None
    images_per_s: float | None = None
    file: str | None = None
    device_bytes: int | None = None
    device_total_bytes: int | None = None
    file_sha256: str | None = None

    @property
    def ran(self) -> bool:
        """Whether this batch executes here."""
        return self.outcome in ("measured", "probed")


@dataclass(frozen=True)
class Sweep:
    """The attempts of one subject in one mode on one device.

    Attributes:
        key: hash over all that decides the numbers; a state with another key is not continued.
        model, precision, family, device, mode: as in the results.
        profile: ``each`` (an engine for each batch, tuned for it), ``shared`` (one engine for all), ``plan`` (the plan
            that was given) or ``none`` (ONNX Runtime needs no profile).
        batches: the batch sizes asked for; empty for a ladder, which looks for the largest.
        limit: the largest batch that a ladder tries; ``None`` for none.
        within: the share up to which a ladder looks for its edge; 0 for the exact batch.
        attempts: in the order in which they were made.
        complete: whether nothing is left to do.
        stopped: why a ladder ends where it does, a sentence; ``None`` while it goes on, and for a list.
    """

    key: str
    model: str
    precision: str
    family: str
    device: str
    mode: str
    profile: str
    batches: tuple[int, ...] = ()
    limit: int | None = None
    attempts: tuple[Attempt, ...] = ()
    complete: bool = False
    stopped: str | None = None
    within: float = 0.0
    schema: int = SCHEMA

    @property
    def is_ladder(self) -> bool:
        """Whether it looks for the largest batch that runs."""
        return not self.batches

    @property
    def largest(self) -> int | None:
        """The largest batch that ran; ``None`` if none did."""
        return max((attempt.batch for attempt in self.attempts if attempt.ran), default=None)

    @property
    def first_failure(self) -> Attempt | None:
        """The smallest batch that did not run; ``None`` if all did."""
        return min((a for a in self.attempts if not a.ran), key=lambda a: a.batch, default=None)

    def latest(self, batch: int) -> Attempt | None:
        """The last attempt at this batch size."""
        return next((attempt for attempt in reversed(self.attempts) if attempt.batch == batch), None)

    def with_attempt(self, attempt: Attempt) -> Sweep:
        """The sweep with one attempt more."""
        return replace(self, attempts=(*self.attempts, attempt))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values; ``largest`` goes along for readers of the file."""
        value: dict[str, Any] = json_ready({**asdict(self), "largest": self.largest})
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sweep:
        """The inverse of :meth:`to_json`.

        Raises:
            PlanError: the layout is newer than this trtkit knows, or entries are missing.
        """
        if value.get("schema") != SCHEMA:
            raise PlanError(
                f"The sweep has schema {value.get('schema')}; this trtkit reads schema {SCHEMA}.",
                hint="Update trtkit, or run the sweep again with --force.",
            )
        try:
            parts = {name: entry for name, entry in value.items() if name != "largest"}
            attempts = tuple(Attempt(**attempt) for attempt in parts.pop("attempts"))
            if any(attempt.outcome not in get_args(Outcome) for attempt in attempts):
                raise ValueError(f"an attempt's outcome is none of {', '.join(get_args(Outcome))}")
            return cls(**{**parts, "batches": tuple(parts["batches"]), "attempts": attempts})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(
                f"The sweep is incomplete or was changed: {error}.", hint="Run it again with --force."
            ) from error

    def write(self, path: Path) -> None:
        """Save it by atomic rename, flushed to the disk: a kill at any moment leaves the last state whole."""
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Sweep:
        """The state at ``path``.

        Raises:
            PlanError: it is missing, unreadable or of another layout.
        """
        return cls.from_json(read_json(path))
