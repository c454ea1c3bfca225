"""One benchmark: what was chosen, what was found, and every raw sample. What one ``….bench.json`` holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import DeviceFacts
from trtkit.artifacts.finding import Verdict
from trtkit.artifacts.timeline import Timeline
from trtkit.errors import PlanError

__all__ = ["SCHEMA", "BenchResult", "Conditions", "Subject"]

SCHEMA = 1
"""Version of the layout; a reader refuses newer ones."""

_READING_S = 1.0  # over which a reading of power is averaged by the driver
_SETTLED = 5  # readings after that, of which a mean is worth something


@dataclass(frozen=True)
class Subject:
    """What was benchmarked.

    Attributes:
        model: name of the model, and ``model_sha256`` the hash of its FP32 source: equal for all its precisions.
        file, sha256: the artifact that was executed.
        family, version: what executed it, such as ``tensorrt-rtx`` ``1.6.1.120``.
        precision: what was asked for (``fp16``); ``observed`` what was proved (``fp16 + fp32``), ``None`` if unknown.
        proof: the evidence for ``observed``, a sentence.
        rewrites: graph rewrites that the artifact carries.
        macs_per_image: multiply-accumulate operations per image; ``None`` where they could not be counted.
    """

    model: str
    model_sha256: str
    file: str
    sha256: str
    family: str
    version: str
    precision: str
    observed: str | None = None
    proof: str | None = None
    rewrites: tuple[str, ...] = ()
    macs_per_image: int | None = None


@dataclass(frozen=True)
class Conditions:
    """What was true during the measurement; unknown is ``None`` or empty.

    Attributes:
        where: what executed, in the runtime's own words (device name, ONNX Runtime's provider).
        provider: ONNX Runtime's provider as its session reported it; ``None`` for other families.
        facts: of the timed path: ``graph``, ``graph_problem``, ``streams``, ``buffers``, ``input_bytes``,
            ``output_bytes`` (per iteration), ``device_bytes`` in use, ``h2d_bytes_per_s`` measured (pinned);
            ``elsewhere`` (operator → how many) what ONNX Runtime left to the CPU of a GPU's machine.
        warmup: ``iterations``, ``seconds``, ``first_ms`` (just-in-time compilation included).
        stopped: ``confident``, ``max-duration`` or ``fixed`` (a scaling run's common window).
        sm_clock_mhz, memory_clock_mhz, power_w, temperature_c: samples during the run.
        energy_j, energy_s: energy that the board took, by NVML's counter, and the seconds of the run that this is of.
        throttle_reasons: NVML's names of clock limits seen during the run → fraction of samples.
        foreign_processes: of others on the same GPU: ``name (pid)``.
        foreign_cpu: fraction of the CPU time of the processors used that went to other processes (CPU runs).
        check: the spot check of the outputs: ``finite``, ``relative_l2`` and ``limit``, ``against`` (what).
        peak_rss_bytes: of the worker.
        monitor: how the device was watched: ``samples``, ``interval_s``, ``busy_fraction`` (of the run's time spent on
            sampling, in a thread of its own), ``problem`` (why something could not be watched).
    """

    where: str
    provider: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    warmup: dict[str, Any] = field(default_factory=dict)
    stopped: str | None = None
    sm_clock_mhz: tuple[int, ...] = ()
    memory_clock_mhz: tuple[int, ...] = ()
    power_w: tuple[float, ...] = ()
    temperature_c: tuple[int, ...] = ()
    energy_j: float | None = None
    energy_s: float | None = None
    throttle_reasons: dict[str, float] = field(default_factory=dict)
    foreign_processes: tuple[str, ...] = ()
    foreign_cpu: float | None = None
    check: dict[str, Any] | None = None
    peak_rss_bytes: int | None = None
    monitor: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Conditions:
        """The inverse of :func:`dataclasses.asdict` through JSON."""
        listed = ("sm_clock_mhz", "memory_clock_mhz", "power_w", "temperature_c", "foreign_processes")
        return cls(**{**value, **{name: tuple(value[name]) for name in listed}})

    @property
    def mean_power_w(self) -> float | None:
        """Mean board power in watts: by the energy counter, else of the readings after the first second.

        A reading is the driver's average over a second on recent GPUs, so that the first ones are of what was before.
        ``None`` where power was not measured, or the run ended before five readings that count.
        """
        if self.energy_j and self.energy_s:
            return self.energy_j / self.energy_s
        interval_s = self.monitor.get("interval_s")
        settled = self.power_w[math.ceil(_READING_S / interval_s) :] if interval_s else self.power_w
        if not settled or (interval_s and len(settled) < _SETTLED):
            return None
        return sum(settled) / len(settled) or None


@dataclass(frozen=True)
class BenchResult:
    """A measurement with everything that is needed to believe or doubt it.

    Attributes:
        subject, device, settings, conditions, timeline: see their classes.
        verdict: whether it may be quoted, and what to know.
        peak_ops_per_s: the device's theoretical peak in the observed precision; ``None`` for unknown devices.
        peak_source: where that figure is from.
        environment: :class:`trtkit.environment.Environment` as JSON.
        command: the command line that made it.
        created: UTC time, ISO 8601.
    """

    subject: Subject
    device: DeviceFacts
    settings: BenchSettings
    conditions: Conditions
    timeline: Timeline
    verdict: Verdict = field(default_factory=Verdict)
    peak_ops_per_s: float | None = None
    peak_source: str | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    created: str = ""
    schema: int = SCHEMA

    @property
    def throughput_images_per_s(self) -> float | None:
        """Images per second; ``None`` without samples."""
        return self.timeline.throughput_images_per_s

    @property
    def fraction_of_peak(self) -> float | None:
        """Operations done (two per multiply-accumulate) over the theoretical peak; ``None`` where either is unknown."""
        rate, macs = self.throughput_images_per_s, self.subject.macs_per_image
        if rate is None or macs is None or self.peak_ops_per_s is None:
            return None
        return rate * macs * 2 / self.peak_ops_per_s

    @property
    def images_per_joule(self) -> float | None:
        """Images per second over mean board power; ``None`` where that is unknown."""
        rate, power = self.throughput_images_per_s, self.conditions.mean_power_w
        return rate / power if rate is not None and power else None

    def judged(self, verdict: Verdict) -> BenchResult:
        """The same measurement with a verdict."""
        return replace(self, verdict=verdict)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values: summary and verdict first, raw samples last."""
        return {
            "schema": self.schema,
            "subject": {**asdict(self.subject), "rewrites": list(self.subject.rewrites)},
            "verdict": self.verdict.to_json(),
            "summary": {
                **self.timeline.summary(),
                "fraction_of_peak": self.fraction_of_peak,
                "images_per_joule": self.images_per_joule,
                "mean_power_w": self.conditions.mean_power_w,
            },
            "device": self.device.to_json(),
            "settings": self.settings.to_json(),
            "conditions": asdict(self.conditions),
            "peak_ops_per_s": self.peak_ops_per_s,
            "peak_source": self.peak_source,
            "environment": self.environment,
            "command": list(self.command),
            "created": self.created,
            "timeline": self.timeline.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BenchResult:
        """The inverse of :meth:`to_json`; the summary is computed again.

        Raises:
            PlanError: the layout is newer than this trtkit knows, or entries are missing.
        """
        if value.get("schema") != SCHEMA:
            raise PlanError(
                f"The benchmark has schema {value.get('schema')}; this trtkit reads schema {SCHEMA}.",
                hint="Update trtkit, or run the benchmark again.",
            )
        try:
            parts = {name: entry for name, entry in value.items() if name != "summary"}
            subject = parts["subject"]
            parts["subject"] = Subject(**{**subject, "rewrites": tuple(subject["rewrites"])})
            parts["device"] = DeviceFacts.from_json(parts["device"])
            parts["settings"] = BenchSettings.from_json(parts["settings"])
            parts["conditions"] = Conditions.from_json(parts["conditions"])
            parts["timeline"] = Timeline.from_json(parts["timeline"])
            parts["verdict"] = Verdict.from_json(parts["verdict"])
            parts["command"] = tuple(parts["command"])
            return cls(**parts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(
                f"The benchmark is incomplete or was changed: {error}.", hint="Run the benchmark again."
            ) from error
