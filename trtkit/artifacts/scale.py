"""Several devices measured together, and each alone in the same run: what one ``….scale.json`` holds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.finding import Finding
from trtkit.errors import PlanError

__all__ = ["ALONE", "SCHEMA", "TOGETHER", "Phase", "ScaleResult", "Share"]

SCHEMA = 1
"""Version of the layout; a reader refuses newer ones."""

TOGETHER = "together"
ALONE = ("alone-before", "alone-after")


@dataclass(frozen=True)
class Phase:
    """One device in one window.

    Attributes:
        name: :data:`TOGETHER`, or one of :data:`ALONE`.
        start_monotonic_s: begin of the window by the clock of the device's machine.
        seconds: length of the window.
        result: what was measured in and around it, judged.
    """

    name: str
    start_monotonic_s: float
    seconds: float
    result: BenchResult

    @property
    def images_per_s(self) -> float:
        """Images finished within the window, over its length."""
        start = self.start_monotonic_s
        return self.result.timeline.images_between(start, start + self.seconds) / self.seconds

    @property
    def idle_s(self) -> float:
        """Seconds of the window before the first iteration began and after the last one ended."""
        line = self.result.timeline
        if not len(line):
            return self.seconds
        begin = self.start_monotonic_s - line.epoch_monotonic_s
        first = float(line.column("start_h2d_ms").min()) / 1e3 - begin
        last = float(line.column("end_d2h_ms").max()) / 1e3 - begin
        return min(max(first, 0.0) + max(self.seconds - last, 0.0), self.seconds)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        facts = {"name": self.name, "start_monotonic_s": self.start_monotonic_s, "seconds": self.seconds}
        return {**facts, "images_per_s": self.images_per_s, "result": self.result.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Phase:
        """The inverse of :meth:`to_json`; the rate is computed again."""
        parts = {name: value[name] for name in ("name", "start_monotonic_s", "seconds")}
        return cls(**parts, result=BenchResult.from_json(value["result"]))


@dataclass(frozen=True)
class Share:
    """One device's part.

    Attributes:
        device: its name on its machine, ``cuda:0``.
        name: ``NVIDIA H200``, or the processor's name; ``None`` where it never came to be ready.
        host, rank: whose it is.
        phases: by name; those that were measured.
        problem: why it did not finish; ``None`` if it did.
    """

    device: str
    name: str | None
    host: str
    rank: int
    phases: Mapping[str, Phase] = field(default_factory=dict)
    problem: str | None = None

    @property
    def together_images_per_s(self) -> float | None:
        """Rate in the window that all shared; ``None`` if it was not measured."""
        found = self.phases.get(TOGETHER)
        return found.images_per_s if found else None

    @property
    def alone_images_per_s(self) -> float | None:
        """Mean of the rates alone, before and after; ``None`` if it was not measured alone."""
        rates = [self.phases[name].images_per_s for name in ALONE if name in self.phases]
        return statistics.fmean(rates) if rates else None

    @property
    def efficiency(self) -> float | None:
        """Together over alone; ``None`` where either is missing."""
        together, alone = self.together_images_per_s, self.alone_images_per_s
        return together / alone if together is not None and alone else None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values, the figures first."""
        return {
            "device": self.device,
            "name": self.name,
            "host": self.host,
            "rank": self.rank,
            "together_images_per_s": self.together_images_per_s,
            "alone_images_per_s": self.alone_images_per_s,
            "efficiency": self.efficiency,
            "problem": self.problem,
            "phases": {name: phase.to_json() for name, phase in self.phases.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Share:
        """The inverse of :meth:`to_json`; the figures are computed again."""
        parts = {name: value[name] for name in ("device", "name", "host", "rank", "problem")}
        return cls(**parts, phases={name: Phase.from_json(phase) for name, phase in value["phases"].items()})


@dataclass(frozen=True)
class ScaleResult:
    """Devices that worked at the same time.

    Attributes:
        shares: one for each device, in the order of ranks and of their devices.
        launcher: ``local`` (one process with a worker for each device), ``mpirun``, ``srun``, ``torchrun`` or
            ``rendezvous``.
        ranks: number of processes that took part.
        clock_error_s: bound of the error of the machines' common window when ranks met, in seconds; 0 on one machine.
        clock_drift_s: most that a machine's clock had moved against rank 0's at the end of the run, in seconds, either
            way; ``None`` if it is not known, as of a run that ended early.
        clock_drift_error_s: bound of that estimate's error.
        findings: what explains the slowest devices and the loss.
        problem: what ended the run before its end; ``None`` if nothing did.
        command: the command line that made it.
        created: UTC time, ISO 8601.
    """

    shares: tuple[Share, ...]
    launcher: str = "local"
    ranks: int = 1
    clock_error_s: float = 0.0
    clock_drift_s: float | None = None
    clock_drift_error_s: float = 0.0
    findings: tuple[Finding, ...] = ()
    problem: str | None = None
    command: tuple[str, ...] = ()
    created: str = ""
    schema: int = SCHEMA

    @property
    def total_images_per_s(self) -> float | None:
        """Sum of the rates in the common window; ``None`` if a device has none."""
        rates = [share.together_images_per_s for share in self.shares]
        return sum(rate for rate in rates if rate is not None) if rates and None not in rates else None

    @property
    def sum_of_alone_images_per_s(self) -> float | None:
        """Sum of the rates alone; ``None`` if a device has none."""
        rates = [share.alone_images_per_s for share in self.shares]
        return sum(rate for rate in rates if rate is not None) if rates and None not in rates else None

    @property
    def efficiency(self) -> float | None:
        """Together over the sum of alone; ``None`` where either is missing."""
        total, alone = self.total_images_per_s, self.sum_of_alone_images_per_s
        return total / alone if total is not None and alone else None

    def label(self, share: Share) -> str:
        """How people tell a device from the others: ``cuda:1``, ``node3 cuda:1``, ``rank 2 cpu`` where names repeat."""
        names = [(other.host, other.device) for other in self.shares]
        where = [share.host] if len({host for host, _ in names}) > 1 else []
        where += [f"rank {share.rank}"] if names.count((share.host, share.device)) > 1 else []
        return " ".join([*where, share.device])

    @property
    def valid(self) -> bool:
        """Whether every device finished and nothing speaks against any of its measurements."""
        phases = [phase for share in self.shares for phase in share.phases.values()]
        return self.problem is None and all(phase.result.verdict.valid for phase in phases)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values, the figures first and raw samples last."""
        return {
            "schema": self.schema,
            "valid": self.valid,
            "problem": self.problem,
            "devices": len(self.shares),
            "total_images_per_s": self.total_images_per_s,
            "sum_of_alone_images_per_s": self.sum_of_alone_images_per_s,
            "efficiency": self.efficiency,
            "launcher": self.launcher,
            "ranks": self.ranks,
            "clock_error_s": self.clock_error_s,
            "clock_drift_s": self.clock_drift_s,
            "clock_drift_error_s": self.clock_drift_error_s,
            "findings": [asdict(finding) for finding in self.findings],
            "command": list(self.command),
            "created": self.created,
            "shares": [share.to_json() for share in self.shares],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ScaleResult:
        """The inverse of :meth:`to_json`; the figures are computed again.

        Raises:
            PlanError: the layout is newer than this trtkit knows, or entries are missing.
        """
        if value.get("schema") != SCHEMA:
            raise PlanError(
                f"The scaling result has schema {value.get('schema')}; this trtkit reads schema {SCHEMA}.",
                hint="Update trtkit, or measure again.",
            )
        try:
            return cls(
                shares=tuple(Share.from_json(share) for share in value["shares"]),
                findings=tuple(Finding.from_json(finding) for finding in value["findings"]),
                command=tuple(value["command"]),
                # Results of before the drift was measured have none.
                clock_drift_s=value.get("clock_drift_s"),
                clock_drift_error_s=value.get("clock_drift_error_s", 0.0),
                **{name: value[name] for name in ("launcher", "ranks", "clock_error_s", "problem", "created")},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(
                f"The scaling result is incomplete or was changed: {error}.", hint="Measure again."
            ) from error
