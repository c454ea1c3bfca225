"""What ``convert`` shows at its end: the facts about the plan, and why it exits with 9 if it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from trtkit.artifacts.profile import OptimizationProfile
from trtkit.cli.console import facts
from trtkit.units import bytes_text, seconds_text

if TYPE_CHECKING:
    from rich.table import Table

    from trtkit.pipeline import ConvertResult

__all__ = ["objections", "shown"]

_NAMED = 5
_NOISE = (
    "the inputs are seeded noise (standard deviation {std:g}), on which a model may say next to nothing: look at the "
    "measures with trtkit validate, and set the limit with --tolerance if they are small enough for you"
)


def objections(result: ConvertResult, *, require_validation: bool, require_share: float | None) -> list[str]:
    """Why the command ends with exit code 9, a clause each; empty if it does not.

    Args:
        result: the plan.
        require_validation: the plan itself must have been executed.
        require_share: smallest share of Conv, Gemm and MatMul that must be proven to run in the precision asked for.
    """
    manifest = result.manifest
    found = manifest.validation.objection(execution_required=require_validation)
    reasons = [] if found is None else [found]
    if require_share is not None:
        proof = manifest.proof
        share = proof.fraction(manifest.precision) if proof is not None else None
        wanted = f"--require-int8 {require_share:g} asks for {require_share:.0%} of Conv, Gemm and MatMul in "
        wanted += manifest.precision.upper()
        if proof is None:
            reasons.append(f"{wanted}, and the {manifest.family} family does not show its layers, so nothing is proven")
        elif share is None or share < require_share:
            reasons.append(f"{wanted}, and the layers show {0.0 if share is None else share:.1%}: {proof.sentence}")
    return reasons


def shown(result: ConvertResult) -> Table:
    """The result as two columns under the plan's name."""
    manifest = result.manifest
    done = "reused, nothing had changed" if result.reused else f"made in {seconds_text(result.seconds)}"
    title = Text.assemble((str(result.plan), "bold green"), f"  {bytes_text(manifest.bytes)}, {done}")
    report = manifest.validation
    ran = report.status == "not_judged" and not report.not_finite
    colour = "green" if report.status == "passed" else "red" if not report.onnx_passed else "cyan" if ran else "yellow"
    profile = manifest.options["profile"]
    rows: list[tuple[str, str | Text]] = [
        ("family", f"{manifest.family} {manifest.version} ({result.chosen_because})"),
        ("runs on", f"compute capability {', '.join(manifest.targets)}" if manifest.targets else "anywhere"),
        ("inputs", "; ".join(spec.text for spec in manifest.onnx.inputs)),
        ("outputs", "; ".join(spec.text for spec in manifest.onnx.outputs)),
    ]
    if profile:
        rows.append(("profile", OptimizationProfile.from_json(profile).text))
    done_to_it = manifest.rewrites
    if done_to_it is not None and (done_to_it.kept or done_to_it.asked != "safe"):
        rows += [("rewrites" if index == 0 else "", line) for index, line in enumerate(done_to_it.lines)]
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
