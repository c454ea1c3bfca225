"""What a calibration found: every method's thresholds and how good they are, and which were taken and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

__all__ = ["CalibrationReport", "MethodResult"]


@dataclass(frozen=True)
class MethodResult:
    """One method's thresholds.

    Attributes:
        method: ``minmax``, ``percentile:99.99``, ``entropy``, ``mse`` or ``search``.
        amax: tensor → threshold.
        accuracy: :class:`calibration.accuracy.Accuracy` on held-out samples as JSON; ``None`` if nothing was held out.
    """

    method: str
    amax: dict[str, float]
    accuracy: dict[str, Any] | None

    @property
    def sqnr_db(self) -> float | None:
        """SQNR of the scores on held-out samples, in dB."""
        return self.accuracy["sqnr_db"] if self.accuracy else None


@dataclass(frozen=True)
class CalibrationReport:
    """What ``trtkit calibrate`` found.

    Attributes:
        methods: one result each, in the order they were asked.
        chosen: the method whose thresholds were taken.
        chosen_because: why, a sentence.
        search: what the search did (noise before and after, evaluations, samples, finished); ``None`` without one.
        samples, held_out: numbers of samples.
        data: description of the data set.
        dead: tensors that were zero in every sample.
        warnings: about the data and the model.
        where: what executed the float model.
        timings_s: wall time of each part, in seconds.
        peak_rss_bytes: largest resident set of any worker.
        cache: how a TensorRT calibration cache matched the model (its header, and the names that matched, are missing,
            zero, fused, unused or unmatched); ``None`` without one.
        command: the command line.
        created: UTC time, ISO 8601.
    """

    methods: tuple[MethodResult, ...]
    chosen: str
    chosen_because: str
    search: dict[str, Any] | None
    samples: int
    held_out: int
    data: dict[str, Any]
    dead: tuple[str, ...]
    warnings: tuple[str, ...]
    where: str
    timings_s: dict[str, float]
    peak_rss_bytes: int | None
    cache: dict[str, Any] | None = None
    command: tuple[str, ...] = ()
    created: str = ""

    @property
    def best(self) -> MethodResult:
        """The method that was taken."""
        return next(result for result in self.methods if result.method == self.chosen)

    @classmethod
    def without_data(cls, method: str, amax: Mapping[str, float], data: dict[str, Any]) -> Self:
        """Of thresholds that came from elsewhere, and that no sample was tried on."""
        result = MethodResult(method, dict(amax), None)
        return cls((result,), method, "taken as they are", None, 0, 0, data, (), (), "nothing", {}, None)

    def made_by(self, command: tuple[str, ...]) -> Self:
        """The same, with the command line and the time of now."""
        return replace(self, command=command, created=datetime.now(UTC).isoformat(timespec="seconds"))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CalibrationReport:
        """The inverse of :meth:`to_json`."""
        tuples = {name: tuple(value[name]) for name in ("dead", "warnings", "command")}
        return cls(**{**value, **tuples, "methods": tuple(MethodResult(**result) for result in value["methods"])})
