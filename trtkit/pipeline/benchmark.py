"""SOURCE × precision × device × mode × batch → measurements: which rows there are, and one after another."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trtkit import __version__, worker
from trtkit.arguments import check_argument
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.device import worker_env
from trtkit.artifacts.files import json_ready, sha256_file, sha256_json
from trtkit.artifacts.sweep import Sweep
from trtkit.errors import UsageError
from trtkit.measurement.memory import host_available_bytes
from trtkit.pipeline.bench_family import Target, targets
from trtkit.pipeline.bench_given import GivenPlan
from trtkit.pipeline.bench_measure import measuring
from trtkit.pipeline.bench_request import BenchmarkRequest, BenchmarkResult, Failure, Run
from trtkit.pipeline.bench_rows import Measure, Row, attempt_seconds, run_row
from trtkit.pipeline.bench_subjects import BatchRange, Prepared, is_plan
from trtkit.pipeline.bench_supply import Supply
from trtkit.pipeline.listener import Listener, Silence
from trtkit.stages.plan_cache import PlanCache, cache_folder

__all__ = ["bench"]

_USUAL = {"cpu": 1, "cuda": 32}
_DEFAULT_MODE = {"cpu": "compute", "cuda": "compute-graph"}
_LADDER_TOP = 2**16


def bench(
    request: BenchmarkRequest, listener: Listener | None = None, *, measure: Measure | None = None
) -> BenchmarkResult:
    """Measure a plan, an ONNX file or a definition; every measurement is written as soon as it is made.

    Several devices are measured one after the other, so that none disturbs another.

    Args:
        request: what to measure.
        listener: is told what goes on; ``None`` for silence.
        measure: makes one measurement; ``None`` for the real one, in a worker.

    Raises:
        TrtkitError: a refusal, or the failure of the only measurement that was asked for.
    """
    started = time.perf_counter()
    check_argument("bench", "request", request, BenchmarkRequest)
    listener = listener or Silence()
    runs: list[Run] = []
    sweeps: list[Sweep] = []
    failures: list[Failure] = []
    with contextlib.ExitStack() as stack:
        cache = _cache(request, stack)
        supply = _supply(request, cache, listener, stack)
        listener.stage("Looking for an engine family")
        places, why = targets(supply.family(), request.devices)
        do = measure or measuring(request, cache, listener)
        for row in _rows(request, supply, places, listener):
            found = run_row(row, do, listener)
            runs += found.runs
            sweeps += [found.sweep] if found.sweep.is_ladder or len(found.sweep.batches) > 1 else []
            failures += found.failures
    if failures and not runs:
        raise failures[0].error
    return BenchmarkResult(tuple(runs), tuple(sweeps), tuple(failures), why, time.perf_counter() - started)


def _cache(request: BenchmarkRequest, stack: contextlib.ExitStack) -> PlanCache:
    if request.cache:
        return PlanCache(cache_folder())
    return PlanCache(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trtkit-"))))


def _supply(
    request: BenchmarkRequest, cache: PlanCache, listener: Listener, stack: contextlib.ExitStack
) -> GivenPlan | Supply:
    if is_plan(Path(request.source.text)):
        return GivenPlan(request, stack, listener)
    return Supply(request, cache, listener)


def _rows(
    request: BenchmarkRequest, supply: GivenPlan | Supply, places: tuple[Target, ...], listener: Listener
) -> Iterator[Row]:
    """One row for each precision, device and mode; all that contradicts itself is refused before the first."""
    modes = {target.device: _modes(request, target) for target in places}
    plans = {target.device: _batches(request, supply.batches(target), target) for target in places}
    for precision in supply.precisions():
        for target in places:
            prepare = _preparing(request, supply, target, precision, plans[target.device])
            for mode in modes[target.device]:
                yield _row(request, supply, target, precision, mode, plans[target.device], prepare)


@dataclass(frozen=True)
class _Batches:
    """The batches of a row: a list, or (empty) a ladder from ``low`` to ``limit``."""

    listed: tuple[int, ...]
    low: int
    limit: int | None
    because: str


def _batches(request: BenchmarkRequest, allowed: BatchRange, target: Target) -> _Batches:
    if request.ladder:
        limits = [(_LADDER_TOP, f"no batch above {_LADDER_TOP} is tried without --sweep-limit")]
        if request.sweep_limit is not None:
            limits = [(request.sweep_limit, "--sweep-limit")]
        if allowed.high is not None:
            limits.append((allowed.high, allowed.because))
        limit, because = min(limits)
        if limit < allowed.low:
            raise UsageError(
                f"--sweep-limit {limit} is below {allowed.low}, the smallest batch: {allowed.because}.",
                hint="Raise it, or leave it out.",
            )
        if request.profile == "shared" and request.sweep_limit is None and allowed.high is None:
            raise UsageError(
                "One engine for all batches of a ladder needs to know the largest.",
                hint="Add --sweep-limit N, or leave --profile shared out.",
            )
        return _Batches((), allowed.low, limit, because)
    listed = request.batches or (allowed.usual or _USUAL[target.device.kind],)
    for batch in listed:
        if batch < allowed.low or (allowed.high is not None and batch > allowed.high):
            shown = f"{allowed.low} to {allowed.high}" if allowed.high != allowed.low else f"{allowed.low} alone"
            raise UsageError(
                f"Batch {batch} is not possible, {shown} is: {allowed.because}.", hint="Give a batch that is possible."
            )
    return _Batches(listed, allowed.low, None, "")


def _modes(request: BenchmarkRequest, target: Target) -> tuple[str, ...]:
    kind = target.device.kind
    possible = tuple(MODES) if kind == "cuda" else ("compute",)
    if request.modes == ("all",):
        return possible
    if "all" in request.modes:
        raise UsageError("--mode all is every mode that there is.", hint="Give all alone, or a list.")
    for mode in request.modes:
        if mode not in possible:
            raise UsageError(
                f"There is no mode {mode} on the {target.device}: nothing is copied to it, and nothing captured.",
                hint="Give --mode compute or all, or a GPU with --device.",
            )
    return request.modes or (_DEFAULT_MODE[kind],)


def _preparing(
    request: BenchmarkRequest, supply: GivenPlan | Supply, target: Target, precision: str, batches: _Batches
) -> Callable[[int], Prepared]:
    """Batch → artifact; an engine for each batch, or one for all."""
    made: dict[int, Prepared] = {}

    def prepare(batch: int) -> Prepared:
        key, corners = batch, (batch, batch, batch)
        if request.profile == "shared":
            top = max(batches.listed, default=batches.limit or batch)
            key, corners = 0, (min(batches.listed, default=batches.low), top, top)
        if key not in made:
            made[key] = supply.prepare(target, precision, corners)
        return made[key]

    return prepare


def _row(
    request: BenchmarkRequest,
    supply: GivenPlan | Supply,
    target: Target,
    precision: str,
    mode: str,
    batches: _Batches,
    prepare: Callable[[int], Prepared],
) -> Row:
    kind, can = target.device.kind, target.can
    fields: dict[str, Any] = dict(request.settings)
    settings = BenchSettings(mode=mode, batch=batches.low, tf32=precision == "tf32", **fields)
    if request.data is not None:
        settings = replace(settings, data=request.data.name)
    seconds = request.attempt_seconds
    if request.ladder:
        seconds = attempt_seconds(seconds, settings, kind)
    profile = "plan" if isinstance(supply, GivenPlan) else "none" if can.suffix == ".onnx" else request.profile
    identity = {
        "source": supply.identity(),
        "family": [can.family, can.version],
        "device": [str(target.device), target.device_name],
        "precision": precision,
        "settings": settings.to_json(),
        "profile": profile,
        "batches": [batches.listed, batches.low, batches.limit],
        "seconds": seconds,
        "data": sha256_file(request.data) if request.data else None,
        "trtkit": __version__,
    }
    name = f"{supply.name}.{precision}.{can.label}.{str(target.device).replace(':', '').replace('/', 'of')}"
    sweep = Sweep(
        key=sha256_json(json_ready(identity)),
        model=supply.name,
        precision=precision,
        family=can.family,
        device=str(target.device),
        mode=mode,
        profile=profile,
        batches=batches.listed,
        limit=batches.limit,
    )
    return Row(
        sweep=sweep,
        target=target,
        settings=settings,
        prepare=prepare,
        available=lambda: _available(target),
        output=request.output,
        stem=name,
        smallest=batches.low,
        limit_because=batches.because,
        seconds=seconds,
        resume=not request.force,
    )


def _available(target: Target) -> int | None:
    """Memory that is free now: the machine's, or the GPU's as a worker sees it."""
    if target.device.kind == "cpu":
        return host_available_bytes()
    answer = worker.run(
        "trtkit.backends.memory_jobs:free_device_bytes",
        {},
        what=f"the look at the memory of {target.device}",
        env=worker_env(target.device),
        timeout_s=60.0,
    )
    return None if answer.value is None else int(answer.value)
