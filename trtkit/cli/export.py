"""``trtkit export``: a definition as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trtkit.cli.options import Json, Seed, Weights
from trtkit.errors import UsageError
from trtkit.units import bytes_text, count_text

__all__ = ["export"]


def export(
    model: Annotated[str, typer.Argument(help="A model definition's name (see trtkit models).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.onnx", help="The file. Default: MODEL.onnx here.")
    ] = None,
    weights: Weights = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Write a model definition as checked FP32 ONNX."""
    import model_defs
    from trtkit.cli.console import facts, out
    from trtkit.graph import io
    from trtkit.graph.cost import cost
    from trtkit.stages.export import SourceRequest, verify
    from trtkit.stages.export import export as run_export

    if model.endswith(".onnx"):
        raise UsageError(
            f"export writes model definitions, and {model} is an ONNX file already.",
            hint="Give it to trtkit convert as it is, or name a definition (see trtkit models).",
        )
    definition = model_defs.get(model)
    path = output or Path(f"{model}.onnx")
    if path.suffix != ".onnx":
        raise UsageError(f"-o/--output is a file that ends in .onnx, not {path}.", hint=f"Write -o {path}.onnx.")
    exported = run_export(SourceRequest(model, weights, seed))
    before = io.sha256_of(path) if path.is_file() else None
    written = io.save(exported.model, path, name=model, precision="fp32", transforms=exported.transforms)
    verify(path)
    size = path.stat().st_size
    counted = cost(exported.model)
    if json:
        from json import dumps

        extra = {"path": str(path), "bytes": size, "parameters": counted.parameters, "macs": counted.macs}
        print(dumps({**written.to_json(), **extra}, indent=2))
        return
    rows = [
        ("inputs", "; ".join(spec.text for spec in written.inputs)),
        ("outputs", "; ".join(spec.text for spec in written.outputs)),
        ("parameters", count_text(counted.parameters)),
        ("MACs", count_text(definition.macs if counted.macs is None else counted.macs) + " for one image"),
        ("weights", str(weights) if weights else f"seeded random (seed {seed})"),
        ("opset", str(written.opset)),
        ("SHA-256", written.sha256),
    ]
    if before not in (None, written.sha256):
        rows.append(("replaced", "another model of that file name"))
    out().print(facts(f"{path}  {bytes_text(size)}", rows))
