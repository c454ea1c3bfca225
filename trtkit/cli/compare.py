"""``trtkit compare``: two result sets, pair by pair."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtkit.cli.options import Json
from trtkit.errors import EXIT_VERDICT_NO, UsageError

if TYPE_CHECKING:
    from trtkit.artifacts.comparison import Comparison, Pair

__all__ = ["compare", "markdown"]

_NARROW = 95
"""Columns of a screen from which the table's names of runs have room."""

_SHARE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*%?\s*$")


def compare(
    first: Annotated[Path, typer.Argument(help="A study's folder, a folder of ….bench.json files, or one such file.")],
    second: Annotated[Path, typer.Argument(help="The other one: is it faster than the first?")],
    fail_if_slower: Annotated[
        str | None,
        typer.Option(
            "--fail-if-slower", metavar="3%", help="Exit 9 if a pair is slower by more, or could not be compared."
        ),
    ] = None,
    noise_floor: Annotated[
        str, typer.Option("--noise-floor", metavar="1%", help="No change below this counts.")
    ] = "1%",
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A table for a pull request.")] = False,
    json: Json = False,
) -> int:
    """Compare like with like: throughput and latency ratios with 95 % intervals, and a verdict for each pair.

    Runs of another model, input, precision observed or of an INVALID verdict are
    refused, with the reason. Devices, versions and drivers may differ: they are
    what is compared.
    """
    from trtkit.cli.console import out, show_objections
    from trtkit.stages.compare import compare as run_compare

    limit = None if fail_if_slower is None else _share("--fail-if-slower", fail_if_slower)
    found = run_compare(first, second, noise_floor=_share("--noise-floor", noise_floor), limit=limit)
    objections, undecided = [], []
    if limit is not None:
        objections = [_slower(pair, limit) for pair in found.slower_than(limit)]
        undecided = [_undecided(pair, limit) for pair in found.undecided]
        objections += [f"{refusal.what} could not be compared: {refusal.reasons[0]}" for refusal in found.incomparable]
    if json:
        from json import dumps

        print(dumps({**found.to_json(), "objections": objections, "undecided": undecided}, indent=2))
    elif as_markdown:
        print(markdown(found))
    else:
        out().print(_screen(found, out().width))
    for text in undecided:
        print(text, file=sys.stderr)
    show_objections(objections)
    return EXIT_VERDICT_NO if objections else 0


def _slower(pair: Pair, limit: float) -> str:
    text = f"{pair.what} is slower by {1 - pair.speedup:.1%}, more than {limit:.1%}"
    if 1 - pair.speedup <= pair.noise:  # its whole interval lies beyond the limit all the same
        text += f" in its whole 95 % interval, though the runs were disturbed by {pair.noise:.0%}: measure both again"
    return text


def _undecided(pair: Pair, limit: float) -> str:
    low, high = pair.speedup_interval
    return (
        f"cannot tell whether {pair.what} is slower by more than {limit:.1%}: "
        f"{pair.speedup:.3f}× ({low:.3f} … {high:.3f}), disturbed by {pair.noise:.0%}; "
        "measure both sides longer (--duration 10), on a quiet machine"
    )


def _share(option: str, text: str) -> float:
    """``3%``, ``3`` → 0.03.

    Raises:
        UsageError: it is no percentage below 100.
    """
    match = _SHARE.match(text)
    if match is None or float(match[1]) >= 100:
        raise UsageError(f"{option} {text} is no percentage below 100.", hint=f"Write {option} 3%.")
    return float(match[1]) / 100


def _cells(pair: Pair) -> tuple[str, ...]:
    low, high = pair.speedup_interval
    latency_low, latency_high = pair.latency_interval
    return (
        f"{pair.first_images_per_s:,.1f}",
        f"{pair.second_images_per_s:,.1f}",
        f"{pair.speedup:.3f}× ({low:.3f} … {high:.3f})",
        f"{pair.latency_ratio:.3f}× ({latency_low:.3f} … {latency_high:.3f})",
        pair.verdict,
    )


_HEADERS = ("run", "first", "second", "speed-up (95 %)", "latency (95 %)", "verdict")
_MEDIANS = "images/s and speed-up at the median time between finished batches, latency at its median"


def markdown(found: Comparison) -> str:
    """The comparison as Markdown."""

    def safe(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")

    lines = [
        f"**{safe(found.second)}** against **{safe(found.first)}**: {_MEDIANS}",
        "",
        f"| {' | '.join(_HEADERS)} |",
        "|---|---:|---:|---:|---:|---|",
    ]
    mark = {"faster": "**faster**", "slower": "**slower**"}
    for pair in found.pairs:
        *numbers, verdict = _cells(pair)
        lines.append(f"| {safe(pair.what)} | {' | '.join(numbers)} | {mark.get(verdict, verdict)} |")
    lines += ["", *(f"* not compared: {safe(r.what)}: {safe(' '.join(r.reasons))}" for r in found.refusals)]
    lines += [f"* {safe(text)}" for text in _differences(found)]
    lines += [f"* {safe(note)}" for note in found.notes]
    return "\n".join(lines).rstrip()


def _differences(found: Comparison) -> list[str]:
    return list(dict.fromkeys(f"differs: {text}" for pair in found.pairs for text in pair.differs))


def _screen(found: Comparison, width: int) -> object:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from trtkit.report.numbers import significant

    table = Table(box=None, pad_edge=False, header_style="cyan")
    table.add_column("run", overflow="fold")
    for name in ("first", "second", "speed-up", "95 %", "latency"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    colours = {"faster": "green", "slower": "red", "cannot tell": "yellow"}
    blocks: list[Text] = []
    for pair in found.pairs:
        low, high = pair.speedup_interval
        if width < _NARROW:
            blocks.append(Text.assemble(f"{pair.what}: ", (pair.verdict, colours.get(pair.verdict, ""))))
            rates = f"{significant(pair.first_images_per_s)} → {significant(pair.second_images_per_s)} images/s"
            blocks.append(
                Text(f"  {rates}, {pair.speedup:.3f}× ({low:.2f}…{high:.2f}), latency {pair.latency_ratio:.3f}×")
            )
            continue
        table.add_row(
            pair.what,
            significant(pair.first_images_per_s),
            significant(pair.second_images_per_s),
            f"{pair.speedup:.3f}×",
            f"{low:.2f}…{high:.2f}",
            f"{pair.latency_ratio:.3f}×",
            Text(pair.verdict, colours.get(pair.verdict, "")),
        )
    lines = [Text(f"  not compared: {r.what}: {' '.join(r.reasons)}", "yellow") for r in found.refusals]
    lines += [Text(f"  {text}") for text in _differences(found)]
    lines += [Text(f"  note: {note}") for note in found.notes]
    return Group(Text(_MEDIANS, "dim"), *(blocks if width < _NARROW else (table,)), *lines)
