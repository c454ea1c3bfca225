"""A benchmark without its raw samples: what tables, pages and figures need, and where the whole of it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from trtkit.artifacts.bench import BenchResult, Subject
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.comparison import median_rate
from trtkit.artifacts.device import DeviceFacts
from trtkit.artifacts.files import json_ready
from trtkit.artifacts.finding import Verdict
from trtkit.errors import PlanError

__all__ = ["RunRecord"]


@dataclass(frozen=True)
class RunRecord:
    """One benchmark, summed up; a study of thousands of runs holds these, and the raw samples stay in their files.

    Attributes:
        subject, device, settings, verdict: as in :class:`~trtkit.artifacts.bench.BenchResult`.
        summary: the figures of :meth:`trtkit.artifacts.timeline.Timeline.summary`, ``fraction_of_peak``,
            ``images_per_joule``, ``mean_power_w`` and ``median_images_per_s``, which comparisons are made of.
        conditions: what was true during the run; samples of clocks, power and temperature as ``[min, mean, max]``.
        peak_ops_per_s, peak_source: the theoretical peak, and where it is from; ``None`` for unknown devices.
        environment, command, created: who made it, with what, and when.
        file: the benchmark's own file, relative to the study's folder.
    """

    subject: Subject
    device: DeviceFacts
    settings: BenchSettings
    verdict: Verdict
    summary: dict[str, Any]
    conditions: dict[str, Any] = field(default_factory=dict)
    peak_ops_per_s: float | None = None
    peak_source: str | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    created: str = ""
    file: str = ""

    @classmethod
    def of(cls, result: BenchResult, file: str) -> Self:
        """Sum up a benchmark that lies in ``file``."""
        value = json_ready(result.to_json())
        conditions = value["conditions"]
        for name in ("sm_clock_mhz", "memory_clock_mhz", "power_w", "temperature_c"):
            conditions[name] = _spread(conditions[name])
        return cls(
            result.subject,
            result.device,
            result.settings,
            result.verdict,
            {**value["summary"], "median_images_per_s": median_rate(result.timeline)},
            conditions,
            result.peak_ops_per_s,
            result.peak_source,
            result.environment,
            result.command,
            result.created,
            file,
        )

    @property
    def valid(self) -> bool:
        """Whether it may be quoted."""
        return self.verdict.valid

    @property
    def images_per_s(self) -> float | None:
        """Throughput; ``None`` without samples."""
        return _number(self.summary.get("throughput_images_per_s"))

    @property
    def median_images_per_s(self) -> float | None:
        """Rate at the median time between finished batches; ``None`` where an older trtkit summed up the run."""
        return _number(self.summary.get("median_images_per_s"))

    @property
    def fraction_of_peak(self) -> float | None:
        """Share of the theoretical peak, 0 to 1; ``None`` where the peak is unknown."""
        return _number(self.summary.get("fraction_of_peak"))

    @property
    def images_per_joule(self) -> float | None:
        """Images per joule of board energy; ``None`` where power was not measured, or by an older trtkit.

        That took the mean of all readings, of which the first are of what was before the run.
        """
        return _number(self.summary.get("images_per_joule")) if "mean_power_w" in self.summary else None

    def latency_ms(self, percent: int = 50) -> float | None:
        """A percentile of the latency in ms: 50, 90, 95 or 99."""
        latency = self.summary.get("latency")
        return _number(latency.get(f"p{percent}_ms")) if isinstance(latency, Mapping) else None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        value: dict[str, Any] = json_ready(
            {
                "subject": asdict(self.subject),
                "verdict": self.verdict.to_json(),
                "summary": self.summary,
                "device": self.device.to_json(),
                "settings": self.settings.to_json(),
                "conditions": self.conditions,
                "peak_ops_per_s": self.peak_ops_per_s,
                "peak_source": self.peak_source,
                "environment": self.environment,
                "command": self.command,
                "created": self.created,
                "file": self.file,
            }
        )
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`.

        Raises:
            PlanError: entries are missing or were changed.
        """
        try:
            subject = value["subject"]
            return cls(
                **{
                    **value,
                    "subject": Subject(**{**subject, "rewrites": tuple(subject["rewrites"])}),
                    "device": DeviceFacts.from_json(value["device"]),
                    "settings": BenchSettings.from_json(value["settings"]),
                    "verdict": Verdict.from_json(value["verdict"]),
                    "command": tuple(value["command"]),
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(
                f"A run in the study's results is incomplete or was changed: {error}.",
                hint="Run trtkit study again in the same folder: finished runs are kept.",
            ) from error


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _spread(values: Sequence[float]) -> list[float] | None:
    return [min(values), sum(values) / len(values), max(values)] if values else None
