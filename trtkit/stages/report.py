"""The page from saved results: a study's own, or whatever benchmarks lie in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.files import read_json
from trtkit.artifacts.run_record import RunRecord
from trtkit.artifacts.study import RESULTS, Study
from trtkit.artifacts.study_cell import Cell
from trtkit.artifacts.study_plan import CellSpec, StudyPlan
from trtkit.errors import PlanError, UsageError

if TYPE_CHECKING:
    from trtkit.report.against import Other

__all__ = ["ReportResult", "beside", "gather", "report"]


@dataclass(frozen=True)
class ReportResult:
    """What was drawn.

    Attributes:
        page: the page.
        figures: names of the figures beside it.
        empty: (title, reason) of those that could not be drawn.
    """

    page: Path
    figures: tuple[str, ...]
    empty: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {"page": str(self.page), "figures": list(self.figures), "empty": [list(entry) for entry in self.empty]}


def report(
    folder: Path,
    output: Path | None = None,
    *,
    latency_budget_ms: float | None = None,
    title: str | None = None,
    against: Sequence[Path] = (),
) -> ReportResult:
    """Draw the page of a folder.

    Args:
        folder: a study's, or one with ``….bench.json`` files.
        output: where the page goes; ``None`` for the same folder. Links to raw samples lead back to ``folder``.
        latency_budget_ms, title: instead of the study's own; ``None`` to keep them.
        against: folders of other studies, drawn beside this one where their runs are alike.

    Raises:
        PlanError: there is neither a study nor a benchmark, or a file cannot be read.
        UsageError: the page cannot be written, or a study is laid beside itself.
    """
    if latency_budget_ms is not None and latency_budget_ms <= 0:
        raise UsageError("A latency budget is a time above 0 ms.", hint="Give milliseconds, such as 5.")
    others = beside(folder, against)
    unread: list[str] = []
    study = _load(folder, unread)
    if latency_budget_ms is not None:
        study = replace(study, plan=replace(study.plan, latency_budget_ms=latency_budget_ms))
    if title is not None:
        study = replace(study, title=title)
    from trtkit.report.page import write_report  # matplotlib takes a second to load, and refusals need none of it

    page, rendered = write_report(study, output or folder, others, folder, unread)
    return ReportResult(
        page,
        tuple(drawing.id for drawing in rendered.drawings),
        tuple((figure.title, figure.reason) for figure in rendered.empty),
    )


def beside(folder: Path, against: Sequence[Path]) -> tuple[Other, ...]:
    """The studies that are drawn beside the one in ``folder``.

    Raises:
        PlanError: a folder holds neither a study nor a benchmark.
        UsageError: one is the study itself, or named twice.
    """
    from trtkit.report.against import Other

    seen = {folder.resolve()}
    found = []
    for path in against:
        if path.resolve() in seen:
            raise UsageError(
                f"{path} is the study itself, or was given twice: nothing stands against itself.",
                hint="Give the folder of another study with --against, each once.",
            )
        seen.add(path.resolve())
        found.append(Other(_load(path), path.resolve().name))
    return tuple(found)


def _load(folder: Path, unread: list[str] | None = None) -> Study:
    return Study.read(folder) if (folder / RESULTS).exists() else gather(folder, unread)


def gather(folder: Path, unread: list[str] | None = None) -> Study:
    """A study made of the benchmarks in a folder and the folders below it.

    Of several runs of one cell the newest counts.

    Args:
        folder: where to look.
        unread: takes the names of files that cannot be read; ``None`` to refuse them.

    Raises:
        PlanError: there is none, or one cannot be read.
    """
    if not folder.is_dir():
        raise PlanError(f"{folder} is not a folder.", hint="Give a study's folder, or one of ….bench.json files.")
    cells: dict[str, Cell] = {}
    for path in sorted(folder.rglob("*.bench.json")):
        name = path.relative_to(folder).as_posix()
        try:
            record = RunRecord.of(BenchResult.from_json(read_json(path)), name)
        except PlanError:
            if unread is None:
                raise
            unread.append(name)
            continue
        subject, settings = record.subject, record.settings
        spec = CellSpec(subject.model, subject.precision, settings.batch, settings.mode, record.device.device)
        older = cells.get(spec.id)
        if older is None or older.run is None or older.run.created <= record.created:
            cells[spec.id] = Cell(spec, "done", run=record)
    if not cells:
        whole = " that can be read" if unread else ""
        raise PlanError(
            f"{folder} holds neither {RESULTS} nor a ….bench.json file{whole}.",
            hint="Run trtkit study -o there, or trtkit bench -o there.",
        )
    specs = [cell.spec for cell in cells.values()]
    plan = StudyPlan(
        models=tuple(dict.fromkeys(spec.model for spec in specs)),
        precisions=tuple(dict.fromkeys(spec.precision for spec in specs)),
        batches=tuple(sorted({spec.batch for spec in specs if spec.batch is not None})),
        modes=tuple(dict.fromkeys(spec.mode for spec in specs)),
        devices=tuple(dict.fromkeys(spec.device for spec in specs)),
    )
    first = next(iter(cells.values()))
    return Study(
        plan,
        cells=tuple(cells.values()),
        environment=first.run.environment if first.run else {},
        title=f"Benchmarks in {folder.resolve().name}",
        created=min(cell.run.created for cell in cells.values() if cell.run),
    )
