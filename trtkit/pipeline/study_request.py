"""What a study is asked, the plan that follows, and an estimate of what it takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import model_defs
from trtkit.arguments import check_fields
from trtkit.artifacts.bench_settings import MODES
from trtkit.artifacts.files import sha256_file
from trtkit.artifacts.study_plan import StudyPlan
from trtkit.errors import UsageError
from trtkit.pipeline.bench_family import Target, targets
from trtkit.pipeline.bench_request import SETTINGS, check_within
from trtkit.pipeline.request import PRECISIONS
from trtkit.pipeline.study_identity import data_content, source_sha256

__all__ = ["DEFAULT_BATCHES", "QUICK_BATCHES", "Estimate", "StudyRequest", "estimate", "plan_of"]

DEFAULT_BATCHES: tuple[int | None, ...] = (1, 8, 32, 128)
QUICK_BATCHES: tuple[int | None, ...] = (1, 4, 8)
_QUICK = {"warmup_s": 0.2, "duration_s": 0.5, "max_duration_s": 2.0, "confidence": 0.05}
_DEFAULT_MODE = {"cpu": "compute", "cuda": "compute-graph"}
_RUNGS = 12
_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "int8": 1, "fp8": 1}


@dataclass(frozen=True)
class StudyRequest:
    """Everything that ``trtkit study`` can be told.

    Attributes:
        models: definitions and ONNX files.
        precisions: some of :data:`~trtkit.pipeline.request.PRECISIONS`.
        batches: batch sizes; ``None`` among them stands for the ladder to the largest; empty for the usual ones.
        modes: some of :data:`~trtkit.artifacts.bench_settings.MODES`; empty for the device's usual one.
        devices: ``cpu``, ``cuda:1``, ``0,1``, ``all``.
        family: a family's name or ``auto``.
        data: calibration data for INT8 and FP8; ``None`` for synthetic samples, which are labelled so.
        synthetic: how many of those.
        preprocess: of the data; ``None`` takes the definition's own.
        latency_budget_ms: the latency that a batch may take, drawn and used to pick the best batch.
        settings: fields of :class:`~trtkit.artifacts.bench_settings.BenchSettings` by name.
        sweep_limit: the largest batch that a ladder tries.
        sweep_within: a ladder ends once the smallest batch that failed is no more than this share above the largest
            that ran, from 0 (the exact batch) to below 1.
        weights: model → file of weights, for definitions; the others have seeded ones.
        seed: of those.
        quick: short runs, fewer batch sizes.
        output: the study's folder.
        against: folders of other studies, drawn beside this one where their runs are alike; measured again is nothing.
        title: of the page.
        force: measure again what is there.
        command: the command line.
    """

    models: tuple[str, ...]
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    batches: tuple[int | None, ...] = ()
    modes: tuple[str, ...] = ()
    devices: str = "all"
    family: str = "auto"
    data: Path | None = None
    synthetic: int = 64
    preprocess: str | None = None
    latency_budget_ms: float | None = None
    settings: dict[str, object] = field(default_factory=dict)
    sweep_limit: int | None = None
    sweep_within: float = 0.0
    weights: dict[str, Path] = field(default_factory=dict)
    seed: int = 0
    quick: bool = False
    output: Path = Path("study")
    against: tuple[Path, ...] = ()
    title: str = ""
    force: bool = False
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.models:
            raise UsageError("A study needs a model.", hint="Name some with --models, such as alexnet,googlenet.")
        for what, given, allowed in (
            ("precision", self.precisions, PRECISIONS),
            ("mode", self.modes, tuple(MODES)),
            ("setting", tuple(self.settings), tuple(SETTINGS)),
        ):
            for word in given:
                if word not in allowed:
                    raise UsageError(
                        f"There is no {what} {word!r}; allowed: {', '.join(allowed)}.", hint="Choose some."
                    )
        for what, words in (("model", self.models), ("precision", self.precisions), ("batch", self.batches)):
            if len(set(words)) != len(words):
                raise UsageError(f"A {what} is named twice: {', '.join(map(str, words))}.", hint="Name each once.")
        if unknown := sorted(set(self.weights) - set(self.models)):
            raise UsageError(
                f"--weights names {unknown[0]}, which is none of the models: {', '.join(self.models)}.",
                hint="Give --weights MODEL=FILE with a model that --models names.",
            )
        if self.seed < 0:
            raise UsageError(f"The seed is {self.seed}; it counts from 0.", hint="Give a whole number from 0 up.")
        if any(batch is not None and batch < 1 for batch in self.batches) or self.synthetic < 1:
            raise UsageError("Batch sizes and numbers of samples count from 1.", hint="Give whole numbers from 1 up.")
        check_within(self.sweep_within, ladder=None in self.batches)
        if self.latency_budget_ms is not None and not self.latency_budget_ms > 0:
            raise UsageError("A latency budget is a time above 0 ms.", hint="Give milliseconds, such as 5.")


def plan_of(
    request: StudyRequest, *, look: Callable[[str, str | None], tuple[tuple[Target, ...], str]] = targets
) -> tuple[StudyPlan, tuple[Target, ...]]:
    """The matrix of a request on this machine, and who executes on each device.

    Raises:
        UsageError: a model, device or mode that is not there.
        BackendUnavailableError: nothing can execute on a device.
    """
    for model in request.models:
        if model not in model_defs.names() and not Path(model).is_file():
            raise UsageError(
                f"{model} is neither a definition nor a file; definitions: {', '.join(model_defs.names())}.",
                hint="Run trtkit models, or give the path of an ONNX file.",
            )
    if request.data is not None and ":" not in str(request.data) and not request.data.exists():
        raise UsageError(f"The data {request.data} does not exist.", hint="Give what trtkit calibrate --data takes.")
    weights = {model: _weights(model, file) for model, file in request.weights.items()}
    places, _ = look(request.family, request.devices)
    kinds = {target.device.kind for target in places}
    modes = request.modes or tuple(_DEFAULT_MODE[kind] for kind in ("cuda", "cpu") if kind in kinds)
    if kinds == {"cpu"} and set(modes) - {"compute"}:
        raise UsageError(
            f"On a CPU there is nothing to copy and no graph to capture: {', '.join(modes)}.",
            hint="Give --mode compute, or leave it out.",
        )
    settings = {**(_QUICK if request.quick else {}), **request.settings}
    names = tuple(str(target.device) for target in places)
    batches = request.batches or (QUICK_BATCHES if request.quick else DEFAULT_BATCHES)
    plan = StudyPlan(
        models=request.models,
        precisions=request.precisions,
        batches=tuple(sorted(batches, key=lambda batch: batch is None)),  # a ladder goes on from those that are listed
        modes=modes,
        devices=names,
        counts=tuple(range(1, len(names) + 1)) if len(kinds) == 1 else (1,),
        family=request.family,
        data=str(request.data) if request.data else None,
        latency_budget_ms=request.latency_budget_ms,
        settings=settings,
        quick=request.quick,
        weights=weights,
        seed=request.seed,
        sweep_within=request.sweep_within,
        data_content=data_content(request.data),
        machines={
            str(target.device): f"{target.device_name}, {target.can.family} {target.can.version or ''}".strip()
            for target in places
        },
        sources={model: source_sha256(model) for model in request.models if model not in model_defs.names()},
    )
    return plan, places


def _weights(model: str, file: Path) -> str:
    if model not in model_defs.names():
        raise UsageError(
            f"--weights goes with a model definition; {model} is a file that holds its own weights.",
            hint="Leave --weights out for it, or give a definition's name.",
        )
    if not file.is_file():
        raise UsageError(
            f"The weights file {file} does not exist.", hint="Give a .safetensors, .npz or .onnx file to --weights."
        )
    return f"{file.name}, SHA-256 {sha256_file(file)}"


@dataclass(frozen=True)
class Estimate:
    """What a study takes, roughly.

    Attributes:
        cells: places in the matrix that are left to do.
        low_s, high_s: wall time in seconds.
        disk_bytes: artifacts and raw samples.
    """

    cells: int
    low_s: float
    high_s: float
    disk_bytes: int


def estimate(plan: StudyPlan, left: int) -> Estimate:
    """Estimate what is left of a study: runs by their least and greatest duration, conversions by the models' sizes.

    A ladder from 1 counts as twelve rungs, one that begins at a listed batch as those above it, and at most as many
    short runs more as bisection between the last two takes. The figures are for planning an afternoon, not for quoting.
    """
    least = float(plan.settings.get("duration_s", 3.0)) + float(plan.settings.get("warmup_s", 0.2))
    most = float(plan.settings.get("max_duration_s", 30.0)) + float(plan.settings.get("warmup_s", 0.2))
    ladders = sum(cell.batch is None for cell in plan.cells)
    ladders = min(ladders, left)
    start = max((batch for batch in plan.batches if batch is not None), default=1)
    rungs = max(2, _RUNGS + 1 - start.bit_length())
    probes = min(_RUNGS - 1, math.ceil(math.log2(1 / plan.sweep_within))) if plan.sweep_within else _RUNGS - 1
    runs = min(left, len(plan.cells)) + (rungs - 1) * ladders
    groups = len(plan.models) * len(plan.precisions) if left else 0
    sizes = {model: _parameters(model) for model in plan.models}
    disk = sum(sizes[model] * _BYTES.get(precision, 4) * 2 for model, precision in plan.groups)
    return Estimate(
        left,
        runs * (least + 1.5) + groups * 4.0,
        runs * (most + 4.0) + ladders * probes * 10.0 + groups * 40.0,
        disk + runs * 500_000,
    )


def _parameters(model: str) -> int:
    if model in model_defs.names():
        return model_defs.get(model).parameters
    return Path(model).stat().st_size // 4
