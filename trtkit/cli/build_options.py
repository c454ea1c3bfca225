"""Options of ``convert`` that go to the engine builder, and how they become build options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trtkit.errors import UsageError
from trtkit.units import parse_bytes

__all__ = [
    "Batch",
    "ComputeCapability",
    "HardwareCompatibility",
    "OptimizationLevel",
    "Refit",
    "RuntimeCache",
    "Shapes",
    "SparseWeights",
    "StripWeights",
    "TimingCache",
    "VersionCompatible",
    "Workspace",
    "targets_of",
    "workspace_of",
]

_BUILD = "Build options (refused where the family cannot honour them)"
_SHAPES = "Shapes of dynamic inputs"

Batch = Annotated[
    str | None,
    typer.Option(
        "--batch",
        metavar="MIN:OPT:MAX",
        help="Batch sizes of a dynamic batch axis. Default: 1:32:128.",
        rich_help_panel=_SHAPES,
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shapes",
        metavar="NAME=…",
        help="MIN:OPT:MAX shapes of any dynamic input: x=1x3x48x32:6x3x48x320:16x3x48x1024; repeatable.",
        rich_help_panel=_SHAPES,
    ),
]
ComputeCapability = Annotated[
    str | None,
    typer.Option(
        "--compute-capability",
        metavar="LIST",
        help="GPUs to build for (tensorrt-rtx): such as 8.6,8.9, or current, the GPU here. "
        "Default: current, or 8.0,8.6,8.9,12.0 without a GPU.",
        rich_help_panel=_BUILD,
    ),
]
Workspace = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        metavar="SIZE",
        help="Limit of the builder's scratch memory: 512MiB, 4G.",
        rich_help_panel=_BUILD,
    ),
]
OptimizationLevel = Annotated[
    int | None,
    typer.Option(
        "--optimization-level",
        min=0,
        max=5,
        metavar="0-5",
        help="0 (fast build) … 5 (fast engine). Default: the builder's.",
        rich_help_panel=_BUILD,
    ),
]
TimingCache = Annotated[
    Path | None,
    typer.Option(
        "--timing-cache", metavar="FILE", help="TensorRT's kernel timings, read and added to.", rich_help_panel=_BUILD
    ),
]
RuntimeCache = Annotated[
    Path | None,
    typer.Option(
        "--runtime-cache",
        metavar="FILE",
        help="TensorRT-RTX's just-in-time kernels, read and added to when the plan is executed.",
        rich_help_panel=_BUILD,
    ),
]
VersionCompatible = Annotated[
    bool,
    typer.Option(
        "--version-compatible", help="The plan also loads in later TensorRT versions.", rich_help_panel=_BUILD
    ),
]
HardwareCompatibility = Annotated[
    str | None,
    typer.Option(
        "--hardware-compatibility",
        metavar="LEVEL",
        help="The plan also runs on other GPUs (tensorrt): ampere_plus or same_compute_capability.",
        rich_help_panel=_BUILD,
    ),
]
StripWeights = Annotated[
    bool, typer.Option("--strip-weights", help="Leave refittable weights out.", rich_help_panel=_BUILD)
]
Refit = Annotated[
    bool, typer.Option("--refit", help="Weights can be replaced after the build.", rich_help_panel=_BUILD)
]
SparseWeights = Annotated[
    bool, typer.Option("--sparse-weights", help="Use 2:4 sparsity where the weights have it.", rich_help_panel=_BUILD)
]


def targets_of(text: str | None) -> tuple[str, ...]:
    """``8.6,8.9`` → ``("8.6", "8.9")``; empty without the option.

    Raises:
        UsageError: the option names nothing.
    """
    if text is None:
        return ()
    targets = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not targets:
        raise UsageError("--compute-capability names no target.", hint="Write for example 8.6,8.9, or current.")
    return targets


def workspace_of(text: str | None) -> int | None:
    """``512MiB`` → bytes; ``None`` without the option.

    Raises:
        UsageError: it is no size.
    """
    return None if text is None else parse_bytes(text)
