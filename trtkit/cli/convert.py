"""``trtkit convert``: definition or ONNX file → checked plan."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from trtkit.cli import build_options as build
from trtkit.cli import quantization_options as quantize
from trtkit.cli.options import (
    Agreement,
    Json,
    OutputFolder,
    Rewrite,
    RewriteTime,
    Seed,
    Source,
    Tolerance,
    Verbose,
    Weights,
)
from trtkit.errors import EXIT_VERDICT_NO, UsageError

__all__ = ["convert"]

_NEED_DATA = ("data_root", "limit", "holdout", "preprocess", "resume", "method", "search_samples", "search_seconds")
_NEED_TABLE_OR_DATA = ("exclude", "recipe", "high_precision")


def convert(
    context: typer.Context,
    source: Source,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            "-p",
            metavar="NAME",
            help="fp32 (TF32 off), tf32 (fp32 data, TF32 products), fp16 (a cast ONNX), int8 or fp8 (calibrated Q/DQ).",
        ),
    ] = "fp32",
    family: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Who builds: tensorrt, tensorrt-rtx, onnxruntime, or auto: the first of these that can build here.",
        ),
    ] = "auto",
    output: OutputFolder = Path(),
    batch: build.Batch = None,
    shapes: build.Shapes = None,
    weights: Weights = None,
    seed: Seed = 0,
    rewrite: Rewrite = None,
    rewrite_time: RewriteTime = 300.0,
    fp16_io: Annotated[bool, typer.Option("--fp16-io", help="With fp16: float16 inputs and outputs too.")] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A calibration table that is there, instead of data.",
            rich_help_panel=quantize.DATA_PANEL,
        ),
    ] = None,
    allow_other_weights: Annotated[
        bool,
        typer.Option(
            "--allow-other-weights",
            help="Take a table that was made for other weights.",
            rich_help_panel=quantize.DATA_PANEL,
        ),
    ] = False,
    data: quantize.Data = None,
    data_root: quantize.DataRoot = None,
    synthetic: quantize.Synthetic = 0,
    limit: quantize.Limit = None,
    holdout: quantize.Holdout = 0.2,
    preprocess: quantize.Preprocess = None,
    resume: quantize.Resume = False,
    method: quantize.Method = "entropy",
    exclude: quantize.Exclude = None,
    recipe: quantize.Recipe = None,
    high_precision: quantize.HighPrecision = "fp32",
    search_samples: quantize.SearchSamples = 64,
    search_seconds: quantize.SearchSeconds = 120.0,
    require_int8: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Exit 9 if a smaller share of Conv, Gemm and MatMul is proven to run in the precision, int8 or fp8.",
            rich_help_panel=quantize.QUANTIZE_PANEL,
        ),
    ] = None,
    compute_capability: build.ComputeCapability = None,
    workspace: build.Workspace = None,
    optimization_level: build.OptimizationLevel = None,
    timing_cache: build.TimingCache = None,
    runtime_cache: build.RuntimeCache = None,
    version_compatible: build.VersionCompatible = False,
    hardware_compatibility: build.HardwareCompatibility = None,
    strip_weights: build.StripWeights = False,
    refit: build.Refit = False,
    sparse_weights: build.SparseWeights = False,
    tolerance: Tolerance = None,
    agreement: Agreement = None,
    require_validation: Annotated[
        bool, typer.Option("--require-validation", help="Exit 9 unless the plan itself was executed, and agreed.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Build anew, over whatever is there.")] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Turn a model into a checked .plan, with its manifest and the ONNX it was built from.

    Exit codes: 0 done, 2 wrong use, 3 no family, 4 model, 5 calibration,
    6 build, 7 plan, 8 execution, 9 the validation or a --require says no.
    """
    from trtkit.backends.probing import looking
    from trtkit.backends.registry import check_family

    family, precision = family.lower(), precision.lower()
    check_family(family)
    context.with_resource(looking(family))  # what is imported now takes as long as the look
    from trtkit.cli.console import Screen, out, show_objections
    from trtkit.cli.conversion_screen import objections, shown
    from trtkit.pipeline import ConvertRequest
    from trtkit.pipeline import convert as run_convert
    from trtkit.pipeline.quantization import Quantization
    from trtkit.stages.export import SourceRequest

    _check_share(require_int8, precision)
    if rewrite != "auto":
        quantize.refuse_alone(context, ("rewrite_time",), "--rewrite auto")
    spec = quantize.data_spec(data, synthetic, seed, limit=limit, root=data_root)
    if calibration is not None and spec is not None:
        raise UsageError("--calibration is a table that is there; --data makes a new one.", hint="Give one of them.")
    _check_company(context, has_table=calibration is not None, has_data=spec is not None)
    quantize.check_high_precision(high_precision)
    quantization = None
    if calibration is not None or spec is not None:
        quantization = Quantization(
            table=calibration,
            data=spec,
            method=method,
            preprocess=preprocess,
            exclude=tuple(exclude or ()),
            recipe=recipe,
            high_precision=high_precision,
            holdout=holdout,
            seed=seed,
            search_samples=search_samples,
            search_seconds=search_seconds,
            resume=resume,
            allow_other_weights=allow_other_weights,
        )
    request = ConvertRequest(
        source=SourceRequest(source, weights, seed),
        precision=precision,
        family=family,
        batch=batch,
        shapes=tuple(shapes or ()),
        options={
            "compute_capability": build.targets_of(compute_capability),
            "workspace_bytes": build.workspace_of(workspace),
            "optimization_level": optimization_level,
            "timing_cache": timing_cache,
            "runtime_cache": runtime_cache,
            "version_compatible": version_compatible,
            "hardware_compatibility": hardware_compatibility,
            "strip_weights": strip_weights,
            "refit": refit,
            "sparse_weights": sparse_weights,
        },
        output=output,
        fp16_io=fp16_io,
        tolerance=tolerance,
        agreement=agreement,
        quantization=quantization,
        rewrite=rewrite,
        rewrite_seconds=rewrite_time,
        force=force,
        command=context.obj,
    )
    with Screen(verbose=verbose) as screen:
        result = run_convert(request, screen)
    if json:
        from json import dumps

        print(dumps(result.to_json(), indent=2))
    else:
        out().print(shown(result))
    reasons = objections(result, require_validation=require_validation, require_share=require_int8)
    show_objections(reasons)
    return EXIT_VERDICT_NO if reasons else 0


def _check_share(share: float | None, precision: str) -> None:
    if share is None:
        return
    if not math.isfinite(share):
        raise UsageError(f"--require-int8 {share} is no share from 0 to 1.", hint="Give one, such as 0.9.")
    if precision not in ("int8", "fp8"):
        raise UsageError(
            f"--require-int8 counts what runs in int8 or fp8; the precision is {precision}.",
            hint="Add --precision int8, or leave --require-int8 out.",
        )


def _check_company(context: typer.Context, *, has_table: bool, has_data: bool) -> None:
    """Refuse options that nothing would honour: how to calibrate without data, what to quantize without scales."""
    if not has_data and not has_table:
        quantize.refuse_alone(context, _NEED_TABLE_OR_DATA, "--data, --synthetic or --calibration")
    if not has_data:
        quantize.refuse_alone(context, _NEED_DATA, "--data or --synthetic")
    if not has_table:
        quantize.refuse_alone(context, ("allow_other_weights",), "--calibration")
