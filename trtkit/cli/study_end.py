"""What ``trtkit study`` says at its end: counts and findings, why numbers are missing, and the exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trtkit.errors import EXIT_VERDICT_NO

if TYPE_CHECKING:
    from trtkit.pipeline.study import StudyResult

__all__ = ["ended"]

_MOST_REASONS = 10


def ended(result: StudyResult, *, json: bool) -> int:
    """Print what a study found; returns 9 if nothing could be measured and something failed, else 0."""
    from trtkit.cli.console import facts, out, show_objections
    from trtkit.report.findings import counts_of, findings_of, reasons_of
    from trtkit.report.published import load
    from trtkit.report.view import View
    from trtkit.units import seconds_text

    study = result.study
    if json:
        from json import dumps

        document = {"page": str(result.page), "folder": str(result.folder), "seconds": result.seconds}
        print(dumps({**document, "rows": study.rows()}, indent=2))
    else:
        rows = [("cells", ", ".join(f"{number} {name}" for number, name in counts_of(study)))]
        rows += [("", text) for text, _ in findings_of(View.of(study, load()))]
        out().print(facts(f"{result.page}  in {seconds_text(result.seconds)}", rows))
    reasons = reasons_of(study)
    for reason in reasons[:_MOST_REASONS]:
        print(reason, file=sys.stderr)
    if len(reasons) > _MOST_REASONS:
        print(f"{len(reasons) - _MOST_REASONS} more reasons are in the page", file=sys.stderr)
    if any(cell.images_per_s is not None for cell in study.cells) or not any(c.status == "failed" for c in study.cells):
        return 0
    show_objections(["nothing could be measured: the reasons stand above"])
    return EXIT_VERDICT_NO
