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
    from trtkit.artifacts.scale import ScaleResult
    from trtkit.pipeline.bench_exporting import BenchExports
    from trtkit.pipeline.bench_request import BenchmarkRequest
    from trtkit.pipeline.scaling import Scaled, ScalingRequest
    from trtkit.ranks import Alone, Meeting, Place

__all__ = [
    "CutShortError",
    "NoAlone",
    "Plans",
    "RanksPerDevice",
    "Rendezvous",
    "bench_together",
    "place_of",
    "refuse_for_one",
]

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


def refuse_for_one(place: Place, *, together: bool, no_alone: bool, ranks_per_device: int) -> None:
    """Refuse options of several devices or ranks where there is one.

    Raises:
        UsageError: naming the option.
    """
    if no_alone and not together:
        raise UsageError(
            "--no-alone is about several devices measured at once, and one device is asked for.",
            hint="Leave it out, or name several with --devices.",
        )
    if ranks_per_device > 1 and place.size == 1:
        raise UsageError(
            f"--ranks-per-device {ranks_per_device} is about ranks that share a GPU, and there is one rank.",
            hint="Leave it out, or start ranks with mpirun, srun, torchrun or --rendezvous.",
        )


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

    asked = ScalingRequest(request, _plans(plans or ()), alone, ranks_per_device)
    _refuse_exports(exports, asked)
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
        from trtkit.cli.scaling_table import show

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


def _short(result: ScaleResult) -> dict[str, object]:
    """The figures without raw samples."""
    document = result.to_json()
    for share in document["shares"]:
        share.pop("phases")
    return document


def _write_csv(done: Sequence[Scaled], file: Path) -> None:
    import csv
    import io

    from trtkit.artifacts.files import real_file, write_bytes

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("run", "host", "rank", "device", "images_per_s", "alone_images_per_s", "efficiency", "problem"))
    for one in done:
        for share in one.result.shares:
            figures = (share.together_images_per_s, share.alone_images_per_s, share.efficiency, share.problem)
            writer.writerow((one.file.name, share.host, share.rank, share.device, *figures))
    write_bytes(real_file(file), text.getvalue().encode())


def _refuse_exports(exports: BenchExports, request: ScalingRequest) -> None:
    from trtkit.pipeline.bench_exporting import check_exports

    for name in ("times", "profile", "layer_info"):
        if getattr(exports, name) is not None:
            option = f"--export-{name.replace('_', '-')}"
            raise UsageError(f"{option} is of one device.", hint="Measure one device, or read the .scale.json.")
    bench = request.bench
    read = (Path(bench.source.text), bench.source.weights, bench.data, *request.plans.values())
    check_exports(exports, (), [path for path in read if path is not None and path.is_file()])


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
