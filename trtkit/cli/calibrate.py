"""``trtkit calibrate``: sample data → calibration table and Q/DQ model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtkit.cli.options import Json, OutputFolder, Seed, Source, Verbose, Weights
from trtkit.errors import UsageError
from trtkit.units import bytes_text, seconds_text

if TYPE_CHECKING:
    from calibration.source import DataSpec
    from trtkit.pipeline.calibration import CalibrationResult

__all__ = ["calibrate", "data_spec"]

_DATA = "Data"
_SEARCH = "Search"


def data_spec(
    data: str | None, synthetic: int, seed: int, *, limit: int | None = None, root: Path | None = None
) -> DataSpec | None:
    """``--data`` and ``--synthetic`` as one request; ``None`` if neither was given.

    Raises:
        UsageError: both were given.
    """
    from calibration.source import DataSpec

    if data is None and not synthetic:
        return None
    return DataSpec(source=data, synthetic=synthetic, root=root, limit=limit, seed=seed)


def calibrate(
    context: typer.Context,
    source: Source,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="A folder of images, a list file, .npy, .npz, or module:function.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder that the names in a list file stand in.", rich_help_panel=_DATA),
    ] = None,
    synthetic: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="N made-up samples instead; labelled so.", rich_help_panel=_DATA),
    ] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Use N samples at most.", rich_help_panel=_DATA)
    ] = None,
    holdout: Annotated[
        float,
        typer.Option(min=0.0, help="Share (below 1) or number of samples to compare on.", rich_help_panel=_DATA),
    ] = 0.2,
    preprocess: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="imagenet, caffe, none or FILE.json. Default: the definition's own.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples at a time.", rich_help_panel=_DATA)] = 8,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="minmax, percentile[:99.99], entropy, mse, search, several with commas, or all."
        ),
    ] = "entropy",
    precision: Annotated[str, typer.Option("--precision", "-p", metavar="NAME", help="int8 or fp8.")] = "int8",
    high_precision: Annotated[
        str, typer.Option(metavar="NAME", help="Numbers of what stays float: fp32 or fp16.")
    ] = "fp32",
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE|OP", help="Nodes (name or pattern) or operators that stay float; repeatable."),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="The same as JSON.")] = None,
    output: OutputFolder = Path(),
    weights: Weights = None,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted calibration.")] = False,
    search_samples: Annotated[
        int, typer.Option(min=1, help="Calibration samples that the search looks at.", rich_help_panel=_SEARCH)
    ] = 64,
    search_seconds: Annotated[
        float, typer.Option(min=1.0, help="Time limit of the search, in seconds.", rich_help_panel=_SEARCH)
    ] = 120.0,
    from_trt_cache: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take the scales from a TensorRT 7–10 calibration cache.")
    ] = None,
    to_trt_cache: Annotated[Path | None, typer.Option(metavar="FILE", help="Write such a cache as well.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print what was decided for every node, and why.")] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Find INT8 or FP8 scales from sample data, and write the table and the Q/DQ ONNX.

    Methods are compared on samples that calibration did not see.
    """
    from trtkit.cli.console import Screen, out
    from trtkit.pipeline.calibration import CalibrationRequest
    from trtkit.pipeline.calibration import calibrate as run_calibrate
    from trtkit.pipeline.quantization import Quantization
    from trtkit.stages.export import SourceRequest

    _check(precision, high_precision)
    request = CalibrationRequest(
        source=SourceRequest(source, weights, seed),
        how=Quantization(
            data=data_spec(data, synthetic, seed, limit=limit, root=data_root),
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
        ),
        precision=precision,
        from_trt_cache=from_trt_cache,
        to_trt_cache=to_trt_cache,
        output=output,
        command=context.obj,
    )
    with Screen(verbose=verbose) as screen:
        result = run_calibrate(request, screen)
    if json:
        from json import dumps

        print(dumps(result.to_json(), indent=2))
        return
    console = out()
    if explain:
        print(result.explanation)
    console.print(_facts(result))
    if result.report is not None:
        console.print(_methods(result))


def _check(precision: str, high_precision: str) -> None:
    if precision not in ("int8", "fp8"):
        raise UsageError(f"--precision is int8 or fp8 here, not {precision!r}.", hint="Choose one of the two.")
    if high_precision not in ("fp32", "fp16"):
        raise UsageError(f"--high-precision is fp32 or fp16, not {high_precision!r}.", hint="Choose one of the two.")


def _facts(result: CalibrationResult) -> Any:
    from rich.text import Text

    from trtkit.cli.console import facts

    table, report = result.table, result.report
    title = Text.assemble((str(result.table_path), "bold green"), f"  in {seconds_text(result.seconds)}")
    rows: list[tuple[str, str | Text]] = [
        ("quantized", f"{len(table.tensors)} tensors, {table.dtype}, thresholds by {table.method}"),
        ("model", f"{result.onnx.path}, {bytes_text(result.onnx.path.stat().st_size)}"),
    ]
    if table.synthetic:
        rows.append(("data", Text("SYNTHETIC samples: these scales say nothing about accuracy", "yellow")))
    if report is not None:
        rows.append(("samples", f"{report.samples} for calibration, {report.held_out} held out; {report.where}"))
        skipped = sum(report.data.get("skipped", {}).values())
        if skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in report.data["skipped"].items())
            rows.append(("skipped", Text(reasons, "yellow")))
        rows.append(("chosen", f"{report.chosen}: {report.chosen_because}"))
        if report.search is not None and not report.search["finished"]:
            rows.append(("search", Text("stopped at its time limit; --search-seconds gives it more", "yellow")))
        rows.append(("memory", f"{bytes_text(report.peak_rss_bytes)} at its peak"))
        rows.append(("report", str(result.report_path)))
    return facts(title, rows)


def _methods(result: CalibrationResult) -> Any:
    from rich.table import Table

    assert result.report is not None
    shown = Table(box=None, pad_edge=False, header_style="cyan")
    for name in ("  method", "SQNR dB", "95 % interval", "centred dB", "top-1 agreement", "95 % interval "):
        shown.add_column(name, justify="left" if name == "  method" else "right")
    for found in result.report.methods:
        got = found.accuracy or {}
        mark = "▸ " if found.method == result.report.chosen else "  "
        shown.add_row(
            mark + found.method,
            _number(got.get("sqnr_db"), 2),
            f"{_number(got.get('sqnr_low_db'), 2)} … {_number(got.get('sqnr_high_db'), 2)}",
            _number(got.get("centred_sqnr_db"), 2),
            _number(got.get("top1_agreement"), 3),
            f"{_number(got.get('top1_low'), 3)} … {_number(got.get('top1_high'), 3)}",
        )
    return shown


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
