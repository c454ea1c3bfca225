"""``trtkit bench``: numbers that can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trtkit.cli.bench_lists import batches_of, processors_of, share_of, words
from trtkit.cli.options import Json, OutputFolder, RewriteForBench, Verbose, Weights
from trtkit.cli.scaling import NoAlone, Plans, RanksPerDevice, Rendezvous, bench_together, place_of, refuse_for_one
from trtkit.errors import EXIT_VERDICT_NO, UsageError

__all__ = ["bench"]

_RULE = "How long"
_HOW = "How it is executed"
_LADDER = "The largest batch"
_FILES = "Files for other tools"


def bench(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A plan, an .onnx file (as it is), or a model definition's name.")],
    devices: Annotated[
        str | None,
        typer.Option(
            "--device",
            "--devices",
            metavar="LIST",
            help="cpu, cuda:1; several at once: 0,1, all, cpu*2. Default: the first GPU, else the CPU.",
        ),
    ] = None,
    family: Annotated[
        str,
        typer.Option(metavar="NAME", help="Who executes: a family, or auto: the first that can run on the device."),
    ] = "auto",
    precision: Annotated[
        str | None,
        typer.Option("--precision", "-p", metavar="LIST", help="fp32, tf32, fp16; converted where needed."),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Batch sizes: 1,8,64, or auto: 1, 2, 4, … to the largest that runs. "
            "Default: the plan's usual one, or 32 on a GPU and 1 on a CPU.",
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="compute, compute-graph, transfers, overlapped, or all. "
            "Default: compute-graph on a GPU, compute on a CPU.",
        ),
    ] = None,
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=…",
            help="Shape of an input with other dynamic axes: x=1x3x48x320; for several batches "
            "x=1x3x48x320:8x3x48x320:32x3x48x320; repeatable.",
        ),
    ] = None,
    rewrite: RewriteForBench = None,
    weights: Weights = None,
    model_seed: Annotated[
        int, typer.Option("--model-seed", min=0, metavar="N", help="Seed of a definition's random weights.")
    ] = 0,
    output: OutputFolder = Path(),
    force: Annotated[bool, typer.Option("--force", help="Convert and measure anew, whatever is there.")] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Keep no converted plans, kernels or checks between runs.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 9 if a measurement is INVALID.")] = False,
    duration: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Measure at least so long.", rich_help_panel=_RULE)
    ] = 3.0,
    max_duration: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Measure at most so long.", rich_help_panel=_RULE)
    ] = 30.0,
    iterations: Annotated[
        int, typer.Option(min=1, metavar="N", help="Measure at least so many iterations.", rich_help_panel=_RULE)
    ] = 10,
    confidence: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Stop when the 95 % interval of the median is this share of it wide.",
            rich_help_panel=_RULE,
        ),
    ] = 0.01,
    warmup: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Warm up at least so long.", rich_help_panel=_RULE)
    ] = 0.2,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Feed these samples (.npy, .npz), not random ones.", rich_help_panel=_HOW),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the inputs.", rich_help_panel=_HOW)] = 0,
    input_dtype: Annotated[
        str,
        typer.Option(
            "--input-dtype",
            metavar="NAME",
            help="float32, or uint8: images as bytes, normalized in the graph.",
            rich_help_panel=_HOW,
        ),
    ] = "float32",
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="each: an engine for each batch, tuned for it; shared: one for all.",
            rich_help_panel=_HOW,
        ),
    ] = "each",
    buffers: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Input sets in rotation. Default: more than the caches hold.", rich_help_panel=_HOW
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="ONNX Runtime's threads on a CPU. Default: all.", rich_help_panel=_HOW),
    ] = None,
    affinity: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Processors to be pinned to: 0,1 or 0-3.", rich_help_panel=_HOW),
    ] = None,
    no_spin: Annotated[
        bool, typer.Option("--no-spin", help="Wait for the GPU without spinning.", rich_help_panel=_HOW)
    ] = False,
    no_graph: Annotated[
        bool,
        typer.Option("--no-graph", help="No CUDA graphs in transfers and overlapped.", rich_help_panel=_HOW),
    ] = False,
    aux_streams: Annotated[
        int | None,
        typer.Option(
            "--aux-streams", min=0, metavar="N", help="Most auxiliary streams of TensorRT.", rich_help_panel=_HOW
        ),
    ] = None,
    allow_host_code: Annotated[
        bool,
        typer.Option(
            "--allow-host-code",
            help="Let native code inside a version-compatible plan run: trusted plans only.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    batch_sweep: Annotated[
        str | None,
        typer.Option("--batch-sweep", metavar="auto", help="The same as --batch auto.", rich_help_panel=_LADDER),
    ] = None,
    sweep_limit: Annotated[
        int | None,
        typer.Option("--sweep-limit", min=1, metavar="N", help="Try no larger batch.", rich_help_panel=_LADDER),
    ] = None,
    sweep_within: Annotated[
        str | None,
        typer.Option(
            "--sweep-within",
            metavar="PERCENT",
            help="Stop once the smallest batch that failed is no more than this above the largest that ran. "
            "Default: 0, the exact batch.",
            rich_help_panel=_LADDER,
        ),
    ] = None,
    attempt_seconds: Annotated[
        float | None,
        typer.Option(
            "--attempt-seconds",
            metavar="SECONDS",
            help="The longest that one batch may take. Default: 60 on a CPU, 600 on a GPU, or longer with "
            "--max-duration.",
            rich_help_panel=_LADDER,
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="All measurements as a table.", rich_help_panel=_FILES)
    ] = None,
    export_times: Annotated[
        Path | None,
        typer.Option("--export-times", metavar="FILE", help="As trtexec writes them.", rich_help_panel=_FILES),
    ] = None,
    export_profile: Annotated[
        Path | None,
        typer.Option(
            "--export-profile", metavar="FILE", help="Time of each layer, as trtexec.", rich_help_panel=_FILES
        ),
    ] = None,
    export_layer_info: Annotated[
        Path | None,
        typer.Option("--export-layer-info", metavar="FILE", help="The layers, as trtexec.", rich_help_panel=_FILES),
    ] = None,
    plan: Plans = None,
    ranks_per_device: RanksPerDevice = 1,
    rendezvous: Rendezvous = None,
    no_alone: NoAlone = False,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Measure a plan, an ONNX file or a definition, and say what the numbers are worth.

    Every measurement is saved with all raw samples; an interrupted sweep continues where it was.
    """
    from trtkit.backends.registry import check_family
    from trtkit.cli.console import Screen, out
    from trtkit.pipeline.bench_exporting import BenchExports
    from trtkit.pipeline.bench_request import BenchmarkRequest
    from trtkit.pipeline.benchmark import bench as run_bench
    from trtkit.pipeline.scaling import is_scaling
    from trtkit.stages.export import SourceRequest

    check_family(family.lower())
    if model_seed and source.endswith((".onnx", ".plan")):
        raise UsageError(
            f"--model-seed goes with a model definition; {source} is a file that holds its own weights.",
            hint="Leave it out; --seed is that of the inputs.",
        )
    ladder, batches = batches_of(batch, batch_sweep)
    request = BenchmarkRequest(
        source=SourceRequest(source, weights, model_seed),
        family=family.lower(),
        devices=devices,
        precisions=words(precision),
        batches=batches,
        ladder=ladder,
        modes=words(mode),
        shapes=tuple(shapes or ()),
        profile=profile.lower(),
        settings={
            "input_dtype": input_dtype.lower(),
            "warmup_s": warmup,
            "duration_s": duration,
            "max_duration_s": max_duration,
            "min_iterations": iterations,
            "confidence": confidence,
            "buffers": buffers,
            "spin": not no_spin,
            "graph": not no_graph,
            "threads": threads,
            "affinity": processors_of(affinity),
            "aux_streams": aux_streams,
            "seed": seed,
        },
        data=data,
        sweep_limit=sweep_limit,
        sweep_within=share_of("--sweep-within", sweep_within),
        attempt_seconds=attempt_seconds,
        host_code=allow_host_code,
        output=output,
        cache=not no_cache,
        force=force,
        command=context.obj,
        rewrite=rewrite,
    )
    exports = BenchExports(csv, export_times, export_profile, export_layer_info)
    place = place_of(rendezvous)
    together = is_scaling(devices, place) or bool(plan)
    refuse_for_one(place, together=together, no_alone=no_alone, ranks_per_device=ranks_per_device)
    if together:
        return bench_together(
            request,
            place,
            plans=plan,
            ranks_per_device=ranks_per_device,
            alone=not no_alone,
            json=json,
            strict=strict,
            verbose=verbose,
            exports=exports,
        )
    with Screen(verbose=verbose) as screen:
        result = run_bench(request, screen, exports=exports)
    if json:
        from json import dumps

        print(dumps(result.to_json(), indent=2))
    else:
        from trtkit.cli.bench_tables import show

        show(result, out())
    if result.failures:
        return result.failures[0].error.exit_code
    return EXIT_VERDICT_NO if strict and not result.valid else 0
