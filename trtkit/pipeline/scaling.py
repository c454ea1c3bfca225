"""SOURCE × precision × mode × batch on several devices at once, by one process or by many ranks."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.files import write_json
from trtkit.artifacts.plan import PlanManifest, manifest_path
from trtkit.artifacts.precision import tf32_products
from trtkit.artifacts.scale import ScaleResult
from trtkit.backends.probing import probe
from trtkit.errors import RunError, TrtkitError, UsageError, from_wire
from trtkit.pipeline.bench_choices import batches_of, modes_of, too_many_threads
from trtkit.pipeline.bench_family import Target, targets
from trtkit.pipeline.bench_given import GivenPlan
from trtkit.pipeline.bench_measure import stage_request
from trtkit.pipeline.bench_replaced import replaced_scale
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.bench_subjects import is_plan
from trtkit.pipeline.bench_supply import Supply
from trtkit.pipeline.listener import Listener, Moving, Silence
from trtkit.pipeline.scale_agreement import first_failure, on_the_wire, rank_lost, terms
from trtkit.pipeline.scale_cores import refuse_shared_parts
from trtkit.pipeline.scale_cut import CutShort
from trtkit.pipeline.scale_fit import check_fit
from trtkit.pipeline.scale_places import OwnPlace, devices_of_rank, find_own_place
from trtkit.pipeline.scale_run import run_scale
from trtkit.ranks import LONG_S, Alone, Lost, Meeting, Place
from trtkit.stages.bench import BenchRequest
from trtkit.stages.export import SourceRequest
from trtkit.stages.plan_cache import PlanCache, cache_folder

__all__ = ["Scaled", "ScalingRequest", "is_scaling", "scale"]


@dataclass(frozen=True)
class ScalingRequest:
    """What is measured on several devices.

    Attributes:
        bench: as for one device; its ``devices`` are those of one rank where there are several.
        plans: device → plan, for devices that take another plan than ``bench.source``.
        alone: also measure each device alone, before and after, so that efficiency is known.
        ranks_per_device: how many ranks may share a GPU.
    """

    bench: BenchmarkRequest
    plans: Mapping[str, Path] = field(default_factory=dict)
    alone: bool = True
    ranks_per_device: int = 1


@dataclass(frozen=True)
class Scaled:
    """One measurement of several devices, and the file that holds it."""

    result: ScaleResult
    file: Path


@dataclass(frozen=True)
class _Round:
    """Precision, mode and batch of one run, with each device's request."""

    name: str
    requests: tuple[BenchRequest, ...]


def is_scaling(devices: str | None, place: Place) -> bool:
    """Whether a command line is about several devices: more than one rank, a list, ``all``, or parts of the CPU."""
    words = [word for word in (devices or "").lower().split(",") if word.strip()]
    return place.size > 1 or len(words) > 1 or words == ["all"] or any("*" in word or "/" in word for word in words)


def scale(
    request: ScalingRequest,
    listener: Listener | None = None,
    *,
    meeting: Meeting | Alone | None = None,
    place: Place | None = None,
) -> tuple[Scaled, ...]:
    """Measure devices together; every rank calls it, and rank 0 gets the results, written as they are made.

    Raises:
        TrtkitError: a refusal; on several ranks whatever failed anywhere ends it on all of them.
        RunError: a device failed; what was measured until then is in the file that the message names.
    """
    meeting, place = meeting or Alone(), place or Place()
    listener = Moving(listener or Silence(), meeting.pulse.move)
    done: list[Scaled] = []
    gpus = functools.cache(_gpus)  # a look takes a worker process
    own: OwnPlace | None = None
    own_error: Exception | None = None
    rounds: tuple[_Round, ...] = ()
    with contextlib.ExitStack() as stack:
        try:
            devices = request.bench.devices
            if meeting.size > 1:
                pinned = cast("tuple[int, ...]", request.bench.settings.get("affinity") or ())
                own = find_own_place(meeting, place, terms(request), wanted=_wanted(request, gpus), affinity=pinned)
                devices = devices_of_rank(devices, own, gpus=gpus, per_device=request.ranks_per_device)
            rounds = tuple(_rounds(request, devices, listener, stack))
            if meeting.rank == 0:
                _make_folder(request.bench.output)  # refused now, not after the measurement
        except Exception as error:
            if meeting.size == 1:
                raise
            own_error = error
        hosts, size = own.hosts if own else (), meeting.size
        said = {"runs": len(rounds), "error": on_the_wire(own_error)}
        answer = meeting.consult(
            said, lambda values: [on_the_wire(first_failure(values, hosts))] * size, timeout_s=LONG_S
        )
        if answer is not None:
            failure = rank_lost(answer, hosts) if isinstance(answer, Lost) else from_wire(answer)
            raise failure if isinstance(own_error, TrtkitError | None) else own_error
        for found in rounds:
            try:
                result = run_scale(
                    found.requests,
                    meeting,
                    launcher=place.launcher,
                    alone=request.alone,
                    per_device=request.ranks_per_device,
                    host=own.host if own else None,
                    stage=listener.stage,
                    on_event=lambda device, event: listener.event(event),
                )
            except CutShort as cut:
                _keep(request, found, cut.result, meeting, listener, done)
                if cut.died and cut.result is not None and cut.result.problem:
                    raise _ended(cut.result.problem, done) from None
                cut.file = done[-1].file if done else None
                raise
            _keep(request, found, result, meeting, listener, done)
            problem = (result.problem if result is not None else None) or meeting.trouble
            if problem is not None:
                raise _ended(problem, done)
    return tuple(done)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"Results cannot be written to {folder}: {error.strerror}.", hint="Choose another folder with -o."
        ) from error


def _keep(
    request: ScalingRequest,
    found: _Round,
    result: ScaleResult | None,
    meeting: Meeting | Alone,
    listener: Listener,
    done: list[Scaled],
) -> None:
    """Write a result that holds a measurement; a rank without rank 0 writes its own part under its own name."""
    if result is None or not any(share.phases for share in result.shares):
        return
    rank = f".rank{meeting.rank}" if meeting.rank else ""
    file = request.bench.output / f"{found.name}{rank}.scale.json"
    if (instead := replaced_scale(file, result)) is not None:
        listener.note(instead)
    write_json(file, result.to_json())
    done.append(Scaled(result, file))


def _ended(problem: str, done: Sequence[Scaled]) -> RunError:
    kept = f" What the others measured until then is in {done[-1].file}." if done else ""
    return RunError(
        f"The scaling run ended early: {problem.rstrip('.')}.{kept}",
        hint="Mend that device or leave it out with --device, and measure again.",
    )


def _gpus() -> int:
    return len(probe("onnxruntime").gpus)


def _wanted(request: ScalingRequest, gpus: Callable[[], int]) -> str:
    with contextlib.suppress(TrtkitError):  # it comes again, where the ranks learn of it
        return request.bench.devices or ("" if gpus() else "cpu")
    return ""


def _rounds(
    request: ScalingRequest, devices: str | None, listener: Listener, stack: contextlib.ExitStack
) -> Iterator[_Round]:
    """Every run that was asked for, artifacts prepared; refused before the first is measured."""
    bench = request.bench
    if bench.ladder:
        raise UsageError(
            "--batch auto looks for the largest batch of one device; several devices take a batch each can run.",
            hint="Find it with --device cuda:0 first, then give --batch N.",
        )
    cache = PlanCache(cache_folder() if bench.cache else stack.enter_context(_scratch()))
    first = _supply(bench, cache, listener, stack)
    places, _ = targets(first.family(), devices)
    refuse_shared_parts(places, bench.settings)
    unknown = set(request.plans) - {str(target.device) for target in places}
    if unknown:
        known = ", ".join(str(target.device) for target in places)
        raise UsageError(
            f"--plan names {', '.join(sorted(unknown))}; what is measured is {known}.",
            hint="Name a device of --device.",
        )
    supplies = {target.device: _own_supply(request, target, first, cache, listener, stack) for target in places}
    modes = {target.device: modes_of(bench, target) for target in places}
    for crowd in filter(None, (too_many_threads(bench, target) for target in places)):
        listener.note(crowd)
    if len({len(found) for found in modes.values()}) > 1:
        raise UsageError("--mode all is not the same on a CPU and a GPU.", hint="Give --mode compute.")
    batches = {
        target.device: batches_of(bench, supplies[target.device].batches(target), target).listed for target in places
    }
    sizes = batches[places[0].device] if bench.batches else (min(found[0] for found in batches.values()),)
    for precision in first.precisions():
        for number in range(len(modes[places[0].device])):
            for batch in sizes:
                listener.stage(f"Preparing batch {batch} ({precision})")
                requests = tuple(
                    _request(
                        bench, cache, supplies[target.device], target, precision, modes[target.device][number], batch
                    )
                    for target in places
                )
                label = f"{first.name}.{precision}.{places[0].can.label}"
                yield _Round(f"{label}.b{batch}.{modes[places[0].device][number]}", requests)


def _request(
    bench: BenchmarkRequest,
    cache: PlanCache,
    supply: GivenPlan | Supply,
    target: Target,
    precision: str,
    mode: str,
    batch: int,
) -> BenchRequest:
    fields: dict[str, Any] = dict(bench.settings)
    if target.device.kind == "cpu":
        # One worker a device: idle threads that spin would take the cores of the others.
        fields = {"spinning": False, **fields}
    own = precision if isinstance(supply, Supply) else supply.precisions()[0]
    prepared = supply.prepare(target, own, (batch, batch, batch))
    settings = BenchSettings(mode=mode, batch=batch, tf32=tf32_products(own), **fields)
    data = bench.data.name if bench.data else "synthetic"
    settings = replace(settings, shapes=prepared.shapes_at(batch), profile=prepared.profile, data=data)
    return stage_request(bench, cache, prepared, target, settings, None, None)


def _own_supply(
    request: ScalingRequest,
    target: Target,
    first: GivenPlan | Supply,
    cache: PlanCache,
    listener: Listener,
    stack: contextlib.ExitStack,
) -> GivenPlan | Supply:
    """What a device runs: its own ``--plan``, or the common source; a plan that cannot fit the device is refused."""
    plan = request.plans.get(str(target.device))
    supply = first
    if plan is not None:
        supply = _supply(replace(request.bench, source=SourceRequest(str(plan))), cache, listener, stack)
        if not isinstance(supply, GivenPlan):
            raise UsageError(f"--plan {target.device}={plan}: that is no plan.", hint="Convert it first.")
    file = plan or Path(request.bench.source.text)
    if isinstance(supply, GivenPlan) and manifest_path(file).exists():
        check_fit(PlanManifest.read(file), target)
    return supply


def _supply(
    bench: BenchmarkRequest, cache: PlanCache, listener: Listener, stack: contextlib.ExitStack
) -> GivenPlan | Supply:
    if is_plan(Path(bench.source.text)):
        return GivenPlan(bench, stack, listener)
    return Supply(bench, cache, listener)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
        yield Path(folder)
