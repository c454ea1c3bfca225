"""A whole study: plan the matrix, convert → validate → bench cell by cell, save after each, draw the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit.arguments import check_argument
from trtkit.artifacts.study import Study
from trtkit.artifacts.study_plan import CellSpec, StudyPlan
from trtkit.pipeline.bench_family import Target, targets
from trtkit.pipeline.benchmark import bench
from trtkit.pipeline.listener import Listener, Silence
from trtkit.pipeline.scaling import scale
from trtkit.pipeline.study_cells import Bench, Scale, measure
from trtkit.pipeline.study_lock import held
from trtkit.pipeline.study_prepare import prepare
from trtkit.pipeline.study_request import Estimate, StudyRequest, estimate, plan_of
from trtkit.pipeline.study_resume import begin
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
    state = begin(request, plan, told)
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
    state = begin(request, plan, Silence())
    return sum(not _settled(state, spec) for spec in plan.cells)


def draw(state: Study, folder: Path, others: Sequence[Other] = ()) -> Path:
    """Write the page and the figures of a study, others beside it; returns the page."""
    from trtkit.report.page import write_report  # matplotlib and jinja2 take a second to load

    return write_report(state, folder, others)[0]


def _settled(state: Study, spec: CellSpec) -> bool:
    return any(cell.spec.id == spec.id and cell.status in _SETTLED for cell in state.cells)


def _first(spec: CellSpec, todo: list[CellSpec]) -> bool:
    """Whether this is the first cell of its model and precision: a failed conversion is tried again once."""
    return next(s for s in todo if (s.model, s.precision) == (spec.model, spec.precision)) == spec
