"""``trtkit validate``: a plan against ONNX Runtime, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtkit.cli.options import Agreement, Json, Tolerance, Verbose
from trtkit.errors import EXIT_VERDICT_NO

if TYPE_CHECKING:
    from rich.table import Table

    from trtkit.artifacts.validation import ValidationReport

__all__ = ["validate"]


def validate(
    plan: Annotated[Path, typer.Argument(help="The plan; its manifest and its ONNX lie beside it.")],
    reference: Annotated[
        Path | None,
        typer.Option(metavar="FILE.onnx", help="The FP32 model, where the one in the manifest is not on this machine."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the inputs.")] = 0,
    tolerance: Tolerance = None,
    agreement: Agreement = None,
    runtime_cache: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TensorRT-RTX's just-in-time kernels, read and added to.")
    ] = None,
    allow_host_code: Annotated[
        bool,
        typer.Option(
            "--allow-host-code", help="Let native code inside a version-compatible plan run: trusted plans only."
        ),
    ] = False,
    require_validation: Annotated[
        bool, typer.Option("--require-validation", help="Exit 9 unless the plan itself was executed, and agreed.")
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Run a plan beside ONNX Runtime FP32 on seeded inputs, and write ….validation.json.

    Without a GPU that can run it, the ONNX that it was built from is compared
    instead, and the screen says so. Exit code 9: the results disagree, or
    --require-validation could not be met.
    """
    from trtkit.artifacts.plan import validation_path
    from trtkit.cli.console import Screen, out, show_objections
    from trtkit.pipeline import validate_plan

    with Screen(verbose=verbose) as screen:
        report = validate_plan(
            plan,
            screen,
            reference=reference,
            seed=seed,
            tolerance=tolerance,
            agreement=agreement,
            runtime_cache=runtime_cache,
            host_code=allow_host_code,
        )
    if json:
        from json import dumps

        print(dumps(report.to_json(), indent=2))
    else:
        console = out()
        console.print(_title(report))
        if report.checks:
            console.print(_table(report))
        if report.precision_observed:
            console.print(f"  observed {report.precision_observed}: {report.observed_because}")
        console.print(f"  written to {validation_path(plan)}")
    reason = report.objection(execution_required=require_validation)
    show_objections([reason] if reason else [])
    return EXIT_VERDICT_NO if reason else 0


def _title(report: ValidationReport) -> object:
    from rich.text import Text

    colours = {"passed": "green", "failed": "red", "not_executed": "yellow", "not_judged": "cyan"}
    doubtful = report.status == "not_judged" and report.not_finite
    return Text(report.sentence, f"bold {'yellow' if doubtful else colours[report.status]}")


def _table(report: ValidationReport) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="cyan")
    integers = any(check.judged_by == "agreement" for check in report.checks)
    for name in (
        "  case",
        "output",
        "max abs",
        "rel. L2",
        "cosine",
        "SQNR dB",
        "top-1",
        *(["equal"] if integers else []),
    ):
        table.add_column(name, justify="left" if name in ("  case", "output") else "right")
    for check in report.checks:
        found = check.difference
        output = check.output if check.taken == "output" else f"{check.output}, before Softmax"
        if any(other.against == "qdq" for other in report.checks):
            output += " against Q/DQ" if check.against == "qdq" else " against FP32"
        output = output if check.judged else f"{output} (not judged)"
        if check.judged_by == "agreement":  # distances between classes or indices mean nothing
            table.add_row(f"  {check.case}", output, "–", "–", "–", "–", "–", _number(found.equal_fraction, ".2%"))
            continue
        table.add_row(
            f"  {check.case}",
            output,
            _number(found.max_abs, ".1e"),
            _number(found.relative_l2, ".1e"),
            _number(found.cosine, ".7f"),
            "exact" if found.exact else _number(found.sqnr_db, ".1f"),
            _number(found.top1_agreement, ".3f"),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
