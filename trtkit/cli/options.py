"""Options that several commands share, spelled the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Json", "OutputFolder", "Seed", "Source", "Verbose", "Weights"]

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
