"""The cells of a study, measured through ``bench``: one for each run, and those that a ladder finds on its way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.run_record import RunRecord
from trtkit.artifacts.study_cell import Cell, Prepared, Scaling
from trtkit.artifacts.study_plan import CellSpec, StudyPlan, slug
from trtkit.artifacts.sweep import Attempt, Sweep
from trtkit.errors import BackendUnavailableError, TrtkitError, UsageError
from trtkit.measurement.failure import classify
from trtkit.measurement.ladder import with_memory
from trtkit.pipeline.bench_request import BenchmarkRequest, BenchmarkResult
from trtkit.pipeline.benchmark import bench
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.request import QUANTIZED
from trtkit.pipeline.scaling import Scaled, ScalingRequest, scale
from trtkit.pipeline.study_request import StudyRequest
from trtkit.stages.export import SourceRequest

__all__ = ["RUNS", "Bench", "Scale", "measure"]

RUNS = "runs"
"""Name of the folder of raw samples inside a study's folder."""

Scale = Callable[[ScalingRequest, Listener], tuple[Scaled, ...]]
"""The same for several devices at a time: :func:`trtkit.pipeline.scaling.scale`, or a stand-in."""

Bench = Callable[[BenchmarkRequest, Listener], BenchmarkResult]
"""Makes measurements: :func:`trtkit.pipeline.benchmark.bench`, or a test's stand-in."""


def measure(
    request: StudyRequest,
    plan: StudyPlan,
    spec: CellSpec,
    prepared: Prepared,
    listener: Listener,
    run: Bench = bench,
    together: Scale = scale,
    before: Sequence[Cell] = (),
) -> tuple[Cell, ...]:
    """Measure a cell; the first one returned is ``spec``'s own, the others are a ladder's steps.

    What fails is a cell that says why: the study goes on.

    Args:
        before: the study's cells so far; a ladder goes on from those of its model, precision, device and mode.
    """
    if prepared.status != "done":
        return (Cell(spec, prepared.status, prepared.reason),)
    if spec.mode != "compute" and spec.device.startswith("cpu"):
        return (Cell(spec, "gap", f"There is no mode {spec.mode} on a CPU: nothing is copied, and nothing captured."),)
    asked = _asked(request, plan, spec, prepared)
    alike = replace(spec, batch=None)
    there = {cell.spec.batch: cell for cell in before if cell.spec.batch and replace(cell.spec, batch=None) == alike}
    if spec.batch is None:
        known = (_known(request, asked, cell) for cell in there.values())
        asked = replace(asked, known=tuple(attempt for attempt in known if attempt is not None))
    elif spec.count == 1 and not any(cell.status == "done" for cell in there.values()):
        asked = replace(asked, ahead=tuple(batch for batch in plan.batches if batch is not None))
    try:
        if spec.count > 1:
            return (_together(request, spec, together(ScalingRequest(asked), listener)[0]),)
        found = run(asked, listener)
    except (UsageError, BackendUnavailableError) as error:
        return (Cell(spec, "gap", f"{error.message} {error.hint}"),)
    except TrtkitError as error:
        kind = classify(error, on_cpu=spec.device.startswith("cpu"))
        return (Cell(spec, "failed", error.message, kind),)
    cells = [_done(request, spec, entry.result, entry.file, prepared) for entry in found.runs]
    if spec.batch is not None:
        return tuple(cells)
    cells = [_as_it_was(there.get(cell.spec.batch or 0), cell) for cell in cells]
    sweep = found.sweeps[0] if found.sweeps else None
    return (_ladder(spec, sweep, cells), *cells, *_ends(spec, sweep))


def _asked(request: StudyRequest, plan: StudyPlan, spec: CellSpec, prepared: Prepared) -> BenchmarkRequest:
    artifact = request.output / str(prepared.file)
    precisions: tuple[str, ...] = ()
    if artifact.suffix == ".onnx":
        source = SourceRequest(str(artifact))  # its manifest lies beside it: it is measured as it is
    else:  # an engine for each batch size, tuned for it
        quantized = artifact.with_name(f"{_model_name(artifact)}.{spec.precision}.onnx")
        source = SourceRequest(spec.model, request.weights.get(spec.model), request.seed)
        if spec.precision in QUANTIZED:
            source = SourceRequest(str(quantized))
        precisions = (spec.precision,)
    return BenchmarkRequest(
        source=source,
        family=prepared.family or "auto",
        devices=spec.device.replace("+", ","),
        precisions=precisions,
        batches=() if spec.batch is None else (spec.batch,),
        ladder=spec.batch is None,
        modes=(spec.mode,),
        settings=dict(plan.settings),
        sweep_limit=request.sweep_limit if spec.batch is None else None,
        sweep_within=request.sweep_within if spec.batch is None else 0.0,
        output=request.output / RUNS / slug(spec.model) / (f"together-{spec.count}" if spec.count > 1 else ""),
        force=request.force,
        command=request.command,
    )


def _known(request: StudyRequest, asked: BenchmarkRequest, cell: Cell) -> Attempt | None:
    """A cell as an attempt that a ladder goes on from; ``None`` for one that says nothing about its batch size."""
    batch = cell.spec.batch or 0
    if cell.status == "failed":
        return Attempt(batch, "failed", cell.kind or "other", (cell.reason or "").rstrip("."))
    if cell.status != "done" or cell.run is None or (request.output / cell.run.file).parent != asked.output:
        return None
    done = Attempt(batch, "measured", images_per_s=cell.run.images_per_s, file=Path(cell.run.file).name)
    return with_memory(done, cell.run.conditions.get("facts", {}), cell.run.device.memory_bytes)


def _as_it_was(before: Cell | None, now: Cell) -> Cell:
    """The cell from before where its measurement was taken over, else the new one."""
    if before is None or before.run is None or now.run is None or before.run.created != now.run.created:
        return now
    return before


def _model_name(artifact: Path) -> str:
    from trtkit.artifacts.plan import PlanManifest

    return PlanManifest.read(artifact).source.name


def _done(request: StudyRequest, spec: CellSpec, result: BenchResult, file: Path, prepared: Prepared) -> Cell:
    subject = result.subject
    if prepared.manifest is not None and subject.precision in QUANTIZED and not str(prepared.file).endswith(".onnx"):
        # The engine was built from the Q/DQ file; the model is the one that this file was made from.
        from trtkit.artifacts.plan import PlanManifest

        source = PlanManifest.read(request.output / str(prepared.file)).source
        subject = replace(subject, model=source.name, model_sha256=source.sha256)
    if subject.observed is None and prepared.observed is not None:
        subject = replace(subject, observed=prepared.observed, proof=prepared.proof)
    record = RunRecord.of(replace(result, subject=subject), file.relative_to(request.output).as_posix())
    settings: BenchSettings = result.settings
    return Cell(replace(spec, batch=settings.batch), "done", run=record)


def _together(request: StudyRequest, spec: CellSpec, found: Scaled) -> Cell:
    """A cell of several devices: rates in the window that all shared, and alone in the same run."""
    result = found.result
    total = result.total_images_per_s
    if total is None:
        return Cell(spec, "failed", result.problem or "A device gave no measurement.", "other")
    phases = [phase for share in result.shares for phase in share.phases.values()]
    reasons = [finding.text for phase in phases for finding in phase.result.verdict.reasons]
    scaling = Scaling(
        total_images_per_s=total,
        together={result.label(share): share.together_images_per_s or 0.0 for share in result.shares},
        alone={
            result.label(share): share.alone_images_per_s
            for share in result.shares
            if share.alone_images_per_s is not None
        },
        efficiency=result.efficiency,
        cause=" ".join(finding.text.rstrip(".") + "." for finding in result.findings).rstrip(".") or None,
        file=found.file.relative_to(request.output).as_posix(),
        valid=result.valid,
        reasons=tuple(dict.fromkeys(reasons)),
    )
    return Cell(spec, "done", scaling=scaling)


def _ladder(spec: CellSpec, sweep: Sweep | None, cells: list[Cell]) -> Cell:
    """The cell that asked for the largest batch: the run at it, and why the ladder ends there."""
    if not cells or sweep is None:
        return Cell(spec, "failed", "No batch size ran.", "other")
    largest = max(cells, key=lambda cell: cell.spec.batch or 0)
    return Cell(spec, "done", sweep.stopped, None, largest.run)


def _ends(spec: CellSpec, sweep: Sweep | None) -> tuple[Cell, ...]:
    """The batch at which a ladder ends, as a failed cell."""
    failed = sweep.first_failure if sweep is not None else None
    if failed is None:
        return ()
    return (Cell(replace(spec, batch=failed.batch), "failed", failed.text, failed.reason),)
