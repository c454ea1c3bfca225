"""A whole study: plan the matrix, convert → validate → bench cell by cell, save after each, draw the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit import environment
from trtkit.arguments import check_argument
from trtkit.artifacts.study import RESULTS, Study
from trtkit.artifacts.study_cell import Cell
from trtkit.artifacts.study_plan import CellSpec, StudyPlan
from trtkit.errors import UsageError
from trtkit.pipeline.bench_family import Target, targets
from trtkit.pipeline.benchmark import bench
from trtkit.pipeline.listener import Listener, Silence
from trtkit.pipeline.scaling import scale
from trtkit.pipeline.study_cells import Bench, Scale, measure
from trtkit.pipeline.study_lock import held
from trtkit.pipeline.study_prepare import prepare
from trtkit.pipeline.study_request import Estimate, StudyRequest, estimate, plan_of
from trtkit.stages.report import beside
from trtkit.worker import Log, Progress

if TYPE_CHECKING:
    from trtkit.report.against import Other

__all__ = ["StudyResult", "left_of", "study"]

_SETTLED = ("done", "gap")


@dataclass(frozen=True)
class StudyResult:
    """What is there afterwards.

    Attributes:
        study: all of it.
        folder: where results.json, results.csv, the page and the figures are.
        page: the page.
        seconds: wall time of this call.
    """

    study: Study
    folder: Path
    page: Path
    seconds: float


class _Numbered:
    """A listener that puts the number of the cell in front of every stage."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.prefix = ""

    def stage(self, title: str) -> None:
        self._listener.stage(f"{self.prefix}{title}")

    def event(self, event: Progress | Log) -> None:
        self._listener.event(event)

    def note(self, text: str) -> None:
        self._listener.note(text)


def study(
    request: StudyRequest,
    listener: Listener | None = None,
    *,
    announce: Callable[[StudyPlan, Estimate], None] | None = None,
    look: Callable[[str, str | None], tuple[tuple[Target, ...], str]] = targets,
    run: Bench = bench,
    together: Scale = scale,
) -> StudyResult:
    """Run a study, or go on with one: finished cells of the same folder are kept, failed ones are tried again.

    Args:
        request: what to study.
        listener: is told what goes on; ``None`` for silence.
        announce: is told the matrix and the estimate before anything is run.
        look: finds who executes on which device.
        run: makes the measurements of one device, and ``together`` those of several.

    Raises:
        UsageError: the request contradicts itself, the folder holds a study under other conditions, or another process
            is at work in it.
    """
    started = time.perf_counter()
    check_argument("study", "request", request, StudyRequest)
    told = _Numbered(listener or Silence())
    told.stage("Looking for devices and engine families")
    others = beside(request.output, request.against)  # before hours of work, not behind them
    plan, places = plan_of(request, look=look)
    with held(request.output, request.command):
        state, page = _run(request, plan, places, told, announce, run, together, others)
    return StudyResult(state, request.output, page, time.perf_counter() - started)


def _run(
    request: StudyRequest,
    plan: StudyPlan,
    places: Sequence[Target],
    told: _Numbered,
    announce: Callable[[StudyPlan, Estimate], None] | None,
    run: Bench,
    together: Scale,
    others: Sequence[Other],
) -> tuple[Study, Path]:
    """What is left of a study, and its page; the folder is held."""
    state = _begin(request, plan, told)
    todo = [spec for spec in plan.cells if not _settled(state, spec)]
    if announce is not None:
        announce(plan, estimate(plan, len(todo)))
    state.write(request.output)
    families = {str(target.device): target.can.family for target in places}
    for number, spec in enumerate(todo, start=1):
        if _settled(state, spec):
            continue  # a ladder has been there
        told.prefix = f"[{number}/{len(todo)}] {Path(spec.model).name} {spec.precision.upper()} · "
        family = families[spec.device.split("+")[0]]
        made = state.artifact(spec.model, spec.precision)
        if made is None or made.family not in (None, family) or (made.status == "failed" and _first(spec, todo)):
            made = prepare(
                request, plan, family, spec.model, spec.precision, told, on_cpu=spec.device.startswith("cpu")
            )
            state = state.with_prepared(made)
        state = state.with_cells(*measure(request, plan, spec, made, told, run, together, state.cells))
        state.write(request.output)
    told.prefix = ""
    told.stage("Drawing the page")
    return state, draw(state, request.output, others)


def left_of(request: StudyRequest, plan: StudyPlan) -> int:
    """How many cells of the matrix are still to do, by what lies in the request's folder; nothing is written.

    Raises:
        UsageError: the folder holds a study under other conditions.
    """
    state = _begin(request, plan, Silence())
    return sum(not _settled(state, spec) for spec in plan.cells)


def draw(state: Study, folder: Path, others: Sequence[Other] = ()) -> Path:
    """Write the page and the figures of a study, others beside it; returns the page."""
    from trtkit.report.page import write_report  # matplotlib and jinja2 take a second to load

    return write_report(state, folder, others)[0]


def _begin(request: StudyRequest, plan: StudyPlan, listener: Listener) -> Study:
    """The study to go on with, or a new one, with a cell for each place of the matrix."""
    fresh = Study(
        plan,
        cells=tuple(Cell(spec) for spec in plan.cells),
        environment=environment.describe().to_json(),
        title=request.title,
        command=request.command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if request.force or not (request.output / RESULTS).exists():
        return fresh
    found = Study.read(request.output)
    _refuse_other(found.plan, plan, request.output)
    finer = plan.sweep_within < found.plan.sweep_within  # largest batches are looked for again, from what is known
    kept = {
        cell.spec.id: cell
        for cell in found.cells
        if cell.status != "planned" and not (finer and cell.spec.batch is None)
    }
    listener.note(f"going on with the study in {request.output}: {len(kept)} of its cells were reached before")
    if found.environment.get("trtkit") != fresh.environment.get("trtkit"):
        listener.note(f"its first cells were measured by trtkit {found.environment.get('trtkit')}")
    asked = {spec.id for spec in plan.cells}
    on_the_way = [cell for cell in kept.values() if cell.spec.id not in asked and _belongs(cell, plan)]
    cells = (*(kept.get(cell.spec.id, cell) for cell in fresh.cells), *on_the_way)
    if dropped := len(kept) - sum(cell.spec.id in kept for cell in cells):
        listener.note(f"{dropped} of them are not in this matrix and leave the page; their samples stay in runs/")
    prepared = tuple(p for p in found.prepared if p.model in plan.models and p.precision in plan.precisions)
    return replace(fresh, cells=cells, prepared=prepared, created=found.created)


def _belongs(cell: Cell, plan: StudyPlan) -> bool:
    """Whether a cell beyond the matrix is a ladder's step of this plan."""
    spec = cell.spec
    return None in plan.batches and all(
        (
            spec.model in plan.models,
            spec.precision in plan.precisions,
            spec.mode in plan.modes,
            spec.device in plan.devices,
        )
    )


def _refuse_other(found: StudyPlan, plan: StudyPlan, folder: Path) -> None:
    """Cells of one study were measured alike: other settings, data or families are another study.

    Raises:
        UsageError: naming what differs.
    """
    shared = set(found.models) & set(plan.models)
    for name in ("settings", "data", "family", "quick", "seed", "weights"):
        before, now = getattr(found, name), getattr(plan, name)
        if name == "weights":
            before, now = ({model: of[model] for model in of if model in shared} for of in (before, now))
        if before != now:
            raise UsageError(
                f"{folder} holds a study whose {name} was {before!r}, and now it is {now!r}.",
                hint="Give another folder with -o, the same options as before, or --force to begin anew.",
            )


def _settled(state: Study, spec: CellSpec) -> bool:
    return any(cell.spec.id == spec.id and cell.status in _SETTLED for cell in state.cells)


def _first(spec: CellSpec, todo: list[CellSpec]) -> bool:
    """Whether this is the first cell of its model and precision: a failed conversion is tried again once."""
    return next(s for s in todo if (s.model, s.precision) == (spec.model, spec.precision)) == spec
