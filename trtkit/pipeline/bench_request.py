"""What ``bench`` is asked, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from trtkit.arguments import check_argument, check_fields
from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.sweep import Attempt, Sweep
from trtkit.errors import TrtkitError, UsageError
from trtkit.pipeline.request import PRECISIONS
from trtkit.pipeline.rewriting import check_asked
from trtkit.stages.export import SourceRequest

__all__ = [
    "INPUT_DTYPES",
    "PROFILES",
    "SETTINGS",
    "BenchmarkRequest",
    "BenchmarkResult",
    "Failure",
    "Run",
    "check_within",
]

PROFILES = ("each", "shared")
"""An engine for each batch size, tuned for it alone; or one for all of them."""

INPUT_DTYPES = ("float32", "uint8")
"""What the host may hand images over as."""

_LARGEST = 2**31 - 1
_LEAST = {"warmup_s": 0.0, "duration_s": 0.0, "max_duration_s": 0.0, "min_iterations": 1, "buffers": 1, "depth": 1}
_CHOSEN_ELSEWHERE = ("mode", "batch", "shapes", "profile", "tf32", "data")
SETTINGS: dict[str, Any] = {
    entry.name: get_type_hints(BenchSettings)[entry.name]
    for entry in fields(BenchSettings)
    if entry.name not in _CHOSEN_ELSEWHERE
}
"""What of :class:`~trtkit.artifacts.bench_settings.BenchSettings` can be chosen freely, and the type of each."""


@dataclass(frozen=True)
class BenchmarkRequest:
    """Everything that ``trtkit bench`` can be told.

    Attributes:
        source: a plan, an ONNX file or a definition.
        family: a family's name or ``auto``: the first that can run on the device.
        devices: ``cpu``, ``cuda:1``, ``0,1``, ``all``; ``None`` for the first GPU, or the CPU where there is none.
        precisions: some of :data:`~trtkit.pipeline.request.PRECISIONS`; empty for what the source is.
        batches: batch sizes; empty for the one that the plan is tuned for, or 32 on a GPU and 1 on a CPU.
        ladder: look for the largest batch that runs, instead of ``batches``.
        modes: some of :data:`~trtkit.artifacts.bench_settings.MODES`, or ``("all",)``; empty for ``compute-graph`` on a
            GPU and ``compute`` on a CPU.
        shapes: ``NAME=SHAPE`` for dynamic axes other than the batch; its first size is then the batch, and
            ``NAME=MIN:OPT:MAX`` gives a range of them.
        profile: one of :data:`PROFILES`.
        settings: fields of :class:`~trtkit.artifacts.bench_settings.BenchSettings` by name, those of :data:`SETTINGS`.
        data: samples to feed instead of synthetic ones: ``.npy`` or ``.npz``.
        sweep_limit: the largest batch that a ladder tries.
        sweep_within: a ladder ends once the smallest batch that failed is no more than this share above the largest
            that ran, from 0 (the exact batch) to below 1.
        known: attempts that a ladder goes on from, made before in the same folder under the same conditions, on one
            device in one precision and mode.
        ahead: further batches that will be asked for next: what can be made for them beforehand is made beside.
        attempt_seconds: the longest that one attempt of a ladder may take; ``None`` for 60 on a CPU, 600 on a GPU.
        host_code: let the native code inside a version-compatible plan run.
        output: the folder for the results.
        cache: keep converted plans, just-in-time kernels and spot checks between runs.
        force: convert and measure anew, whatever is there.
        command: the command line, for the results.
        rewrite: rewrites for speed, as for :class:`~trtkit.pipeline.request.ConvertRequest`; ``None`` takes ``safe``
            for a definition and ``none`` for a file, which is measured as it is.
    """

    source: SourceRequest
    family: str = "auto"
    devices: str | None = None
    precisions: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    ladder: bool = False
    modes: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    profile: str = "each"
    settings: dict[str, object] = field(default_factory=dict)
    data: Path | None = None
    sweep_limit: int | None = None
    sweep_within: float = 0.0
    known: tuple[Attempt, ...] = ()
    ahead: tuple[int, ...] = ()
    attempt_seconds: float | None = None
    host_code: bool = False
    output: Path = Path()
    cache: bool = True
    force: bool = False
    command: tuple[str, ...] = ()
    rewrite: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name, value in self.settings.items():
            if name not in SETTINGS:
                raise UsageError(
                    f"BenchmarkRequest: there is no setting {name!r}; allowed: {', '.join(SETTINGS)}.",
                    hint="Choose among these; batches, modes, shapes and data are arguments of their own.",
                )
            check_argument("BenchmarkRequest.settings", name, value, SETTINGS[name])
        check_asked(self.rewrite or "none")
        _check_words("precision", self.precisions, PRECISIONS)
        _check_words("mode", self.modes, (*MODES, "all"))
        _check_words("profile", (self.profile,), PROFILES)
        if (dtype := self.settings.get("input_dtype", "float32")) not in INPUT_DTYPES:
            raise UsageError(f"input_dtype is {dtype!r}; it is {' or '.join(INPUT_DTYPES)}.", hint="Choose one.")
        if self.data is not None and not self.data.is_file():
            what = "is a folder" if self.data.is_dir() else "does not exist"
            raise UsageError(f"The data {self.data} {what}.", hint="Give a .npy or .npz file of ready input arrays.")
        _check_numbers(self)


def _check_words(what: str, given: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    """Hold words against a vocabulary.

    Raises:
        UsageError: an unknown or repeated word.
    """
    for word in given:
        if word not in allowed:
            raise UsageError(f"There is no {what} {word!r}; allowed: {', '.join(allowed)}.", hint="Choose among these.")
    if len(set(given)) != len(given):
        raise UsageError(f"A {what} is named twice: {', '.join(given)}.", hint="Name each once.")


def _check_numbers(request: BenchmarkRequest) -> None:
    """Hold the numbers against their ranges and against each other.

    Raises:
        UsageError: one is out of range, or two contradict each other.
    """
    if request.ladder and request.batches:
        raise UsageError("--batch auto looks for the batch sizes itself.", hint="Give either auto or a list.")
    if any(batch > _LARGEST for batch in (*request.batches, request.sweep_limit or 1)):
        raise UsageError(f"No batch is larger than {_LARGEST:,}.", hint="Give smaller batch sizes.")
    if any(batch < 1 for batch in request.batches) or len(set(request.batches)) != len(request.batches):
        shown = ",".join(map(str, request.batches))
        raise UsageError(f"--batch {shown} must name whole numbers from 1 up, each once.", hint="Write 1,8,64.")
    if request.sweep_limit is not None and (not request.ladder or request.sweep_limit < 1):
        raise UsageError(
            f"--sweep-limit {request.sweep_limit} is the largest batch that --batch auto tries, from 1 up.",
            hint="Add --batch auto, or leave it out.",
        )
    check_within(request.sweep_within, ladder=request.ladder)
    if request.known and not request.ladder:
        raise UsageError("Attempts made before are what --batch auto goes on from.", hint="Leave known out.")
    if request.attempt_seconds is not None and request.attempt_seconds <= 0:
        raise UsageError("--attempt-seconds is a time above 0.", hint="Give seconds, such as 60.")
    values = {**{entry.name: entry.default for entry in fields(BenchSettings)}, **request.settings}
    for name, low in _LEAST.items():
        value = values[name]
        if isinstance(value, int | float) and not low <= value < math.inf:
            raise UsageError(f"{name} is {value}; it is a number from {low} up.", hint="Give such a number.")
    if not 0 < float(values["confidence"]) < 1:  # type: ignore[arg-type]
        raise UsageError(
            f"--confidence {values['confidence']} is no share between 0 and 1.", hint="Write 0.01 for 1 %."
        )
    if float(values["max_duration_s"]) < float(values["duration_s"]):  # type: ignore[arg-type]
        raise UsageError(
            f"--max-duration {values['max_duration_s']} s is shorter than --duration {values['duration_s']} s.",
            hint="Raise --max-duration, or lower --duration.",
        )


def check_within(within: float, *, ladder: bool) -> None:
    """Hold the share up to which a ladder looks for its edge against its range.

    Raises:
        UsageError: it is out of range, or there is no ladder.
    """
    if not 0 <= within < 1:
        raise UsageError(
            f"--sweep-within {100 * within:g} is not from 0 % (the exact batch) to below 100 %.",
            hint="Write --sweep-within 5 for 5 %, or leave it out.",
        )
    if within and not ladder:
        raise UsageError(
            f"--sweep-within {100 * within:g} is how closely --batch auto looks for the largest batch.",
            hint="Add auto to --batch, or leave it out.",
        )


@dataclass(frozen=True)
class Run:
    """One measurement and the file that holds it with its raw samples."""

    result: BenchResult
    file: Path


@dataclass(frozen=True)
class Failure:
    """One measurement that could not be made: which (``fp16 on cuda:0, batch 256, overlapped``), and why."""

    what: str
    error: TrtkitError


@dataclass(frozen=True)
class BenchmarkResult:
    """What is there afterwards.

    Attributes:
        runs: the measurements, those of an interrupted sweep that were kept among them.
        sweeps: the attempts of every row of more than one batch.
        failures: what was asked for and could not be measured; a ladder's end is none.
        chosen_because: why these families.
        seconds: wall time of this call.
    """

    runs: tuple[Run, ...]
    sweeps: tuple[Sweep, ...]
    failures: tuple[Failure, ...]
    chosen_because: str
    seconds: float

    @property
    def valid(self) -> bool:
        """Whether no measurement is INVALID."""
        return all(run.result.verdict.valid for run in self.runs)

    def to_json(self) -> dict[str, Any]:
        """The result as one JSON document; the raw samples stay in the files that it names."""
        return {
            "valid": self.valid,
            "runs": [{"file": str(run.file), **_without_samples(run.result.to_json())} for run in self.runs],
            "sweeps": [sweep.to_json() for sweep in self.sweeps],
            "failures": [{"what": failure.what, "error": _shown(failure.error)} for failure in self.failures],
            "chosen_because": self.chosen_because,
            "seconds": self.seconds,
        }


def _without_samples(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "timeline"}


def _shown(error: TrtkitError) -> dict[str, object]:
    wire = {name: value for name, value in error.to_wire().items() if name != "log"}
    return {**wire, "exit_code": error.exit_code}
