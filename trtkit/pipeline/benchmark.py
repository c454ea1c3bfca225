"""SOURCE × precision × device × mode × batch → measurements: which rows there are, and one after another."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from trtkit import __version__, worker
from trtkit.arguments import check_argument
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import worker_env
from trtkit.artifacts.files import json_ready, sha256_file, sha256_json
from trtkit.artifacts.precision import tf32_products
from trtkit.artifacts.sweep import Sweep
from trtkit.errors import UsageError
from trtkit.measurement.ladder import foothold
from trtkit.measurement.memory import host_available_bytes
from trtkit.pipeline.bench_ahead import compile_ahead
from trtkit.pipeline.bench_choices import Batches, batches_of, modes_of, too_many_threads
from trtkit.pipeline.bench_exporting import BenchExports, check_exports, export_layers, export_runs
from trtkit.pipeline.bench_family import Target, targets
from trtkit.pipeline.bench_given import GivenPlan
from trtkit.pipeline.bench_measure import kernels_file, measuring
from trtkit.pipeline.bench_request import BenchmarkRequest, BenchmarkResult, Failure, Run
from trtkit.pipeline.bench_rows import Measure, Row, attempt_seconds, run_row
from trtkit.pipeline.bench_subjects import Prepared, is_plan
from trtkit.pipeline.bench_supply import Supply
from trtkit.pipeline.listener import Listener, Silence
from trtkit.stages.plan_cache import PlanCache, cache_folder

__all__ = ["bench"]


def bench(
    request: BenchmarkRequest,
    listener: Listener | None = None,
    *,
    exports: BenchExports | None = None,
    measure: Measure | None = None,
) -> BenchmarkResult:
    """Measure a plan, an ONNX file or a definition; every measurement is written as soon as it is made.

    Several devices are measured one after the other, so that none disturbs another.

    Args:
        request: what to measure.
        listener: is told what goes on; ``None`` for silence.
        exports: files for other tools; ``None`` for none.
        measure: makes one measurement; ``None`` for the real one, in a worker.

    Raises:
        TrtkitError: a refusal, or the failure of the only measurement that was asked for.
    """
    started = time.perf_counter()
    check_argument("bench", "request", request, BenchmarkRequest)
    listener, exports = listener or Silence(), exports or BenchExports()
    runs: list[Run] = []
    sweeps: list[Sweep] = []
    failures: list[Failure] = []
    with contextlib.ExitStack() as stack:
        cache = _cache(request, stack)
        supply = _supply(request, cache, listener, stack)
        listener.stage("Looking for an engine family")
        places, why = targets(supply.family(), request.devices)
        read = (Path(request.source.text), request.source.weights, request.data)
        check_exports(exports, places, [path for path in read if path is not None and path.is_file()])
        do = measure or measuring(request, cache, listener)
        rows = tuple(_rows(request, supply, places))
        for crowd in dict.fromkeys(filter(None, (too_many_threads(request, target) for target in places))):
            listener.note(crowd)
        if request.profile == "shared" and all(row.sweep.profile != "shared" for row in rows):
            why = "the plan is what it is" if isinstance(supply, GivenPlan) else "ONNX Runtime builds no engine"
            listener.note(f"--profile shared means nothing here: {why}")
        several = len(rows) > 1 or len(rows[0].sweep.batches) != 1
        after = export_layers(exports, request, several=several)
        kernels = partial(kernels_file, cache)
        for row in rows:
            compile_ahead(row, kernels, listener)
            found = run_row(replace(row, after=after), do, listener)
            runs += found.runs
            sweeps += [found.sweep] if found.sweep.is_ladder or len(found.sweep.batches) > 1 else []
            failures += found.failures
    export_runs(exports, runs, several=several)
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
    request.source.identity()  # a source that is not there is told before anything is looked at
    return Supply(request, cache, listener)


def _rows(request: BenchmarkRequest, supply: GivenPlan | Supply, places: tuple[Target, ...]) -> Iterator[Row]:
    """One row for each precision, device and mode; all that contradicts itself is refused before the first."""
    modes = {target.device: modes_of(request, target) for target in places}
    plans = {target.device: batches_of(request, supply.batches(target), target) for target in places}
    precisions = tuple(supply.precisions())
    if request.known and len(precisions) * sum(map(len, modes.values())) > 1:
        raise UsageError(
            "Attempts made before belong to one precision, device and mode, and several are asked for.",
            hint="Leave known out, or ask for one of each.",
        )
    for precision in precisions:
        for target in places:
            prepare = _preparing(request, supply, target, precision, plans[target.device])
            for mode in modes[target.device]:
                yield _row(request, supply, target, precision, mode, plans[target.device], prepare)


def _preparing(
    request: BenchmarkRequest, supply: GivenPlan | Supply, target: Target, precision: str, batches: Batches
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
    batches: Batches,
    prepare: Callable[[int], Prepared],
) -> Row:
    kind, can = target.device.kind, target.can
    fields: dict[str, Any] = dict(request.settings)
    settings = BenchSettings(mode=mode, batch=batches.low, tf32=tf32_products(precision), **fields)
    if request.data is not None:
        settings = replace(settings, data=request.data.name)
    seconds = request.attempt_seconds
    if request.ladder:
        seconds = attempt_seconds(seconds, settings, kind)
    known = foothold(request.known, batches.limit)
    profile = "plan" if isinstance(supply, GivenPlan) else "none" if can.suffix == ".onnx" else request.profile
    identity = {
        "source": supply.identity(),
        "family": [can.family, can.version],
        "device": [str(target.device), target.device_name],
        "precision": precision,
        "settings": settings.to_json(),
        "profile": profile,
        "batches": [batches.listed, batches.low, batches.limit],
        "within": request.sweep_within,
        "known": [[attempt.batch, attempt.ran] for attempt in known],
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
        attempts=known,
        within=request.sweep_within,
    )
    return Row(
        sweep=sweep,
        target=target,
        settings=settings,
        prepare=prepare,
        available=lambda: _available(target),
        output=request.output,
        stem=name,
        smallest=known[0].batch if known else batches.low,
        limit_because=batches.because,
        seconds=seconds,
        resume=not request.force,
        ahead=request.ahead,
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
