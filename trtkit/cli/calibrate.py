"""``trtkit calibrate``: sample data → calibration table and Q/DQ model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtkit.cli import quantization_options as quantize
from trtkit.cli.options import Json, OutputFolder, Rewrite, Seed, Source, Verbose, Weights
from trtkit.errors import UsageError
from trtkit.units import bytes_text, seconds_text

if TYPE_CHECKING:
    from trtkit.graph.placement import Placement
    from trtkit.pipeline.calibration import CalibrationResult

__all__ = ["calibrate"]

_CACHES = "TensorRT's calibration caches"
_NAMED = 3
_NEED_DATA = ("data_root", "limit", "preprocess", "batch")
_FIND_THRESHOLDS = ("holdout", "resume", "method", "search_samples", "search_seconds")


def calibrate(
    context: typer.Context,
    source: Source,
    data: quantize.Data = None,
    data_root: quantize.DataRoot = None,
    synthetic: quantize.Synthetic = 0,
    limit: quantize.Limit = None,
    holdout: quantize.Holdout = 0.2,
    preprocess: quantize.Preprocess = None,
    batch: Annotated[
        int, typer.Option(min=1, metavar="N", help="Samples at a time.", rich_help_panel=quantize.DATA_PANEL)
    ] = 8,
    resume: quantize.Resume = False,
    method: quantize.Method = "entropy",
    precision: Annotated[
        str,
        typer.Option("--precision", "-p", metavar="NAME", help="int8 or fp8.", rich_help_panel=quantize.QUANTIZE_PANEL),
    ] = "int8",
    high_precision: quantize.HighPrecision = "fp32",
    exclude: quantize.Exclude = None,
    recipe: quantize.Recipe = None,
    search_samples: quantize.SearchSamples = 64,
    search_seconds: quantize.SearchSeconds = 120.0,
    from_trt_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Take the scales from a cache of TensorRT 7–10; --data then tells how good they are.",
            rich_help_panel=_CACHES,
        ),
    ] = None,
    to_trt_cache: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write such a cache as well.", rich_help_panel=_CACHES)
    ] = None,
    trt_cache_header: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Its first line: version and calibrator, such as TRT-8601-MinMaxCalibration.",
            rich_help_panel=_CACHES,
        ),
    ] = None,
    rewrite: Rewrite = None,
    output: OutputFolder = Path(),
    weights: Weights = None,
    seed: Seed = 0,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Print what is decided for every node, and why. Without data that is all that is done."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Let a synthetic table replace one that was made from real data.")
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Find INT8 or FP8 scales from sample data, and write the table and the Q/DQ ONNX.

    Methods are compared on samples that calibration did not see.
    """
    from trtkit.cli.console import Screen, out
    from trtkit.pipeline.calibration import CalibrationRequest
    from trtkit.pipeline.calibration import calibrate as run_calibrate
    from trtkit.pipeline.calibration import explain as run_explain
    from trtkit.pipeline.quantization import Quantization
    from trtkit.stages.export import SourceRequest

    if precision not in ("int8", "fp8"):
        raise UsageError(f"--precision is int8 or fp8 here, not {precision!r}.", hint="Choose one of the two.")
    quantize.check_high_precision(high_precision)
    if from_trt_cache is not None:
        quantize.refuse_alone(context, _FIND_THRESHOLDS, "--data or --synthetic, without --from-trt-cache")
    if data is None and not synthetic:
        quantize.refuse_alone(context, _NEED_DATA, "--data or --synthetic")
    model = SourceRequest(source, weights, seed)
    how = Quantization(
        data=quantize.data_spec(data, synthetic, seed, limit=limit, root=data_root),
        method=method,
        preprocess=preprocess,
        exclude=tuple(exclude or ()),
        recipe=recipe,
        high_precision=high_precision,
        holdout=holdout,
        batch=batch,
        seed=seed,
        search_samples=search_samples,
        search_seconds=search_seconds,
        resume=resume,
    )
    if explain and how.data is None and from_trt_cache is None:
        placement = run_explain(model, how, precision, rewrite)
        print(_dumps({"decisions": _decisions(placement)}) if json else placement.explain())
        return
    request = CalibrationRequest(
        source=model,
        how=how,
        precision=precision,
        from_trt_cache=from_trt_cache,
        to_trt_cache=to_trt_cache,
        trt_cache_header=trt_cache_header,
        output=output,
        command=context.obj,
        rewrite=rewrite,
        force=force,
    )
    with Screen(verbose=verbose) as screen:
        result = run_calibrate(request, screen)
    if json:
        print(_dumps({**result.to_json(), **({"decisions": _decisions(result.placement)} if explain else {})}))
        return
    console = out()
    if explain:
        print(result.placement.explain())
    console.print(_facts(result))
    if any(found.accuracy for found in result.report.methods):
        console.print(_methods(result))


def _dumps(value: object) -> str:
    from json import dumps

    return dumps(value, indent=2)


def _decisions(placement: Placement) -> list[dict[str, object]]:
    from dataclasses import asdict

    return [asdict(decision) for decision in placement.decisions]


def _facts(result: CalibrationResult) -> Any:
    from rich.text import Text

    from calibration.enough import left_out_text
    from trtkit.cli.console import facts

    table, report = result.table, result.report
    title = Text.assemble((str(result.table_path), "bold green"), f"  in {seconds_text(result.seconds)}")
    rows: list[tuple[str, str | Text]] = [
        ("quantized", f"{len(table.tensors)} tensors, {table.dtype}, thresholds by {table.method}"),
        ("model", f"{result.onnx.path}, {bytes_text(result.onnx.path.stat().st_size)}"),
    ]
    if table.synthetic:
        rows.append(("data", Text("SYNTHETIC samples: these scales say nothing about accuracy", "yellow")))
    if result.cache is not None:
        rows.append(("cache", report.chosen_because))
        for what in ("fused", "unused", "unmatched"):
            if names := getattr(result.cache, what):
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                rows.append(("", f"{len(names)} {what}: {', '.join(names[:_NAMED])}{more}"))
    if report.samples:
        rows.append(("samples", f"{report.samples} for calibration, {report.held_out} held out; {report.where}"))
    elif report.held_out:
        rows.append(("samples", f"{report.held_out}, on which the cache's scales were tried; {report.where}"))
    if left_out := left_out_text(report.data):
        rows.append(("skipped", Text(left_out, "yellow")))
    if result.cache is None:
        rows.append(("chosen", f"{report.chosen}: {report.chosen_because}"))
    if report.search is not None and not report.search["finished"]:
        rows.append(("search", Text("stopped at its time limit; --search-seconds gives it more", "yellow")))
    if report.peak_rss_bytes is not None:
        rows.append(("memory", f"{bytes_text(report.peak_rss_bytes)} at its peak"))
    rows.append(("report", str(result.report_path)))
    if result.trt_cache is not None:
        rows.append(("TRT cache", f"{result.trt_cache[0]}, for {result.trt_cache[1]}"))
    return facts(title, rows)


def _methods(result: CalibrationResult) -> Any:
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="cyan")
    for name in ("  method", "SQNR dB", "95 % of it", "centred dB", "top-1", "95 % of it"):
        shown.add_column(name, justify="left" if name == "  method" else "right", no_wrap=True)
    for found in result.report.methods:
        got = found.accuracy or {}
        mark = "▸ " if found.method == result.report.chosen else "  "
        shown.add_row(
            mark + found.method,
            _number(got.get("sqnr_db"), 2),
            _interval(got.get("sqnr_low_db"), got.get("sqnr_high_db"), 1),
            _number(got.get("centred_sqnr_db"), 2),
            _number(got.get("top1_agreement"), 3),
            _interval(got.get("top1_low"), got.get("top1_high"), 3),
        )
    return shown


def _interval(low: float | None, high: float | None, digits: int) -> str:
    return "–" if low is None or high is None else f"{low:.{digits}f}…{high:.{digits}f}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
