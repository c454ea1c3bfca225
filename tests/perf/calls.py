"""Results of several calls in one file: what an earlier call measured and this one does not is kept, with its facts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.perf.measure import Row, write
from trtkit import environment

__all__ = ["call", "differences", "earlier", "write_calls"]

RowsOf = Callable[[dict[str, Any]], list[Row]]


def call(
    module: str, found: Mapping[str, Any], arguments: Sequence[str] | None, gpu: str | None = None
) -> dict[str, Any]:
    """What one call measured, and with what: the entry of it in the file.

    Args:
        module: that was called, such as ``bench_fidelity``.
        found: everything that it measured.
        arguments: of the command; ``None`` for those of this process. The first one is where results go.
        gpu: name of the GPU, for the environment.
    """
    given = sys.argv[1:] if arguments is None else arguments
    words = [",".join(Path(w).name if w.startswith("/") else w for w in word.split(",")) for word in given]
    return {
        "command": " ".join([f"python -m tests.perf.{module}", "OUT", *words[1:]]),
        "environment": {**environment.describe().to_json(), "gpu": gpu},
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "found": dict(found),
    }


def earlier(out: Path, name: str) -> list[dict[str, Any]]:
    """The calls in ``NAME.json``, also of one that was written before it held several; none if there is no file."""
    file = out / f"{name}.json"
    if not file.exists():
        return []
    document = json.loads(file.read_text(encoding="utf-8"))
    if "calls" in document:
        return list(document["calls"])
    return [{"command": f"python -m tests.perf.{name} OUT", **{key: document.get(key) for key in _OLD}}]


_OLD = ("environment", "load_average", "found")


def write_calls(out: Path, name: str, title: str, calls: Sequence[dict[str, Any]], rows_of: RowsOf) -> str:
    """Write ``NAME.md`` and ``NAME.json``; returns the Markdown.

    A row of a later call replaces that of an earlier one of the same name, and a call of which nothing is left is
    dropped. A row that was made in another environment than the last call's says so.
    """
    rows: dict[str, tuple[Row, int]] = {}
    for number, entry in enumerate(calls):
        rows |= {row.name: (row, number) for row in rows_of(entry["found"])}
    last = len(calls) - 1
    left = sorted({number for _, number in rows.values()} | {last})
    shown, environments, remarks = [], dict[str, Any](), []
    for number in left:
        entry, other = calls[number], differences(calls[number], calls[last])
        mine = [name for name, (_, made) in rows.items() if made == number]
        if number != last:
            remarks.append(
                f"* {len(mine)} kept from `{entry['command']}`, {entry.get('ended', 'at another time')}"
                f"{': ' + _text(other) if other else ''}."
            )
        environments |= {name: other for name in mine if other}
        problems = entry["found"].get("failed", {})
        remarks += [f"* **Failed**: {step}: {why}" for step, why in problems.items() if number == last]
    for row, made in rows.values():
        other = differences(calls[made], calls[last])
        shown.append(Row(**{**vars(row), "note": f"{row.note}; {_text(other)}"}) if other else row)
    facts = {"calls": [calls[number] for number in left], "environment_of_rows": environments}
    return write(out, name, title, shown, facts, "\n".join(remarks))


def differences(entry: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Any]:
    """What of an environment differs from the last call's; versions of packages one by one."""
    mine, theirs = dict(entry["environment"] or {}), dict(last["environment"] or {})
    packages, others = mine.pop("packages", {}), theirs.pop("packages", {})
    found = {key: value for key, value in mine.items() if value != theirs.get(key)}
    return found | {key: value for key, value in packages.items() if value != others.get(key)}


def _text(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
