"""``trtkit study``: the whole study with one command, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtkit.cli.options import Json, Verbose
from trtkit.errors import UsageError

if TYPE_CHECKING:
    from trtkit.artifacts.study_plan import StudyPlan
    from trtkit.pipeline.study_request import Estimate

__all__ = ["study"]

_HOW = "How it is measured"


def study(
    context: typer.Context,
    models: Annotated[
        str, typer.Option("--models", metavar="LIST", help="Definitions and ONNX files: alexnet,my.onnx.")
    ] = "alexnet,googlenet",
    precision: Annotated[
        str, typer.Option("--precision", "-p", metavar="LIST", help="fp32, tf32, fp16, int8, fp8.")
    ] = "fp32,fp16,int8",
    batch: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Batch sizes; auto among them looks for the largest. Default: 1,8,32,128."),
    ] = None,
    devices: Annotated[
        str, typer.Option("--devices", "--device", metavar="LIST", help="cpu, cuda:1, 0,1, or all.")
    ] = "all",
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The study's folder.")] = Path("study"),
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="PATH", help="Calibrate INT8 and FP8 on these. Default: made-up samples, labelled so."
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights", metavar="MODEL=FILE", help="Weights of a definition; FILE alone for one model; repeatable."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of a definition's random weights.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Short runs, batch sizes 1,4,8: a page in minutes.")] = False,
    against: Annotated[
        list[Path] | None,
        typer.Option("--against", metavar="OTHER_DIR", help="Draw another study's like runs beside; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the matrix and the estimate, and stop.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin anew, whatever is in the folder.")] = False,
    title: Annotated[
        str, typer.Option(metavar="TEXT", help="Title of the page. Default: models and devices.", show_default=False)
    ] = "",
    latency_budget_ms: Annotated[
        float | None,
        typer.Option("--latency-budget-ms", metavar="MS", help="Pick the best batch whose p99 latency keeps this."),
    ] = None,
    family: Annotated[
        str, typer.Option(metavar="NAME", help="Who executes: a family, or auto.", rich_help_panel=_HOW)
    ] = "auto",
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="compute, compute-graph, transfers, overlapped, or all.", rich_help_panel=_HOW
        ),
    ] = None,
    synthetic: Annotated[
        int, typer.Option(min=1, metavar="N", help="Made-up samples, without --data.", rich_help_panel=_HOW)
    ] = 64,
    preprocess: Annotated[
        str | None, typer.Option(metavar="NAME", help="imagenet, caffe, none or a JSON file.", rich_help_panel=_HOW)
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="SECONDS", help="Measure each run at least so long.", rich_help_panel=_HOW),
    ] = None,
    max_duration: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="SECONDS", help="Measure each run at most so long.", rich_help_panel=_HOW),
    ] = None,
    sweep_limit: Annotated[
        int | None,
        typer.Option("--sweep-limit", min=1, metavar="N", help="auto tries no larger batch.", rich_help_panel=_HOW),
    ] = None,
    sweep_within: Annotated[
        str | None,
        typer.Option(
            "--sweep-within",
            metavar="PERCENT",
            help="auto looks for the largest batch up to this. Default: 0, exactly.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="ONNX Runtime's threads on a CPU. Default: all.", rich_help_panel=_HOW),
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Convert, validate and measure every model in every precision, and draw the page.

    Everything is saved after each run: the same command goes on after any
    interruption. What cannot be had here is named in the page, with the reason.
    """
    from trtkit.backends.registry import check_family
    from trtkit.cli.bench_lists import share_of
    from trtkit.cli.console import Screen
    from trtkit.cli.study_end import ended
    from trtkit.pipeline.study import left_of
    from trtkit.pipeline.study import study as run_study
    from trtkit.pipeline.study_request import StudyRequest, estimate, plan_of

    if family != "auto":
        check_family(family.lower())
    settings: dict[str, object] = {
        name: value
        for name, value in (("duration_s", duration), ("max_duration_s", max_duration), ("threads", threads))
        if value is not None
    }
    named = _words(models, lower=False)
    request = StudyRequest(
        models=named,
        precisions=_words(precision),
        batches=_batches(batch),
        modes=_modes(mode),
        devices=devices,
        family=family.lower(),
        data=data,
        synthetic=synthetic,
        preprocess=preprocess,
        latency_budget_ms=latency_budget_ms,
        settings=settings,
        sweep_limit=sweep_limit,
        sweep_within=share_of("--sweep-within", sweep_within),
        weights=_weights(weights or [], named),
        seed=seed,
        quick=quick,
        output=output,
        against=tuple(against or ()),
        title=title,
        force=force,
        command=context.obj,
    )
    if dry_run:
        plan, _ = plan_of(request)
        _announce(plan, estimate(plan, left_of(request, plan)), to_stdout=True)
        return 0
    with Screen(verbose=verbose) as screen:
        result = run_study(request, screen, announce=_announce)
    return ended(result, json=json)


def _announce(plan: StudyPlan, found: Estimate, *, to_stdout: bool = False) -> None:
    import sys

    from trtkit.units import bytes_text, seconds_text

    file = sys.stdout if to_stdout else sys.stderr
    batches = ", ".join("auto" if batch is None else str(batch) for batch in plan.batches)
    matrix = (
        ("models", plan.models),
        ("precisions", plan.precisions),
        ("batches", (batches,)),
        ("modes", plan.modes),
        ("devices", plan.devices),
    )
    for name, values in matrix:
        print(f"  {name:<11} {', '.join(values)}", file=file)
    time = f"{seconds_text(found.low_s)} to {seconds_text(found.high_s)}" if found.cells else "nothing left to measure"
    print(f"  {'cells':<11} {found.cells} to do of {len(plan.cells)}", file=file)
    print(f"  {'estimate':<11} {time}, up to {bytes_text(found.disk_bytes)} on disk", file=file, flush=True)


def _words(text: str, *, lower: bool = True) -> tuple[str, ...]:
    words = (part.strip() for part in text.split(",") if part.strip())
    return tuple(word.lower() if lower else word for word in words)


def _modes(text: str | None) -> tuple[str, ...]:
    from trtkit.artifacts.bench_settings import MODES

    words = _words(text or "")
    return tuple(MODES) if words == ("all",) else words


def _batches(text: str | None) -> tuple[int | None, ...]:
    """``1,8,auto`` → ``(1, 8, None)``.

    Raises:
        UsageError: a word is neither a whole number nor auto.
    """
    found: list[int | None] = []
    for word in _words(text or ""):
        if word != "auto" and not (word.isascii() and word.isdigit()):
            raise UsageError(f"--batch {text} holds {word!r}: give whole numbers and auto.", hint="Write 1,8,32,auto.")
        found.append(None if word == "auto" else int(word))
    return tuple(found)


def _weights(texts: list[str], models: tuple[str, ...]) -> dict[str, Path]:
    """``alexnet=a.npz`` → ``{"alexnet": Path("a.npz")}``; a file alone goes to the only model.

    Raises:
        UsageError: a file goes to no model, or a model has two.
    """
    found: dict[str, Path] = {}
    for text in texts:
        model, _, file = text.partition("=")
        if model not in models or not file:
            if len(models) != 1:
                raise UsageError(
                    f"--weights {text} names none of the models: {', '.join(models)}.",
                    hint="Write --weights MODEL=FILE, once for each model.",
                )
            model, file = models[0], text
        if model in found:
            raise UsageError(f"--weights gives {model} two files.", hint="Give each model one.")
        found[model] = Path(file)
    return found
