"""Data → thresholds: statistics, candidate thresholds, their accuracy on samples that were held out, and a choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.job_data import JobData
from trtkit import worker
from trtkit.artifacts.calibration_report import CalibrationReport, MethodResult
from trtkit.artifacts.files import write_bytes
from trtkit.backends import registry
from trtkit.errors import CalibrationError, UsageError
from trtkit.quant import quant_type
from trtkit.worker import Log, Progress, WorkerResult

if TYPE_CHECKING:
    import onnx

    from trtkit.graph.placement import Placement

__all__ = ["ALL", "CalibrateRequest", "calibrate", "methods_of"]

ALL = ("minmax", "percentile:99.99", "entropy", "mse", "search")
"""What ``--method all`` tries."""

_DEFAULT_PERCENTILE = "99.99"


@dataclass(frozen=True)
class CalibrateRequest:
    """How to calibrate.

    Attributes:
        data: which samples.
        methods: as :func:`methods_of` returns them.
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


def methods_of(text: str) -> tuple[str, ...]:
    """``--method`` as a list: a method, several with commas, or ``all``.

    Raises:
        UsageError: unknown method, or a percentile outside 50…100.
    """
    methods: list[str] = []
    for part in text.split(","):
        if part.strip() == "all":
            methods.extend(ALL)
            continue
        name, _, number = part.strip().partition(":")
        if name == "percentile":
            try:
                inside = 50 < float(number or _DEFAULT_PERCENTILE) <= 100
            except ValueError:
                inside = False
            if not inside:
                raise UsageError(
                    f"--method {part}: {number!r} is no percentile above 50 and up to 100.",
                    hint="Write for example percentile:99.99.",
                )
            methods.append(f"percentile:{number or _DEFAULT_PERCENTILE}")
        elif part.strip() in ("minmax", "entropy", "mse", "search"):
            methods.append(part.strip())
        else:
            raise UsageError(
                f"There is no calibration method {part.strip()!r}; allowed: minmax, percentile[:99.99], entropy, mse, "
                "search, all.",
                hint="Choose one of these, or several with commas.",
            )
    return tuple(dict.fromkeys(methods))


def calibrate(
    model: onnx.ModelProto,
    reference: Path,
    placement: Placement,
    request: CalibrateRequest,
    scratch: Path,
    on_event: Callable[[Progress | Log], None],
) -> CalibrationReport:
    """Find thresholds for the tensors that ``placement`` will quantize.

    Args:
        model: the float model; not changed.
        reference: its file.
        placement: what will be quantized.
        request: how.
        scratch: a folder for the instrumented models.
        on_event: takes the workers' progress and log.

    Raises:
        CalibrationError: the data are at fault, or too few.
        RunError: executing the model fails.
    """
    observed, candidate = _write_instrumented(model, placement, request.dtype, scratch)
    run = _Runs(request, str(reference.absolute()), str(candidate), on_event)
    plain = tuple(method for method in request.methods if method != "search")
    # The search needs a start: the method that usually comes closest, if none was asked for.
    found = run.collect(observed, placement, plain or ("entropy",))
    amax = {method: _unified(values, placement.shared) for method, values in found["amax"].items()}
    accuracy = run.score(amax) if found["held_out"] else {}
    searched = None
    if "search" in request.methods:
        searched = run.improve(amax[_best(amax, accuracy)], placement)
        amax["search"] = searched.pop("amax")
        accuracy |= run.score({"search": amax["search"]}) if found["held_out"] else {}
    kept = [method for method in request.methods if method in amax]
    results = tuple(MethodResult(method, amax[method], accuracy.get(method)) for method in kept)
    chosen = _best({method: amax[method] for method in kept}, accuracy)
    return CalibrationReport(
        methods=results,
        chosen=chosen,
        chosen_because=_why(chosen, results),
        search=searched,
        samples=found["samples"],
        held_out=found["held_out"],
        data={**found["description"], "identity": found["identity"]},
        dead=tuple(found["dead"]),
        warnings=tuple(run.warnings),
        where=found["where"],
        timings_s={**run.timings_s, "inference": found["inference_s"], "statistics": found["statistics_s"]},
        peak_rss_bytes=max(run.peaks, default=None),
    )


def _write_instrumented(model: onnx.ModelProto, placement: Placement, dtype: str, scratch: Path) -> tuple[Path, Path]:
    """The model that shows its inner tensors, and the quantized one whose scales are inputs."""
    from trtkit.graph import io
    from trtkit.graph.observe import observe
    from trtkit.graph.qdq import insert

    observed, candidate = scratch / "observed.onnx", scratch / "candidate.onnx"
    # Not through io.save: inner tensors may have no rank that shape inference can tell, and a runtime needs none.
    write_bytes(observed, observe(model, placement.tensors).SerializeToString())
    neutral = dict.fromkeys(placement.tensors, 1.0)
    quantized = insert(model, placement, neutral, quant_type(dtype), scales_as_inputs=True)
    io.save(quantized, candidate, name="candidate", precision=dtype)
    return observed.absolute(), candidate.absolute()


class _Runs:
    """The worker runs of one calibration, with what they have in common."""

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
        graph_inputs = {spec.name for spec in self._request.data.inputs}
        answer = self._run(
            "collect",
            observed=str(observed),
            tensors=list(placement.tensors),
            exact_only=[name for name in placement.tensors if name in graph_inputs],
            methods=list(methods),
            checkpoint=str(self._request.checkpoint.absolute()),
            identity={"model": self._request.model_sha256},
            resume=self._request.resume,
        )
        value: dict[str, Any] = answer.value
        return value

    def score(self, amax: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
        axes = dict(self._request.softmax_axes)
        answer = self._run("score", **self._models, amax=amax, softmax_axes=axes, classes=self._request.classes)
        value: dict[str, Any] = answer.value
        return value

    def improve(self, start: Mapping[str, float], placement: Placement) -> dict[str, Any]:
        inputs = {spec.name for spec in self._request.data.inputs}
        answer = self._run(
            "improve",
            **self._models,
            start=start,
            order=[name for name in placement.tensors if name not in inputs],
            groups=[list(group) for group in placement.shared],
            softmax_axes=dict(self._request.softmax_axes),
            samples=self._request.search_samples,
            seconds=self._request.search_seconds,
        )
        value: dict[str, Any] = answer.value
        return value

    def _run(self, job: str, **arguments: Any) -> WorkerResult:
        answer = worker.run(
            f"calibration.jobs:{job}",
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

    def _hear(self, event: Progress | Log) -> None:
        if isinstance(event, Log) and event.severity == "warning":
            self.warnings.append(event.text)
        self._on_event(event)


def _unified(amax: Mapping[str, float], groups: tuple[tuple[str, ...], ...]) -> dict[str, float]:
    """The same thresholds, with one for each group that must share it: the largest of its members."""
    unified = dict(amax)
    for group in groups:
        unified |= dict.fromkeys(group, max(amax[name] for name in group))
    return unified


def _best(amax: Mapping[str, Mapping[str, float]], accuracy: Mapping[str, Mapping[str, Any]]) -> str:
    """The method with the highest SQNR on held-out samples; the last one asked for where nothing was held out."""
    scored = [method for method in amax if accuracy.get(method, {}).get("sqnr_db") is not None]
    return max(scored, key=lambda method: accuracy[method]["sqnr_db"]) if scored else list(amax)[-1]


def _why(chosen: str, results: tuple[MethodResult, ...]) -> str:
    others = [result for result in results if result.method != chosen and result.sqnr_db is not None]
    best = next(result for result in results if result.method == chosen)
    if len(results) == 1:
        return "the only one asked for"
    if best.sqnr_db is None or not others:
        return "nothing was held out to compare the methods on"
    second = max(others, key=lambda result: result.sqnr_db or 0.0)
    gain = best.sqnr_db - (second.sqnr_db or 0.0)
    return f"highest SQNR on held-out samples, {gain:.2f} dB above {second.method}"
