"""What ``bench`` adds for several devices: its options, the ranks' meeting, and the table of devices."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtkit.errors import EXIT_INTERRUPTED, EXIT_VERDICT_NO, RunError, TrtkitError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from trtkit.artifacts.scale import ScaleResult, Share
    from trtkit.pipeline.bench_exporting import BenchExports
    from trtkit.pipeline.bench_request import BenchmarkRequest
    from trtkit.pipeline.scaling import Scaled, ScalingRequest
    from trtkit.ranks import Alone, Meeting, Place

__all__ = ["CutShortError", "NoAlone", "Plans", "RanksPerDevice", "Rendezvous", "bench_together", "place_of"]

_PANEL = "Several devices"
_INTERRUPTED = "it was interrupted"

Plans = Annotated[
    list[str] | None,
    typer.Option(
        "--plan",
        metavar="DEVICE=FILE",
        help="Another plan for one device: cuda:1=FILE; repeatable.",
        rich_help_panel=_PANEL,
    ),
]
RanksPerDevice = Annotated[
    int,
    typer.Option(
        "--ranks-per-device", min=1, metavar="N", help="How many ranks may share a GPU.", rich_help_panel=_PANEL
    ),
]
Rendezvous = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Where rank 0 listens, for launchers without MPI; or HOST:PORT,RANK,SIZE.",
        rich_help_panel=_PANEL,
    ),
]
NoAlone = Annotated[
    bool,
    typer.Option("--no-alone", help="Do not measure each device alone too: no efficiency.", rich_help_panel=_PANEL),
]


class CutShortError(Exception):
    """A command that was interrupted and has kept something: what, for the line about it."""


def place_of(rendezvous: str | None) -> Place:
    """Which rank this process is; see :func:`trtkit.ranks.find`."""
    from trtkit.ranks import find

    return find(rendezvous)


def bench_together(
    request: BenchmarkRequest,
    place: Place,
    *,
    plans: Sequence[str] | None,
    ranks_per_device: int,
    alone: bool,
    json: bool,
    strict: bool,
    verbose: bool,
    exports: BenchExports,
) -> int:
    """Measure several devices at once; rank 0 speaks, and every rank leaves with the same exit code.

    Raises:
        TrtkitError: on rank 0, as :func:`trtkit.pipeline.scaling.scale`.
    """
    from trtkit.cli.console import Screen, out
    from trtkit.pipeline.scaling import ScalingRequest, scale
    from trtkit.ranks import join

    _refuse_exports(exports)
    asked = ScalingRequest(request, _plans(plans or ()), alone, ranks_per_device)
    first = place.rank == 0
    meeting = join(place, lambda text: typer.echo(f"note: {text}", err=True), _terms(asked) if place.address else None)
    atexit.register(_leave, meeting)
    try:
        with Screen(verbose=verbose and first, quiet=not first) as screen:
            done = scale(asked, screen, meeting=meeting, place=place)
    except TrtkitError as error:
        if first or meeting.leaderless:
            raise
        return error.exit_code  # rank 0 says it
    except KeyboardInterrupt as interruption:
        meeting.farewell(_INTERRUPTED)
        if not first:
            return EXIT_INTERRUPTED
        if file := getattr(interruption, "file", None):
            raise CutShortError(f"what was measured until then is in {file}") from None
        raise
    except BaseException as error:
        meeting.farewell(f"it met a bug ({type(error).__name__}: {error})")
        raise
    if not first:
        return 0
    if exports.csv is not None:
        _write_csv(done, exports.csv)
    if json:
        from json import dumps

        print(dumps({"results": [{"file": str(one.file), **_short(one.result)} for one in done]}, indent=2))
    else:
        for one in done:
            show(one, out())
    return EXIT_VERDICT_NO if strict and not all(one.result.valid for one in done) else 0


def _terms(asked: ScalingRequest) -> dict[str, Any]:
    """What tells this job from another; nothing if the model cannot be read, which is said once the ranks have met."""
    from trtkit.pipeline.scale_agreement import terms

    try:
        return terms(asked)
    except (TrtkitError, OSError):
        return {}


def show(scaled: Scaled, console: Console) -> None:
    """Print one measurement of several devices."""
    from rich.table import Table
    from rich.text import Text

    from trtkit.cli.bench_tables import number

    result = scaled.result
    name = scaled.file.name.removesuffix(".scale.json")
    devices = f"{len(result.shares)} device{'s' * (len(result.shares) != 1)}"
    launcher = "" if result.ranks == 1 else f", {result.ranks} ranks by {result.launcher}"
    console.print(Text.assemble((name, "bold green"), f"  {devices}{launcher}"))
    table = Table(box=None, pad_edge=False, header_style="cyan", padding=(0, 2, 0, 0))
    for head in ("device", "images/s", "alone", "efficiency", "p50 ms", "W", "verdict"):
        table.add_column(head, justify="left" if head in ("device", "verdict") else "right", no_wrap=True)
    for share in result.shares:
        found = share.phases.get("together")
        verdict = "" if found is None or found.result.verdict.valid else "INVALID"
        table.add_row(
            result.label(share),
            number(share.together_images_per_s),
            number(share.alone_images_per_s),
            _percent(share.efficiency),
            number(found.result.timeline.summary()["latency"]["p50_ms"])
            if found and len(found.result.timeline)
            else "",
            number(_watts(share)),
            "failed" if share.problem else verdict,
            style="red" if share.problem or verdict else "",
        )
    table.add_row(
        "all",
        number(result.total_images_per_s),
        number(result.sum_of_alone_images_per_s),
        _percent(result.efficiency),
        style="bold",
    )
    console.print(table)
    for label, text in _below(scaled):
        grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
        grid.add_column(style="bold red" if label in ("INVALID", "failed") else "cyan", no_wrap=True, min_width=9)
        grid.add_column(overflow="fold")
        grid.add_row(f"  {label}", Text(text))
        console.print(grid)


def _below(scaled: Scaled) -> list[tuple[str, str]]:
    result = scaled.result
    lines = [("failed", f"{result.label(share)}: {share.problem}") for share in result.shares if share.problem]
    seen: dict[str, list[str]] = {}
    for share in result.shares:
        for phase in share.phases.values():
            for finding in phase.result.verdict.reasons:
                seen.setdefault(f"{finding.text} {finding.next_step}", []).append(result.label(share))
    lines += [("INVALID", f"{', '.join(dict.fromkeys(devices))}: {text}") for text, devices in seen.items()]
    lines += [("why", f"{finding.text} {finding.next_step}") for finding in result.findings]
    windows = [share.phases["together"].seconds for share in result.shares if "together" in share.phases]
    if windows:
        clock = f", clocks agree within {result.clock_error_s * 1e3:.2f} ms" if result.clock_error_s else ""
        if result.clock_drift_s:
            clock += f" and drifted by {abs(result.clock_drift_s) * 1e3:.2f} ms"
        lines.append(("window", f"{min(windows):.2f} s shared by all{clock}"))
    lines.append(("samples", str(scaled.file)))
    return lines


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _watts(share: Share) -> float | None:
    found = share.phases.get("together")
    power = found.result.conditions.power_w if found else ()
    return sum(power) / len(power) if power else None


def _short(result: ScaleResult) -> dict[str, object]:
    """The figures without raw samples."""
    document = result.to_json()
    for share in document["shares"]:
        share.pop("phases")
    return document


def _write_csv(done: Sequence[Scaled], file: Path) -> None:
    import csv
    import io

    from trtkit.artifacts.files import write_bytes

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("run", "host", "rank", "device", "images_per_s", "alone_images_per_s", "efficiency", "problem"))
    for one in done:
        for share in one.result.shares:
            figures = (share.together_images_per_s, share.alone_images_per_s, share.efficiency, share.problem)
            writer.writerow((one.file.name, share.host, share.rank, share.device, *figures))
    write_bytes(file, text.getvalue().encode())


def _refuse_exports(exports: BenchExports) -> None:
    for name in ("times", "profile", "layer_info"):
        if getattr(exports, name) is not None:
            option = f"--export-{name.replace('_', '-')}"
            raise UsageError(f"{option} is of one device.", hint="Measure one device, or read the .scale.json.")


def _plans(given: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in given:
        device, equals, file = text.partition("=")
        name = device.strip().lower()
        name = f"cuda:{name}" if name.isdigit() else name
        if not equals or not name or not file or name in found:
            raise UsageError(f"--plan {text} is not DEVICE=FILE, each device once.", hint="Write --plan cuda:1=FILE.")
        found[name] = Path(file)
    return found


def _leave(meeting: Meeting | Alone) -> None:
    """At the interpreter's end: together if all is well; with a lost rank MPI would wait for it for ever.

    Where a rank was interrupted, each has said what it had to say and goes: the launcher ends what is left, and MPI's
    page about an abort would hide our line.
    """
    from trtkit.ranks.guard import abandoned, end_with_guardian

    with contextlib.suppress(OSError):  # a launcher that is gone reads no more
        sys.stdout.flush()
        sys.stderr.flush()
    end_with_guardian()
    if _INTERRUPTED in meeting.left_because:
        os._exit(EXIT_INTERRUPTED)
    if meeting.lost or abandoned():
        meeting.abort(RunError.exit_code)
    meeting.close()
