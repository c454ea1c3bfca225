"""``trtkit convert``: definition or ONNX file → checked plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtkit.cli.calibrate import data_spec
from trtkit.cli.options import Json, OutputFolder, Seed, Source, Verbose, Weights
from trtkit.errors import EXIT_VERDICT_NO, UsageError
from trtkit.units import bytes_text, parse_bytes, seconds_text

if TYPE_CHECKING:
    from trtkit.pipeline import ConvertResult

__all__ = ["convert"]

_BUILD = "Build options (refused where the family cannot honour them)"
_QUANTIZE = "INT8 and FP8"
_NAMED = 5
_NOISE = (
    "the inputs are seeded noise (standard deviation {std:g}), on which a model may say next to nothing: look at the "
    "measures with trtkit validate, and set the limit with --tolerance if they are small enough for you"
)
_SHAPES = "Shapes of dynamic inputs"


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
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="MIN:OPT:MAX",
            help="Batch sizes of a dynamic batch axis. Default: 1:32:128.",
            rich_help_panel=_SHAPES,
        ),
    ] = None,
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=…",
            help="MIN:OPT:MAX shapes of any dynamic input: x=1x3x48x32:6x3x48x320:16x3x48x1024; repeatable.",
            rich_help_panel=_SHAPES,
        ),
    ] = None,
    weights: Weights = None,
    seed: Seed = 0,
    fp16_io: Annotated[bool, typer.Option("--fp16-io", help="With fp16: float16 inputs and outputs too.")] = False,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A calibration table that is there.", rich_help_panel=_QUANTIZE)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Calibrate first, with these samples (see trtkit calibrate).",
            rich_help_panel=_QUANTIZE,
        ),
    ] = None,
    synthetic: Annotated[
        int, typer.Option(min=0, metavar="N", help="Calibrate with N made-up samples.", rich_help_panel=_QUANTIZE)
    ] = 0,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="How to choose scales from data.", rich_help_panel=_QUANTIZE)
    ] = "entropy",
    preprocess: Annotated[
        str | None, typer.Option(metavar="NAME", help="imagenet, caffe, none or FILE.json.", rich_help_panel=_QUANTIZE)
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE|OP", help="Stay float; repeatable.", rich_help_panel=_QUANTIZE),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same as JSON.", rich_help_panel=_QUANTIZE)
    ] = None,
    high_precision: Annotated[
        str,
        typer.Option(metavar="NAME", help="Numbers of what stays float: fp32 or fp16.", rich_help_panel=_QUANTIZE),
    ] = "fp32",
    require_int8: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Exit 9 if a smaller share of Conv, Gemm and MatMul is proven to run in the precision.",
            rich_help_panel=_QUANTIZE,
        ),
    ] = None,
    compute_capability: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="GPUs to build for (tensorrt-rtx): such as 8.6,8.9, or current, the GPU here. "
            "Default: current, or 8.0,8.6,8.9,12.0 without a GPU.",
            rich_help_panel=_BUILD,
        ),
    ] = None,
    workspace: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Limit of the builder's scratch memory: 512MiB, 4G.", rich_help_panel=_BUILD),
    ] = None,
    optimization_level: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=5,
            metavar="0-5",
            help="0 (fast build) … 5 (fast engine). Default: the builder's.",
            rich_help_panel=_BUILD,
        ),
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TensorRT's kernel timings, read and added to.", rich_help_panel=_BUILD),
    ] = None,
    runtime_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TensorRT-RTX's just-in-time kernels, read and added to when the plan is executed.",
            rich_help_panel=_BUILD,
        ),
    ] = None,
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible", help="The plan also loads in later TensorRT versions.", rich_help_panel=_BUILD
        ),
    ] = False,
    hardware_compatibility: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL",
            help="The plan also runs on other GPUs (tensorrt): ampere_plus or same_compute_capability.",
            rich_help_panel=_BUILD,
        ),
    ] = None,
    strip_weights: Annotated[
        bool, typer.Option("--strip-weights", help="Leave refittable weights out.", rich_help_panel=_BUILD)
    ] = False,
    refit: Annotated[
        bool, typer.Option("--refit", help="Weights can be replaced after the build.", rich_help_panel=_BUILD)
    ] = False,
    sparse_weights: Annotated[
        bool,
        typer.Option("--sparse-weights", help="Use 2:4 sparsity where the weights have it.", rich_help_panel=_BUILD),
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Largest relative L2 error that passes. Default: 0.005 (fp32, tf32), 0.01 (fp16), 0.1 (int8, fp8).",
        ),
    ] = None,
    require_validation: Annotated[
        bool, typer.Option("--require-validation", help="Exit 9 unless the plan itself was executed and agreed.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Build even if an equal plan is already there.")] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Turn a model into a checked .plan, with its manifest and the ONNX it was built from.

    Exit codes: 0 done, 2 wrong use, 3 no family, 4 model, 6 build, 7 plan, 8 execution, 9 validation says no.
    """
    from trtkit.cli.console import Screen, out
    from trtkit.pipeline import ConvertRequest
    from trtkit.pipeline import convert as run_convert
    from trtkit.pipeline.quantization import Quantization
    from trtkit.stages.export import SourceRequest

    if hardware_compatibility not in (None, "ampere_plus", "same_compute_capability"):
        raise UsageError(
            f"--hardware-compatibility is ampere_plus or same_compute_capability, not {hardware_compatibility!r}.",
            hint="Choose one of the two.",
        )
    quantization = None
    spec = data_spec(data, synthetic, seed)
    if calibration is not None or spec is not None:
        if calibration is not None and spec is not None:
            raise UsageError(
                "--calibration is a table that is there; --data makes a new one.", hint="Give one of them."
            )
        if high_precision not in ("fp32", "fp16"):
            raise UsageError(f"--high-precision is fp32 or fp16, not {high_precision!r}.", hint="Choose one.")
        quantization = Quantization(
            table=calibration,
            data=spec,
            method=method,
            preprocess=preprocess,
            exclude=tuple(exclude or ()),
            recipe=recipe,
            high_precision=high_precision,
        )
    request = ConvertRequest(
        source=SourceRequest(source, weights, seed),
        precision=precision.lower(),
        family=family.lower(),
        batch=batch,
        shapes=tuple(shapes or ()),
        options={
            "compute_capability": _targets(compute_capability),
            "workspace_bytes": parse_bytes(workspace) if workspace else None,
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
        quantization=quantization,
        force=force,
        command=context.obj,
    )
    with Screen(verbose=verbose) as screen:
        result = run_convert(request, screen)
    console = out()
    if json:
        console.print_json(data=result.to_json()) if console.is_terminal else print(_dumps(result))
    else:
        console.print(_show(result))
    report = result.manifest.validation
    share = result.manifest.proof.fraction(request.precision) if result.manifest.proof else None
    if require_int8 is not None and (share is None or share < require_int8):
        return EXIT_VERDICT_NO
    failed = report.status == "failed" or not report.onnx_passed
    return EXIT_VERDICT_NO if failed or (require_validation and report.status != "passed") else 0


def _targets(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    targets = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not targets:
        raise UsageError("--compute-capability names no target.", hint="Write for example 8.6,8.9, or current.")
    return targets


def _dumps(result: ConvertResult) -> str:
    import json

    return json.dumps(result.to_json(), indent=2)


def _show(result: ConvertResult) -> object:
    from rich.text import Text

    from trtkit.cli.console import facts

    manifest = result.manifest
    done = "reused, nothing had changed" if result.reused else f"built in {seconds_text(result.seconds)}"
    title = Text.assemble((str(result.plan), "bold green"), f"  {bytes_text(manifest.bytes)}, {done}")
    report = manifest.validation
    colour = "green" if report.status == "passed" else "red" if not report.onnx_passed else "yellow"
    profile = manifest.options["profile"]
    rows: list[tuple[str, str | Text]] = [
        ("family", f"{manifest.family} {manifest.version} ({result.chosen_because})"),
        ("runs on", f"compute capability {', '.join(manifest.targets)}" if manifest.targets else "anywhere"),
        ("inputs", "; ".join(spec.text for spec in manifest.onnx.inputs)),
        ("outputs", "; ".join(spec.text for spec in manifest.onnx.outputs)),
    ]
    if profile:
        from trtkit.artifacts.profile import OptimizationProfile

        rows.append(("profile", OptimizationProfile.from_json(profile).text))
    if manifest.proof is not None:
        rows.append(("precision", f"asked {manifest.precision}; {manifest.proof.sentence}"))
        stayed = manifest.proof.stayed if manifest.precision in ("int8", "fp8") else ()
        for node in stayed[:_NAMED]:
            rows.append(("", f"{node.op} {node.name} stayed {node.dtype}: {node.reason or 'the builder chose so'}"))
        if len(stayed) > _NAMED:
            rows.append(("", f"… and {len(stayed) - _NAMED} more (trtkit inspect --json names all)"))
    if report.precision_observed is not None:
        agrees = report.precision_observed == manifest.precision
        rows.append(
            (
                "observed",
                Text(f"{report.precision_observed}: {report.observed_because}", "green" if agrees else "yellow"),
            )
        )
    elif manifest.precision in ("fp32", "tf32") and report.status == "not_executed":
        rows.append(
            ("observed", "nothing yet: only an execution can tell FP32 from TF32 (trtkit validate, on the GPU)")
        )
    rows.append(("validation", Text(report.sentence, colour)))
    if not report.onnx_passed and report.checks:
        rows.append(("what now", _NOISE.format(std=report.input_std)))
    rows.append(("built from", f"{manifest.onnx.path.name} (opset {manifest.onnx.opset})"))
    rows.append(("manifest", f"{manifest.file}.json"))
    return facts(title, rows)
