"""INT8 and FP8 plans of all six definitions: what the layers are proven to be, and the error of the Q/DQ model.

    python -m tests.perf.quantized_definitions --out DIR

Weights are seeded and samples synthetic, so the errors compare a float and a quantized model on made-up data; they say
nothing about accuracy on a task. Writes DIR/quantized_definitions.md and .json.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import model_defs
from trtkit import environment
from trtkit.artifacts.files import write_bytes, write_json
from trtkit.cli.main import main
from trtkit.units import bytes_text

SAMPLES = 24


def convert(model: str, precision: str, folder: Path) -> dict[str, Any]:
    caught = io.StringIO()
    with redirect_stdout(caught):
        code = main(["convert", model, "-p", precision, "--synthetic", str(SAMPLES), "-o", str(folder), "--json"])
    result = json.loads(caught.getvalue())
    if "error" in result:
        return {"model": model, "precision": precision, "exit_code": code, "error": result["error"]["message"]}
    manifest = result["manifest"]
    report = json.loads((folder / f"{model}.calibration-report.json").read_text())
    stayed = [
        {key: node[key] for key in ("op", "name", "dtype", "reason")}
        for node in manifest["proof"]["nodes"]
        if node["dtype"] != precision
    ]
    return {
        "model": model,
        "precision": precision,
        "exit_code": code,
        "family": f"{manifest['family']} {manifest['version']}",
        "targets": manifest["targets"],
        "plan_bytes": manifest["bytes"],
        "counts": manifest["proof"]["counts"],
        "sentence": manifest["proof"]["sentence"],
        "stayed": stayed,
        "accuracy": report["methods"][0]["accuracy"],
        "runs_in_onnxruntime": manifest["validation"]["where"],
    }


def table(records: list[dict[str, Any]]) -> str:
    lines = [
        "# INT8 and FP8 plans of the six definitions, built without a GPU",
        "",
        "Made by `python -m tests.perf.quantized_definitions --out DIR`. SQNR is that of the Q/DQ model's scores in",
        f"ONNX Runtime against FP32, on synthetic samples that calibration did not see ({SAMPLES} in all):",
        "it shows that the quantized graph computes the same function, not how good it is at a task.",
        "",
        "| model | asked | targets | plan | proven | SQNR dB | stayed float, and why |",
        "|---|---|---|---|---|---|---|",
    ]
    for record in records:
        if "error" in record:
            lines.append(f"| {record['model']} | {record['precision']} | | | {record['error']} | | |")
            continue
        sqnr = (record["accuracy"] or {}).get("sqnr_db")
        why = "; ".join(f"{node['op']} `{node['name']}`: {node['reason']}" for node in record["stayed"]) or "none"
        lines.append(
            f"| {record['model']} | {record['precision']} | {', '.join(record['targets'])} "
            f"| {bytes_text(record['plan_bytes'])} | {record['sentence']} "
            f"| {'–' if sqnr is None else format(sqnr, '.1f')} | {why} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = [convert(name, kind, Path(scratch)) for name in model_defs.names() for kind in ("int8", "fp8")]
    record = {"environment": environment.describe().to_json(), "plans": found}
    write_json(chosen.out / "quantized_definitions.json", record)
    write_bytes(chosen.out / "quantized_definitions.md", table(found).encode())
    print(table(found))
