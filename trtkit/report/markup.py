"""The long parts of the page, as HTML: rows of tables and sections of runs.

A study has tens of thousands of entries, and a template takes three times as long for them. Every text passes ``text``.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from markupsafe import Markup

    from trtkit.report.run_section import RunSection
    from trtkit.report.tables import Table, Value

__all__ = ["details_of", "rows_of"]

_WIDE, _LONG = 18, 44
"""Characters from which a column of tables is given more width."""


def rows_of(table: Table) -> Markup:
    """The rows of a table."""
    from markupsafe import Markup

    text = _escaping()
    return Markup("".join(f"<tr>{''.join([_entry(value, text) for value in row])}</tr>\n" for row in table.rows))


def details_of(runs: Iterable[RunSection], prefix: str = "") -> Markup:
    """A foldable section for each run; ``prefix`` is the way to the study's folder, quoted."""
    from markupsafe import Markup

    text = _escaping()
    return Markup("".join([_section(run, prefix, text) for run in runs]))


def _escaping() -> Callable[[str], str]:
    known: dict[str, str] = {}

    def text(value: str) -> str:
        found = known.get(value)
        if found is None:
            found = known[value] = html.escape(value)
        return found

    return text


def _entry(value: Value, text: Callable[[str], str]) -> str:
    shown, length = text(value.text), len(value.text)
    of = value.style if length <= _WIDE else f"{value.style} {'long' if length > _LONG else 'wide'}".strip()
    start = "<td"
    if value.id:
        start += f' id="{text(value.id)}"'
    if of:
        start += f' class="{of}"'
    if value.sort is not None:
        start += f' data-sort="{value.sort}"'
    if value.link:
        shown = f'<a href="{text(value.link)}">{shown}</a>'
    return f"{start}>{shown}</td>"


def _section(run: RunSection, prefix: str, text: Callable[[str], str]) -> str:
    facts = "".join(
        [f"<dt>{text(name)}</dt><dd>{_fact(value, kind, prefix, text)}</dd>" for name, value, kind in run.facts]
    )
    return (
        f'<details id="run-{text(run.id)}"><summary>{text(run.title)} · '
        f'<span class="{run.style}">{text(run.verdict)}</span></summary>\n<dl>{facts}</dl>\n</details>\n'
    )


def _fact(value: str, kind: str, prefix: str, text: Callable[[str], str]) -> str:
    if kind == "code":
        return f"<code>{text(value)}</code>"
    if kind == "file":  # a colon is escaped, so that no name can become another scheme
        return f'<a href="{text(prefix)}{text(quote(value.lstrip("/")))}">{text(value)}</a>'
    return text(value)
