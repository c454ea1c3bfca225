"""Going on with a study: what of the folder's still holds, what is set aside, and what makes it another study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trtkit import environment
from trtkit.artifacts.files import read_json
from trtkit.artifacts.study import RESULTS, Study
from trtkit.artifacts.study_aside import Aside
from trtkit.artifacts.study_cell import Cell, Prepared
from trtkit.artifacts.study_plan import StudyPlan
from trtkit.errors import PlanError, UsageError
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.study_request import StudyRequest

__all__ = ["begin"]

_SHOWN = 12
"""Characters of a hash that are shown."""


def begin(request: StudyRequest, plan: StudyPlan, listener: Listener) -> Study:
    """The study to go on with, or a new one, with a cell for each place of the matrix.

    Raises:
        UsageError: the folder holds a study under other conditions.
    """
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
    _refuse_other(found, plan, request.output)
    if found.environment.get("trtkit") != fresh.environment.get("trtkit"):
        listener.note(f"its first cells were measured by trtkit {found.environment.get('trtkit')}")
    kept, back = _kept(found, plan, request.output, listener)
    asked = {spec.id for spec in plan.cells}
    here = {name: cell for name, cell in kept.items() if name in asked or _belongs(cell, plan)}
    if returned := len(here.keys() & back):
        listener.note(f"{returned} runs that a smaller matrix had set aside are taken back")
    left_out = [cell for name, cell in kept.items() if name not in here]
    if dropped := sum(cell.spec.id not in back for cell in left_out):
        listener.note(
            f"{dropped} of them are not in this matrix and leave the page; a matrix that has them takes them back"
        )
    on_the_way = [cell for name, cell in here.items() if name not in asked]
    cells = (*(here.get(cell.spec.id, cell) for cell in fresh.cells), *on_the_way)
    prepared = {(p.model, p.precision): p for p in (*found.aside.prepared, *found.prepared)}
    shown = tuple(p for p in prepared.values() if p.model in plan.models and p.precision in plan.precisions)
    aside = _aside(found, plan, left_out, [p for p in prepared.values() if p not in shown])
    return replace(fresh, cells=cells, prepared=_same(shown, plan, found), created=found.created, aside=aside)


def _kept(found: Study, plan: StudyPlan, folder: Path, listener: Listener) -> tuple[dict[str, Cell], set[str]]:
    """Cells that need not be measured again, by their names, and the names of those that had been set aside."""
    finer = plan.sweep_within < found.plan.sweep_within  # largest batches are looked for again, from what is known
    changed = _changed_aside(found, plan)
    if changed:
        listener.note(f"set aside before and changed since, so measured anew: {', '.join(sorted(changed))}")
    back = {cell.spec.id: cell for cell in found.aside.cells if cell.spec.model not in changed}
    reached = {cell.spec.id: cell for cell in found.cells if cell.status != "planned"}
    listener.note(f"going on with the study in {folder}: {len(reached)} of its cells were reached before")
    kept = {name: cell for name, cell in (back | reached).items() if not (finer and cell.spec.batch is None)}
    lost = [cell for cell in kept.values() if not _whole(cell, folder)]
    if lost:
        listener.note(
            f"{len(lost)} of them are measured again: their files of raw samples are missing, damaged or of another run"
        )
        again = {cell.spec.id for cell in lost} | {replace(cell.spec, batch=None).id for cell in lost}
        kept = {name: cell for name, cell in kept.items() if name not in again}
    return kept, set(back) - set(reached)


def _whole(cell: Cell, folder: Path) -> bool:
    """Whether the file of raw samples that a finished cell names is there, can be read, and is of this run."""
    file = cell.run.file if cell.run is not None else cell.scaling.file if cell.scaling is not None else None
    if file is None:
        return True
    try:
        value = read_json(folder / file)
    except PlanError:
        return False
    return cell.run is None or value.get("created") == cell.run.created


def _aside(found: Study, plan: StudyPlan, cells: Sequence[Cell], prepared: Sequence[Prepared]) -> Aside:
    """What of a larger matrix is kept for later: what was measured, and of what."""

    def others(of: Mapping[str, str]) -> dict[str, str]:
        return {model: text for model, text in of.items() if model not in plan.models}

    return Aside(
        tuple(cell for cell in cells if cell.status == "done"),
        tuple(prepared),
        others(found.aside.sources | _sources(found)),
        others(found.aside.weights | found.plan.weights),
    )


def _changed_aside(found: Study, plan: StudyPlan) -> set[str]:
    """Models of the matrix that only the runs set aside have, and whose file or weights are others now."""
    models = set(plan.models) - set(found.plan.models)
    before, now = found.aside, plan
    return {
        model
        for model in models & {cell.spec.model for cell in before.cells}
        if (before.sources.get(model), before.weights.get(model)) != (now.sources.get(model), now.weights.get(model))
    }


def _same(shown: tuple[Prepared, ...], plan: StudyPlan, found: Study) -> tuple[Prepared, ...]:
    changed = _changed_aside(found, plan)
    return tuple(prepared for prepared in shown if prepared.model not in changed)


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


def _refuse_other(found: Study, plan: StudyPlan, folder: Path) -> None:
    """Cells of one study were measured alike: other settings, data, models or families are another study.

    Raises:
        UsageError: naming what differs.
    """
    told = next(_differences(found, plan), None)
    if told is None:
        return
    what, before, now = told
    raise UsageError(
        f"{folder} holds a study whose {what} was {before}, and now it is {now}.",
        hint="Give another folder with -o, the same files and options as before, or --force to begin anew.",
    )


def _differences(found: Study, plan: StudyPlan) -> Iterator[tuple[str, str, str]]:
    """What two studies of one folder do not share: name, before, now, in words."""
    before = found.plan
    for name in sorted({*before.settings, *plan.settings}):
        old, new = before.settings.get(name), plan.settings.get(name)
        if old != new:
            yield f"setting {name}", _value(old), _value(new)
    if before.data != plan.data:
        yield "data", before.data or "synthetic samples", plan.data or "synthetic samples"
    if None not in (before.data_content, plan.data_content) and before.data_content != plan.data_content:
        yield f"content of {plan.data}", _short(before.data_content), _short(plan.data_content)
    if before.family != plan.family:
        yield "family", before.family, plan.family
    if before.quick != plan.quick:
        old, new = ("quick (--quick)" if quick else "full (no --quick)" for quick in (before.quick, plan.quick))
        yield "form", old, new
    if before.seed != plan.seed:
        yield "seed", str(before.seed), str(plan.seed)
    for device in sorted(before.machines.keys() & plan.machines.keys()):
        if before.machines[device] != plan.machines[device]:
            yield f"device {device}", before.machines[device], plan.machines[device]
    sources = _sources(found)
    for model in (model for model in plan.models if model in before.models):
        old, new = before.weights.get(model), plan.weights.get(model)
        if old != new:
            yield f"weights of {model}", _short(old), _short(new)
        known, now = sources.get(model), plan.sources.get(model)
        if known is not None and now is not None and known != now:
            yield f"file {model}", f"of SHA-256 {_short(known)}", f"of SHA-256 {_short(now)}"


def _sources(found: Study) -> dict[str, str]:
    """Model file → SHA-256, of an older study by what was measured."""
    measured = {
        cell.spec.model: cell.run.subject.model_sha256
        for cell in found.cells
        if cell.run is not None and cell.spec.model.endswith(".onnx")
    }
    return {**measured, **found.plan.sources}


def _value(value: Any) -> str:
    return "the usual one" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _short(text: str | None) -> str:
    """With the beginning of the hash at its end."""
    if text is None:
        return "none"
    words, _, digest = text.rpartition(" ")
    return f"{words} {digest[:_SHOWN]}…".strip()
