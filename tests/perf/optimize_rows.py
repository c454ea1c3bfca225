"""The lines of the table of rewrites, and its two files, in which rows of an earlier call may stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.perf.calls import differences
from trtkit import environment
from trtkit.artifacts.files import read_json, write_bytes, write_json
from trtkit.measurement.contest import Contest
from trtkit.pipeline.rewrite_search import Names

__all__ = ["Also", "Row", "Sheet", "line", "markdown"]

_NAME = "optimize"


@dataclass(frozen=True)
class Also:
    """A further set of rewrites against the base.

    Attributes:
        asked: as it was given, such as ``safe+join_groups``.
        names: what it is on this model.
        contest: ``None`` where the graph is the base's, or none was held.
        problem: why none was held.
    """

    asked: str
    names: Names
    contest: Contest | None
    problem: str | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Also:
        return cls(**{**value, "names": tuple(value["names"]), "contest": _contest(value["contest"])})


@dataclass(frozen=True)
class Row:
    """One line of the table: a model in a precision at a batch.

    ``safe`` and ``auto`` are contests against the base; ``None`` where the graph is the base's, or none was held.
    ``made`` is of another call than the last: its command, when it ended, and what differs of place and environment.
    """

    model: str
    precision: str
    batch: int
    safe_names: Names
    auto_names: Names
    safe: Contest | None
    auto: Contest | None
    goal: float | None
    problem: str | None = None
    searched: bool = True
    also: tuple[Also, ...] = ()
    made: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        lists = {"safe_names": list(self.safe_names), "auto_names": list(self.auto_names)}
        return {**asdict(self), **lists, "also": [{**asdict(item), "names": list(item.names)} for item in self.also]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Row:
        """The inverse of :meth:`to_json`; files of earlier versions have neither ``also`` nor ``made``."""
        names = {key: tuple(value[key]) for key in ("safe_names", "auto_names")}
        found = {key: _contest(value[key]) for key in ("safe", "auto")}
        return cls(**{**value, **names, **found, "also": tuple(map(Also.from_json, value.get("also", ())))})


def _contest(value: Mapping[str, Any] | None) -> Contest | None:
    return Contest.from_json(value) if value is not None else None


class Sheet:
    """``optimize.json`` and ``optimize.md`` in a folder.

    Args:
        out: the folder.
        append: whether rows that are there and are not measured anew stay.
    """

    def __init__(self, out: Path, *, append: bool = False) -> None:
        self._file = out / f"{_NAME}.json"
        self._old = read_json(self._file) if append and self._file.exists() else None
        self.rows: list[Row] = []
        self.left_out: list[str] = []

    def write(self, facts: Mapping[str, Any]) -> None:
        """Write what there is.

        Args:
            facts: of this call: ``command``, ``where``, ``how`` and ``load``.
        """
        here = environment.describe().to_json()
        document = {"schema": 1, **facts, "ended": datetime.now(UTC).isoformat(timespec="seconds")}
        document |= {"environment": here}
        rows = [*self._kept(document), *self.rows]
        document |= {"rows": [row.to_json() for row in rows], "left_out": self.left_out}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._file, document)
        write_bytes(self._file.with_suffix(".md"), markdown(rows, {**facts, "left_out": self.left_out}).encode())

    def _kept(self, now: Mapping[str, Any]) -> list[Row]:
        """Rows of the earlier file that this call has not measured, each with whose it is."""
        if self._old is None:
            return []
        old = self._old
        other = {name: old[name] for name in ("where", "how") if old[name] != now[name]}
        other |= differences(old, now)
        made = {"command": old["command"], "ended": old.get("ended", "at another time"), **other}

        def key(row: Row, where: str) -> tuple[object, ...]:
            return (where.split()[0], row.model, row.precision, row.batch)

        again = {key(row, str(now["where"])) for row in self.rows}
        found = [Row.from_json(value) for value in old["rows"]]
        found = [replace(row, made=row.made or made) for row in found]
        return [row for row in found if key(row, str(row.made.get("where", now["where"]))) not in again]


def line(row: Row) -> str:
    """A row of the Markdown table."""
    contests = (row.safe, row.auto, *(item.contest for item in row.also))
    base = next((found.first_ms for found in contests if found is not None), None)
    cells = [
        row.model,
        f"{row.precision}, {row.batch}",
        f"{row.batch / base * 1e3:,.0f}" if base else "–",
        _cell(row.safe, row.batch, row.problem),
        _cell(row.auto, row.batch, row.problem) if row.searched else "not run",
        f"{row.goal:g} ×" if row.goal else "",
        ", ".join(row.auto_names if row.searched else row.safe_names) or "none",
    ]
    return f"| {' | '.join(cells)} |"


def _cell(found: Contest | None, batch: int, problem: str | None) -> str:
    if found is None:
        return problem or "the base's graph"
    return f"{batch / found.second_ms * 1e3:,.0f} ({found.text})"


def markdown(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """The table for people."""
    lines = [
        "# Rewrites: what they gain",
        "",
        f"Made by `{facts['command']}` with {facts['where']}; {facts['how']}.",
        f"Load average of the machine: {facts['load'][0]} at the start, {facts['load'][1]} at the end.",
        "Images/s; in brackets the speed over base and its 95 % interval, from paired ratios.",
        "",
        "| model | precision, batch | base | safe | auto | goal | rewrites |",
        "|---|---|---|---|---|---|---|",
        *map(line, rows),
    ]
    also = [
        f"* {_of(row)}, {item.asked}: {_cell(item.contest, row.batch, item.problem)}; {', '.join(item.names) or 'none'}"
        for row in rows
        for item in row.also
    ]
    kept: dict[str, list[str]] = {}
    for row in rows:
        if row.made:
            kept.setdefault(_whose(row.made), []).append(_of(row))
    others = [f"* {'; '.join(which)}: kept from {whose}" for whose, which in kept.items()]
    left = [f"* {what}" for what in facts.get("left_out", ())]
    for title, items in (
        ("Further sets, against base", also),
        ("Other calls", others),
        ("Left out, time was up", left),
    ):
        lines += ["", f"{title}:", "", *items] if items else []
    return "\n".join([*lines, ""])


def _of(row: Row) -> str:
    return f"{row.model} {row.precision}, {row.batch}"


def _whose(made: Mapping[str, Any]) -> str:
    other = ", ".join(f"{name} {value}" for name, value in made.items() if name not in ("command", "ended"))
    return f"`{made['command']}`, {made['ended']}{f': {other}' if other else ''}"
