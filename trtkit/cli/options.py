"""Options that several commands share, spelled the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Agreement",
    "Json",
    "OutputFolder",
    "Rewrite",
    "RewriteTime",
    "Seed",
    "Source",
    "Tolerance",
    "Verbose",
    "Weights",
]

Source = Annotated[str, typer.Argument(help="A model definition's name (see trtkit models), or an .onnx file.")]
OutputFolder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the files.")]
Json = Annotated[
    bool, typer.Option("--json", help="The result as one JSON document on stdout; progress and log go to stderr.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the vendors' own log lines too.")]
Weights = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Weights for a definition: .safetensors, .npz or .onnx. Default: seeded random."),
]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the random weights.")]
Rewrite = Annotated[
    str | None,
    typer.Option(
        "--rewrite",
        metavar="WHICH",
        help="Rewrites of the graph for speed: none, safe (never slower where measured), auto (measured here), or "
        "names with commas between. Default: safe; with a calibration table those that it was made behind.",
    ),
]
RewriteForBench = Annotated[
    str | None,
    typer.Option(
        "--rewrite",
        metavar="WHICH",
        help="Rewrites of the graph: none, safe, auto or names, as in convert. Default: safe for a definition; a file "
        "is measured as it is.",
    ),
]
RewriteTime = Annotated[
    float,
    typer.Option("--rewrite-time", min=1.0, metavar="SECONDS", help="The longest that --rewrite auto may measure."),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        min=0.0,
        metavar="ERROR",
        help="Largest relative L2 error that passes. Default: 0.005 (fp32, tf32), 0.01 (fp16). INT8 and FP8 plans have "
        "no limit against the source; an executed one has 0.1 against its own Q/DQ graph.",
    ),
]
Agreement = Annotated[
    float | None,
    typer.Option(
        "--agreement",
        min=0.0,
        max=1.0,
        metavar="SHARE",
        help="Smallest share of equal values that passes, for integer outputs (classes, indices). Default: 0.99 (fp32, "
        "tf32), 0.95 (fp16); int8 and fp8: 0.9, as for --tolerance.",
    ),
]
