"""``trtkit optimize``: definition or ONNX file → the same model with a faster graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtkit.cli import build_options as build
from trtkit.cli.options import Json, Rewrite, RewriteTime, Seed, Source, Verbose, Weights
from trtkit.errors import UsageError
from trtkit.units import bytes_text, seconds_text

if TYPE_CHECKING:
    from trtkit.artifacts.rewrites import AppliedRewrite
    from trtkit.pipeline.optimization import OptimizeResult

__all__ = ["optimize"]


def optimize(
    context: typer.Context,
    source: Source,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The .onnx file; a report goes beside it.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="FAMILY[:WHERE]",
            help="Who will execute: tensorrt-rtx:9.0, tensorrt, onnxruntime:cpu, … Default: the family of convert.",
        ),
    ] = None,
    rewrite: Rewrite = None,
    rewrite_time: RewriteTime = 300.0,
    precision: Annotated[
        str,
        typer.Option("--precision", "-p", metavar="NAME", help="In which it will run; the file's numbers stay."),
    ] = "fp32",
    batch: build.Batch = None,
    shapes: build.Shapes = None,
    weights: Weights = None,
    seed: Seed = 0,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Check on these inputs too: .npz, one batch, an array for every input."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print every rewrite, where it would apply, and what it gains where.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that trtkit did not write; measure anew.")
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Rewrite a model's graph so that it computes the same and runs faster, and prove that it does.

    Inputs and outputs stay as they are, unless a rewrite that changes them is named.
    """
    from trtkit.cli.console import Screen, out
    from trtkit.pipeline.optimization import OptimizeRequest
    from trtkit.pipeline.optimization import explain as run_explain
    from trtkit.pipeline.optimization import optimize as run_optimize
    from trtkit.stages.export import SourceRequest

    model = SourceRequest(source, weights, seed)
    if explain:
        with Screen(verbose=verbose) as screen:
            rows = run_explain(model, target, screen)
        if output is None:
            _print_explained(rows, as_json=json)
            return
    if output is None:
        raise UsageError("optimize writes a file, and none was named.", hint="Add -o faster.onnx, or --explain.")
    if data is not None and not data.is_file():
        raise UsageError(f"--data {data} is no file.", hint="Give an .npz file with an array for every input.")
    if rewrite != "auto" and context.get_parameter_source("rewrite_time").name == "COMMANDLINE":  # type: ignore[union-attr]
        raise UsageError("--rewrite-time goes with --rewrite auto.", hint="Add it, or leave --rewrite-time out.")
    request = OptimizeRequest(
        source=model,
        output=output,
        target=target,
        rewrite=rewrite or "safe",
        seconds=rewrite_time,
        precision=precision.lower(),
        batch=batch,
        shapes=tuple(shapes or ()),
        data=data,
        force=force,
        command=context.obj,
    )
    with Screen(verbose=verbose) as screen:
        result = run_optimize(request, screen)
    if json:
        from json import dumps

        print(dumps({**result.to_json(), **({"explained": rows} if explain else {})}, indent=2))
        return
    if explain:
        _print_explained(rows, as_json=False)
    console = out()
    console.print(_facts(result))
    console.print(_table(result))


def _facts(result: OptimizeResult) -> Any:
    from rich.text import Text

    from trtkit.cli.console import facts

    report = result.report
    size = bytes_text(result.onnx.path.stat().st_size)
    title = Text.assemble((str(result.onnx.path), "bold green"), f"  {size}, in {seconds_text(result.seconds)}")
    rows: list[tuple[str, str | Text]] = [("for", result.target)]
    if report.kept:
        rows.append(("chosen", report.chosen_because))
    else:
        rows.append(("rewrites", Text("none: the graph is the source's", "yellow")))
    if report.where is not None:
        own = f"; its own optimizations move the source by {report.own_difference:.1e}" if report.own_difference else ""
        rows.append(("checked", f"{', '.join(report.samples)} in {report.where}{own}"))
    return facts(title, [*rows, ("report", str(result.report_path))])


def _table(result: OptimizeResult) -> Any:
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="cyan")
    for name in ("  rewrite", "places", "differs by", "limit", "gain", ""):
        shown.add_column(name, justify="left" if name in ("  rewrite", "") else "right", no_wrap=name != "")
    for item in result.report.rewrites:
        if not item.sites and not item.kept and item.gain is None and result.report.asked in ("safe", "auto"):
            continue
        gain = f"{item.gain:.2f} ×" if item.gain is not None else "–"
        shown.add_row(
            f"{'▸ ' if item.kept else '  '}{item.name}",
            str(len(item.sites)) if item.sites else "–",
            "–" if item.difference is None else f"{item.difference:.1e}",
            "–" if item.limit is None else f"{item.limit:.0e}",
            gain,
            _remark(item, remembered=result.report.asked != "auto"),
        )
    return shown


def _remark(item: AppliedRewrite, *, remembered: bool) -> str:
    """Why a rewrite was left out; or how sure its gain is, and where it comes from if not from here."""
    if not item.kept:
        return item.reason or ""
    ends = f"{item.gain_interval[0]:.3g}…{item.gain_interval[1]:.3g}" if item.gain_interval else ""
    where = f"remembered: {item.gain_source}" if remembered and item.gain_source else ""
    return "; ".join(filter(None, (ends, where)))


def _print_explained(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        from json import dumps

        print(dumps({"rewrites": rows}, indent=2))
        return
    for row in rows:
        when = "when named" if row["changes_interface"] else "safe" if row["safe"] else "auto, or when named"
        places = row["places"]
        print(f"{row['rewrite']} ({when}): {row['summary']}")
        print(f"    {row['gains']}")
        for place in places:
            print(f"    at {place['anchor']}: {place['detail']}")
        if not places:
            print("    no place in this model")
