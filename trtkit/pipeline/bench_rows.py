"""One row of a benchmark: a subject, a device and a mode at growing batches, saved and resumed attempt by attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.files import sha256_file, write_json
from trtkit.artifacts.sweep import Attempt, Sweep
from trtkit.errors import BuildError, RunError, TrtkitError
from trtkit.graph.footprint import ELEMENT_LIMIT, Footprint
from trtkit.measurement import failure, memory
from trtkit.measurement.ladder import Step, ending, next_step, with_memory
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_replaced import replaced
from trtkit.pipeline.bench_request import Failure, Run
from trtkit.pipeline.bench_resume import begin, is_own, read_result
from trtkit.pipeline.bench_subjects import Prepared
from trtkit.pipeline.listener import Listener
from trtkit.units import bytes_text, seconds_text

__all__ = ["Measure", "Row", "RowResult", "attempt_seconds", "run_row"]

Measure = Callable[[Prepared, Target, BenchSettings, float | None], BenchResult]
"""Measures once, in a worker of its own: the artifact, where, how, and the seconds after which it is given up."""

_ATTEMPT_S = {"cpu": 60.0, "cuda": 600.0}


@dataclass(frozen=True)
class Row:
    """What one row needs.

    Attributes:
        sweep: its state before the first attempt, with those that a ladder goes on from.
        target: device and family.
        settings: of every measurement; batch and shapes are filled in.
        prepare: batch → the artifact for it.
        available: memory that is free now, in bytes; ``None`` where unknown.
        smallest: where a ladder begins.
        limit_because: where the ladder's limit is from.
        seconds: the longest that one attempt may take; ``None`` for no limit.
        output: folder of the files, and ``stem`` how their names begin.
        resume: whether an interrupted sweep is continued.
        after: is called with every full measurement once it is saved; ``None`` for nothing.
        ahead: batches that will be asked for after this row; what can be made for them beforehand is.
    """

    sweep: Sweep
    target: Target
    settings: BenchSettings
    prepare: Callable[[int], Prepared]
    available: Callable[[], int | None]
    output: Path
    stem: str
    smallest: int = 1
    limit_because: str = "--sweep-limit"
    seconds: float | None = None
    resume: bool = True
    after: Callable[[Prepared, Target, BenchResult], None] | None = None
    ahead: tuple[int, ...] = ()

    @property
    def state_path(self) -> Path:
        """Where the sweep is saved."""
        return self.output / f"{self.stem}.{self.sweep.mode}.sweep.json"

    def result_path(self, batch: int) -> Path:
        """Where the measurement of a batch is saved."""
        return self.output / f"{self.stem}.b{batch}.{self.sweep.mode}.bench.json"


@dataclass(frozen=True)
class RowResult:
    """What a row gave: measurements in order of batch, the sweep, and what was asked for and could not be measured."""

    runs: tuple[Run, ...]
    sweep: Sweep
    failures: tuple[Failure, ...]


def attempt_seconds(asked: float | None, settings: BenchSettings, kind: str) -> float:
    """The longest that one attempt of a ladder may take, by default a minute on a CPU and ten on a GPU."""
    return asked if asked is not None else max(_ATTEMPT_S[kind], 2 * settings.max_duration_s + 30)


def run_row(row: Row, measure: Measure, listener: Listener) -> RowResult:
    """Make the attempts of a row one after another, each saved before the next begins.

    Raises:
        TrtkitError: a refusal; what fails for lack of memory or time is an attempt's outcome instead.
    """
    several = row.sweep.is_ladder or len(row.sweep.batches) > 1
    sweep, errors, found = begin(row, listener), dict[int, TrtkitError](), dict[int, BenchResult]()
    while (step := _next(row, sweep)) is not None:
        try:
            sweep = sweep.with_attempt(_attempt(row, sweep, step, measure, listener, errors, found))
        except KeyboardInterrupt:
            if several:
                done = ", ".join(str(attempt.batch) for attempt in sweep.attempts) or "none"
                listener.note(f"batches done: {done}; the same command goes on from there")
            raise
        if several:
            sweep.write(row.state_path)
    if sweep.is_ladder:
        why = ending(sweep.attempts, limit=sweep.limit, limit_because=row.limit_because, within=sweep.within)
        sweep = replace(sweep, stopped=why)
    sweep = replace(sweep, complete=True)
    if several:
        sweep.write(row.state_path)
    runs = []
    for attempt in _measured(sweep):
        file = row.output / str(attempt.file)
        if not is_own(row, attempt):
            listener.note(f"{file.name} holds another measurement by now: something else writes into this folder")
        runs.append(Run(found.get(attempt.batch) or read_result(row, attempt), file))
    return RowResult(tuple(runs), sweep, _failures(row, sweep, errors))


def _next(row: Row, sweep: Sweep) -> Step | None:
    if sweep.is_ladder:
        climb = row.sweep.first_failure is None  # else it is known from the beginning how far it may go
        return next_step(sweep.attempts, smallest=row.smallest, limit=sweep.limit, within=sweep.within, climb=climb)
    return next((Step(batch, full=True) for batch in sweep.batches if sweep.latest(batch) is None), None)


def _attempt(
    row: Row,
    sweep: Sweep,
    step: Step,
    measure: Measure,
    listener: Listener,
    errors: dict[int, TrtkitError],
    found: dict[int, BenchResult],
) -> Attempt:
    """Try one batch; failing for want of memory or time is an outcome, a refusal an error."""
    batch = step.batch
    listener.stage(f"{'Measuring' if step.full else 'Trying'} batch {batch} ({sweep.precision}, {sweep.mode})")
    size: Footprint | None = None
    available: int | None = None
    try:
        prepared = row.prepare(batch)
        size = prepared.footprint(batch)
        estimate = size.bytes if size else None
        if sweep.is_ladder:
            available = row.available()
            why_not = memory.too_large(estimate, available, row.target.device.kind)
            if why_not is not None:
                reason = "device_memory" if row.target.device.kind == "cuda" else "host_memory"
                return Attempt(batch, "skipped", reason, why_not, estimate, available)
            too_long = _too_long(row, sweep, batch, step.full)
            if too_long is not None:
                return Attempt(batch, "skipped", "timeout", too_long, estimate, available)
        settings = replace(row.settings, batch=batch, shapes=prepared.shapes_at(batch), profile=prepared.profile)
        result = measure(prepared, row.target, settings if step.full else _brief(settings), row.seconds)
    except (RunError, BuildError) as error:
        errors[batch] = error
        available = row.available() if available is None else available
        return _failed(batch, error, size, available, on_cpu=row.target.device.kind == "cpu")
    total = result.device.memory_bytes
    if not step.full:
        return with_memory(Attempt(batch, "probed", None, "", estimate, available), result.conditions.facts, total)
    path = row.result_path(batch)
    if (instead := replaced(path, result)) is not None:
        listener.note(instead)
    write_json(path, result.to_json())
    found[batch] = result
    if row.after is not None:
        row.after(prepared, row.target, result)
    rate = result.throughput_images_per_s
    done = Attempt(batch, "measured", None, "", estimate, available, rate, path.name, file_sha256=sha256_file(path))
    return with_memory(done, result.conditions.facts, total)


def _brief(settings: BenchSettings) -> BenchSettings:
    """A moment's run, which tells that a batch executes."""
    return replace(settings, warmup_s=0.0, duration_s=0.0, max_duration_s=0.0, min_iterations=1)


def _failed(batch: int, error: TrtkitError, size: Footprint | None, available: int | None, *, on_cpu: bool) -> Attempt:
    """An attempt that failed, the reason told apart: memory, and else a tensor of too many elements."""
    reason, text = failure.classify(error, on_cpu=on_cpu), error.message.rstrip(".")
    if size is not None and size.largest_elements >= ELEMENT_LIMIT:
        count = f"tensor {size.largest_name} has {size.largest_elements:,} elements there, 2³¹ or more"
        text = f"{text}; {count}"
        reason = "element_limit" if reason == "other" else reason
    if size is not None and available is not None and reason in ("device_memory", "host_memory"):
        text += f"; weights and activations need about {bytes_text(size.bytes)}, {bytes_text(available)} were free"
    return Attempt(batch, "failed", reason, text, size.bytes if size else None, available)


def _too_long(row: Row, sweep: Sweep, batch: int, full: bool) -> str | None:
    """Why an attempt would not end in time, judged by the measurement at the next smaller batch; ``None`` if it would.

    An iteration grows with its batch, and at least the fewest iterations have to be made, and those of the warm-up.
    """
    done = [a for a in sweep.attempts if a.images_per_s and a.batch < batch]
    if row.seconds is None or not done:
        return None
    one = batch / (max(done, key=lambda attempt: attempt.batch).images_per_s or 0.0)
    longest = max(row.settings.max_duration_s / one, 1.0)  # after this it is cut off
    iterations = round(min(row.settings.min_iterations, longest) if full else 1) + 3
    seconds = iterations * one
    if seconds <= row.seconds:
        return None
    return (
        f"{iterations} iterations would take about {seconds_text(seconds)}, and one attempt may take "
        f"{seconds_text(row.seconds)}: --attempt-seconds"
    )


def _measured(sweep: Sweep) -> list[Attempt]:
    latest = {attempt.batch: attempt for attempt in sweep.attempts if attempt.outcome == "measured"}
    return [latest[batch] for batch in sorted(latest)]


def _failures(row: Row, sweep: Sweep, errors: dict[int, TrtkitError]) -> tuple[Failure, ...]:
    """Batches that were asked for and failed; of a ladder only where nothing ran at all."""
    if sweep.is_ladder and sweep.largest is not None:
        return ()
    found = []
    for attempt in sweep.attempts:
        if not attempt.ran:
            what = f"{sweep.precision} on {sweep.device}, batch {attempt.batch}, {sweep.mode}"
            error = errors.get(attempt.batch) or RunError(
                f"Batch {attempt.batch} does not run: {attempt.text}.", hint="Give a smaller batch, or --force."
            )
            found.append(Failure(what, error))
    return tuple(found)
