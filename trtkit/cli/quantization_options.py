"""Options of ``calibrate`` that ``convert`` has too: the data, what is quantized and how, and the search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtkit.errors import UsageError

if TYPE_CHECKING:
    from calibration.source import DataSpec

__all__ = [
    "DATA_PANEL",
    "QUANTIZE_PANEL",
    "Data",
    "DataRoot",
    "Exclude",
    "HighPrecision",
    "Holdout",
    "Limit",
    "Method",
    "Preprocess",
    "Recipe",
    "Resume",
    "SearchSamples",
    "SearchSeconds",
    "Synthetic",
    "check_high_precision",
    "data_spec",
    "refuse_alone",
]

DATA_PANEL = "Calibration data (int8, fp8)"
QUANTIZE_PANEL = "Quantization (int8, fp8)"

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="A folder of images, a list file, .npy, .npz, or module:function.",
        rich_help_panel=DATA_PANEL,
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root", metavar="DIR", help="Folder that the names in a list file stand in.", rich_help_panel=DATA_PANEL
    ),
]
Synthetic = Annotated[
    int,
    typer.Option(
        "--synthetic", min=0, metavar="N", help="N made-up samples instead; labelled so.", rich_help_panel=DATA_PANEL
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="Use N samples at most.", rich_help_panel=DATA_PANEL),
]
Holdout = Annotated[
    float,
    typer.Option(
        "--holdout",
        min=0.0,
        metavar="SHARE|N",
        help="Share (below 1) or number of samples to compare on; calibration does not see them.",
        rich_help_panel=DATA_PANEL,
    ),
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        metavar="NAME",
        help="imagenet, caffe, none or FILE.json. Default: the definition's own.",
        rich_help_panel=DATA_PANEL,
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue an interrupted calibration.", rich_help_panel=DATA_PANEL)
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME",
        help="minmax, percentile[:99.99], entropy, mse, search, several with commas, or all.",
        rich_help_panel=QUANTIZE_PANEL,
    ),
]
HighPrecision = Annotated[
    str,
    typer.Option(
        "--high-precision",
        metavar="NAME",
        help="Numbers of what stays float: fp32 or fp16.",
        rich_help_panel=QUANTIZE_PANEL,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="NODE|OP",
        help="Nodes (name or pattern) or operators that stay float; repeatable.",
        rich_help_panel=QUANTIZE_PANEL,
    ),
]
Recipe = Annotated[
    Path | None,
    typer.Option("--recipe", metavar="FILE", help="The same as JSON.", rich_help_panel=QUANTIZE_PANEL),
]
SearchSamples = Annotated[
    int,
    typer.Option(
        "--search-samples",
        min=1,
        metavar="N",
        help="Calibration samples that the search looks at.",
        rich_help_panel=QUANTIZE_PANEL,
    ),
]
SearchSeconds = Annotated[
    float,
    typer.Option(
        "--search-seconds",
        min=1.0,
        metavar="SECONDS",
        help="Time limit of the search.",
        rich_help_panel=QUANTIZE_PANEL,
    ),
]


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


def check_high_precision(name: str) -> None:
    """Hold ``--high-precision`` against what there is.

    Raises:
        UsageError: it is neither fp32 nor fp16.
    """
    if name not in ("fp32", "fp16"):
        raise UsageError(f"--high-precision is fp32 or fp16, not {name!r}.", hint="Choose one of the two.")


def refuse_alone(context: typer.Context, names: Sequence[str], company: str) -> None:
    """Refuse options of this command line that nothing would honour.

    Args:
        context: of the command.
        names: the parameters that need company.
        company: what they go with, and what is not there: ``--data or --synthetic``.

    Raises:
        UsageError: one of them was given.
    """
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} goes with {company}.", hint=f"Add one of these, or leave {flag} out.")
