"""``trtkit inspect``: what a plan file is, from its first bytes, and what is inside, from its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtkit.cli.options import Json
from trtkit.units import bytes_text

if TYPE_CHECKING:
    from rich.table import Table

    from trtkit.artifacts.plan import PlanManifest
    from trtkit.stages.inspect import Inspection

__all__ = ["inspect"]


def inspect(
    plan: Annotated[Path, typer.Argument(help="A .plan or .engine file, or an ONNX artifact with its manifest.")],
    layers: Annotated[bool, typer.Option("--layers", help="List every fused layer, not only the sums.")] = False,
    json: Json = False,
) -> None:
    """Show a plan's family, version and wholeness (no GPU needed), its manifest, and the layers inside."""
    from trtkit.cli.console import facts, out
    from trtkit.stages.inspect import inspect as run_inspect

    found = run_inspect(plan)
    if json:
        from json import dumps

        print(dumps(found.to_json(), indent=2))
        return
    console = out()
    console.print(facts(f"{plan}  {bytes_text(found.bytes)}", _rows(found)))
    if found.layers is not None:
        console.print(_layers(found) if layers else _sums(found))
        if not layers:
            console.print("  every layer: --layers; everything as data: --json", style="dim")


def _rows(found: Inspection) -> list[tuple[str, str]]:
    rows = [("family", found.family_text)]
    if found.truncated is not None:
        surplus = found.header.surplus_bytes if found.header else None
        rows.append(("file", f"whole, with {bytes_text(surplus)} more than its header says" if surplus else "whole"))
    manifest = found.manifest
    if manifest is None:
        return [*rows, ("manifest", found.why_no_manifest or "none")]
    from trtkit.artifacts.profile import OptimizationProfile

    rows += [
        ("built", f"{manifest.created} by trtkit {manifest.environment['trtkit']}"),
        ("command", " ".join(manifest.command)),
        ("runs on", f"compute capability {', '.join(manifest.targets)}" if manifest.targets else "anywhere"),
        ("inputs", "; ".join(spec.text for spec in manifest.onnx.inputs)),
        ("outputs", "; ".join(spec.text for spec in manifest.onnx.outputs)),
        ("profile", OptimizationProfile.from_json(manifest.options["profile"]).text),
        ("flags", ", ".join(manifest.flags) or "none"),
        ("built from", f"{manifest.onnx.path.name}, opset {manifest.onnx.opset}, SHA-256 {manifest.onnx.sha256}"),
    ]
    rows += _rewrites(manifest)
    if manifest.proof is not None:
        rows.append(("precision", f"asked {manifest.precision}; {manifest.proof.sentence}"))
    rows.append(("validation", f"at the build: {manifest.validation.sentence}"))
    if found.later is not None:
        rows.append(("", f"later: {found.later.sentence}"))
    return rows


def _rewrites(manifest: PlanManifest) -> list[tuple[str, str]]:
    """Each rewrite that the graph has: where, what it gained, and how far the result is from the source's."""
    report = manifest.rewrites
    if report is None:
        return []
    lines = [*report.lines]
    left_out = [item.name for item in report.rewrites if not item.kept and item.sites]
    lines += [f"left out: {', '.join(left_out)} (--json says why)"] if left_out else []
    lines += [f"checked by {report.where}"] if report.kept and report.where else []
    return [("rewrites" if index == 0 else "", line) for index, line in enumerate(lines)]


def _sums(found: Inspection) -> Table:
    from rich.table import Table

    assert found.layers is not None
    table = Table(title="  layers by kind and data type", title_justify="left", box=None, header_style="cyan")
    for name in ("kind", "in", "out"):
        table.add_column(name)
    table.add_column("layers", justify="right")
    for (kind, into, outof), count in found.layer_sums():
        table.add_row(kind, into, outof, str(count))
    return table


def _layers(found: Inspection) -> Table:
    from rich.table import Table
    from rich.text import Text

    assert found.layers is not None
    table = Table(box=None, header_style="cyan")
    for name in ("layer", "kind", "in", "out", "ONNX nodes"):
        table.add_column(name, overflow="fold")
    for layer in found.layers.layers:
        table.add_row(
            Text(layer.name),
            Text(layer.kind),
            ", ".join(sorted({tensor.dtype or "?" for tensor in layer.inputs})),
            ", ".join(sorted({tensor.dtype or "?" for tensor in layer.outputs})),
            Text(", ".join(layer.onnx_nodes)),
        )
    return table
