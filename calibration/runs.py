"""The worker runs of a calibration, as seen from the parent process: what they are told, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.job_data import JobData
from trtkit import worker
from trtkit.backends import registry
from trtkit.errors import CalibrationError
from trtkit.worker import Log, Progress, WorkerResult

if TYPE_CHECKING:
    from trtkit.graph.placement import Placement

__all__ = ["CalibrateRequest", "Runs"]


@dataclass(frozen=True)
class CalibrateRequest:
    """How to calibrate.

    Attributes:
        data: which samples.
        methods: as :func:`calibration.methods.methods_of` returns them.
        dtype: ``int8`` or ``fp8``.
        softmax_axes: outputs that are a Softmax's, and its axis.
        classes: whether the model gives one score a class.
        model_sha256: of the float model.
        checkpoint: the file that keeps statistics of an interrupted run.
        resume: continue from it.
        search_samples: calibration samples that the search looks at.
        search_seconds: its time limit.
    """

    data: JobData
    methods: tuple[str, ...]
    dtype: str
    softmax_axes: Mapping[str, int]
    classes: bool
    model_sha256: str
    checkpoint: Path
    resume: bool = False
    search_samples: int = 64
    search_seconds: float = 120.0


class Runs:
    """The worker runs of one calibration, with what they have in common.

    Args:
        request: how to calibrate.
        reference: the float ONNX file.
        candidate: the Q/DQ ONNX file whose scales are inputs.
        on_event: takes the workers' progress and log.

    Attributes:
        warnings: what the workers warned about, each once.
        timings_s: wall time of each job, in seconds.
        peaks: largest resident set of each worker, in bytes.
    """

    def __init__(
        self, request: CalibrateRequest, reference: str, candidate: str, on_event: Callable[[Progress | Log], None]
    ) -> None:
        self._request = request
        self._models = {"reference": reference, "candidate": candidate}
        self._on_event = on_event
        self.warnings: list[str] = []
        self.timings_s: dict[str, float] = {}
        self.peaks: list[int] = []

    def collect(self, observed: Path, placement: Placement, methods: tuple[str, ...]) -> dict[str, Any]:
        """:func:`calibration.jobs.collect`; ``observed`` is the model that shows its inner tensors."""
        answer = self._run(
            "collect",
            observed=str(observed),
            tensors=list(placement.tensors),
            exact_only=list(placement.raw),
            methods=list(methods),
            checkpoint=str(self._request.checkpoint.absolute()),
            model=self._request.model_sha256,
            resume=self._request.resume,
        )
        value: dict[str, Any] = answer.value
        return value

    def score(
        self, amax: Mapping[str, Mapping[str, float]], seen: dict[str, Any] | None, *, everything: bool = False
    ) -> dict[str, Any]:
        """:func:`calibration.score_jobs.score`."""
        answer = self._run(
            "score",
            **self._models,
            amax=amax,
            softmax_axes=dict(self._request.softmax_axes),
            classes=self._request.classes,
            seen=seen,
            everything=everything,
        )
        value: dict[str, Any] = answer.value
        return value

    def improve(self, start: Mapping[str, float], placement: Placement, seen: dict[str, Any]) -> dict[str, Any]:
        """:func:`calibration.score_jobs.improve`."""
        inputs = {spec.name for spec in self._request.data.inputs}
        answer = self._run(
            "improve",
            **self._models,
            start=start,
            order=[name for name in placement.tensors if name not in inputs],
            groups=[list(group) for group in placement.shared],
            softmax_axes=dict(self._request.softmax_axes),
            seen=seen,
            samples=self._request.search_samples,
            seconds=self._request.search_seconds,
        )
        value: dict[str, Any] = answer.value
        return value

    def _run(self, job: str, **arguments: Any) -> WorkerResult:
        answer = worker.run(
            f"calibration.{'jobs' if job == 'collect' else 'score_jobs'}:{job}",
            {"data": self._request.data.to_json(), "dtype": self._request.dtype, **arguments},
            what=f"calibration ({job})",
            died=CalibrationError,
            env=registry.worker_env("onnxruntime"),
            on_event=self._hear,
        )
        self.timings_s[job] = self.timings_s.get(job, 0.0) + answer.seconds
        if answer.peak_rss_bytes is not None:
            self.peaks.append(answer.peak_rss_bytes)
        return answer

    def warn(self, text: str) -> None:
        """Tell the user and the report something."""
        self._hear(Log("warning", text))

    def _hear(self, event: Progress | Log) -> None:
        if isinstance(event, Log) and event.severity == "warning":
            if event.text in self.warnings:  # the same data are read by each worker
                return
            self.warnings.append(event.text)
        self._on_event(event)
