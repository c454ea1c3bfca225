"""The page: one HTML file with everything in it, opened by a double click."""

from __future__ import annotations

import base64
import gc
import hashlib
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trtkit
from trtkit.artifacts.files import write_bytes
from trtkit.artifacts.study import Study
from trtkit.report.against import Other
from trtkit.report.against_tables import pair_table, refusal_table, sources_of
from trtkit.report.findings import counts_of, findings_of
from trtkit.report.gaps import gap_table
from trtkit.report.ladders import ladder_table
from trtkit.report.machine import hardware_table, peak_table
from trtkit.report.markup import details_of, rows_of
from trtkit.report.published import load
from trtkit.report.run_section import section_of
from trtkit.report.saved import Saved
from trtkit.report.style import Drawing, Empty, look
from trtkit.report.tables import (
    Table,
    accuracy_table,
    artifact_table,
    published_table,
    run_table,
)
from trtkit.report.view import View

__all__ = ["FIGURES", "PAGE", "Rendered", "render", "write_report"]

PAGE = "report.html"
"""File name of the page inside a study's folder."""

FIGURES = "figures"
"""Name of the folder of figures beside it."""


@dataclass(frozen=True)
class Group:
    """Figures that answer one question, and the table behind them."""

    id: str
    title: str
    text: str
    figures: list[Drawing | Empty]
    table: Table | None = None


@dataclass(frozen=True)
class Rendered:
    """A page and its figures.

    Attributes:
        html: the page.
        drawings: the figures that could be drawn.
        empty: those that could not, with the reason.
    """

    html: str
    drawings: tuple[Drawing, ...]
    empty: tuple[Empty, ...]


def render(study: Study, against: Sequence[Other] = (), saved: Saved | None = None) -> Rendered:
    """Draw the figures, fill the tables, and put all of it into one page; other studies stand beside it.

    Args:
        study: all of it.
        against: the other studies.
        saved: the files behind it; ``None`` for those of a study that lies beside the page, all there.
    """
    import jinja2

    view = View.of(study, load(), against)
    with look(), _uncollected():
        groups = _groups(view)
    script = _template("report.js")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters.update(rows=rows_of, details=details_of)
    html = environment.from_string(_template("report.html.j2")).render(
        page=_page(view, groups, saved or Saved()),
        css=_template("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=trtkit.__version__,
    )
    figures = [figure for group in groups for figure in group.figures]
    return Rendered(
        html,
        tuple(figure for figure in figures if isinstance(figure, Drawing)),
        tuple(figure for figure in figures if isinstance(figure, Empty)),
    )


def write_report(
    study: Study,
    folder: Path,
    against: Sequence[Other] = (),
    source: Path | None = None,
    unread: Sequence[str] = (),
) -> tuple[Path, Rendered]:
    """Write report.html and the figures as PNG and SVG into a folder; returns the page and all that is on it.

    Figures of an earlier report that are drawn no more are removed. ``source`` is the study's own folder, where it is
    another one: links to raw samples lead there. ``unread`` names files of it that no run could be read from.

    Raises:
        UsageError: the folder cannot be written.
    """
    rendered = render(study, against, Saved.of(study, source or folder, folder, tuple(unread)))
    written = set()
    for drawing in rendered.drawings:
        for ending, data in drawing.files.items():
            path = folder / FIGURES / f"{drawing.id}.{ending}"
            write_bytes(path, data)
            written.add(path)
    if (folder / FIGURES).is_dir():
        for old in (folder / FIGURES).iterdir():
            if old not in written and old.suffix in (".png", ".svg") and not old.name.startswith("."):
                old.unlink()
    write_bytes(folder / PAGE, rendered.html.encode())
    return folder / PAGE, rendered


def _groups(view: View) -> list[Group]:
    from trtkit.report.figures import accuracy, batches, energy, latency, peak, references, scaling, throughput

    ladders = ladder_table(view)
    return [
        Group("throughput", "Figure 1: throughput of each precision", "", throughput.draw_throughput(view)),
        Group(
            "accuracy",
            "Accuracy beside speed",
            "",
            accuracy.draw_accuracy(view),
            accuracy_table(view) if view.study.prepared else None,
        ),
        Group("scaling", "Figures 2 and 3: several devices", "", scaling.draw_scaling(view)),
        Group("devices", "Figures 4 and 5: this device against others", "", references.draw_references(view)),
        Group("batch", "Figure 6: batch size", "", batches.draw_batches(view), ladders if ladders.rows else None),
        Group("latency", "Latency against throughput", "", latency.draw_latency(view)),
        Group("peak", "Share of the peak", "", peak.draw_peak(view)),
        Group("energy", "Energy", "", energy.draw_energy(view)),
    ]


def _page(view: View, groups: list[Group], saved: Saved) -> dict[str, Any]:
    study = view.study
    gaps, published, artifacts = gap_table(view, saved.lost, saved.unread), published_table(view), artifact_table(view)
    used = [source for source in view.reference.sources if published.rows]
    return {
        "title": study.heading,
        "lead": _lead(view),
        "counts": counts_of(study),
        "findings": findings_of(view),
        "hardware": hardware_table(view),
        "peaks": peak_table(view),
        "figure_groups": groups,
        "gaps": gaps,
        "against": [pair_table(view.against), refusal_table(view.against)],
        "against_sources": list(sources_of(view.against)),
        "runs": run_table(view),
        "artifacts": artifacts,
        "published": published,
        "sources": [(name, view.reference.sources[name]) for name in used],
        "notes": [note["text"] for note in view.reference.notes if note["source"] in used]
        + [
            f"{failure['device']}, {failure['model']} {failure['precision'].upper()} at batch {failure['batch']:,}: "
            f"{failure['text']}."
            for failure in view.reference.failures
            if failure["source"] in used and failure["model"] in view.models
        ],
        "run_sections": [section_of(cell, view.peaks, saved.lost) for cell in view.in_order(study.cells)],
        "command": shlex.join(study.command),
        "prefix": quote(saved.prefix),
        "numbers": saved.numbers,
        "sections": [
            ("findings", "Findings"),
            ("machine", "Machine"),
            *((group.id, group.title.split(": ")[-1].capitalize()) for group in groups),
            *([("missing", "What is missing")] if gaps.rows else []),
            ("results", "All results"),
            ("artifacts", "What was measured"),
            *([("published", "Published figures")] if published.rows else []),
            ("run-list", "Each run"),
        ],
    }


def _lead(view: View) -> str:
    """What a title of somebody's own may leave out, and when it was."""
    study = view.study
    devices = ", ".join(name for _, name in view.devices) or ", ".join(study.plan.devices)
    what = f"{', '.join(study.plan.models[:8])} on {devices}. " if study.title else ""
    return f"{what}{_when(study.created)}".strip()


def _when(created: str) -> str:
    return f"Begun on {created[:10]} at {created[11:16]} UTC." if len(created) >= 16 else ""


@contextmanager
def _uncollected() -> Iterator[None]:
    """Figures are full of cycles, and each search for garbage would walk through the whole study."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _template(name: str) -> str:
    return resources.files("trtkit.report").joinpath("templates", name).read_text(encoding="utf-8")
