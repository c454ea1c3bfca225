"""``trtkit report``: the page of a study again, from its saved results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trtkit.cli.options import Json

__all__ = ["report"]


def report(
    folder: Annotated[Path, typer.Argument(help="A study's folder, or any folder of ….bench.json files.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for the page. Default: the same.")
    ] = None,
    latency_budget_ms: Annotated[
        float | None,
        typer.Option("--latency-budget-ms", metavar="MS", help="Draw another latency budget than the study's."),
    ] = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Another title.")] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option("--against", metavar="OTHER_DIR", help="Draw another study's like runs beside; repeatable."),
    ] = None,
    json: Json = False,
) -> int:
    """Draw the page and the figures of a study from its results.json, or from the benchmarks in a folder.

    Nothing is measured.
    """
    from trtkit.cli.console import facts, out
    from trtkit.stages.report import report as run_report

    done = run_report(folder, output, latency_budget_ms=latency_budget_ms, title=title, against=against or ())
    if json:
        from json import dumps

        print(dumps(done.to_json(), indent=2))
        return 0
    rows = [("figures", f"{len(done.figures)}, as PNG and SVG in {done.page.parent / 'figures'}")]
    rows += [("not drawn", f"{name}: {reason}") for name, reason in done.empty]
    out().print(facts(str(done.page), rows))
    return 0
