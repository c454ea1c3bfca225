"""FP8 on the GPU of this machine: calibrate, convert, execute; and what is said when INT8 is asked for.

    python -m tests.gpu.quantize_results OUT --weights squeezenet.safetensors --data PHOTOS

Writes OUT/quantize.json and OUT/quantize.md.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from trtkit.artifacts.files import write_bytes, write_json
from trtkit.cli.main import main

SYNTHETIC = ("alexnet", "googlenet")


def trtkit(*command: str) -> dict[str, Any]:
    caught = io.StringIO()
    with redirect_stdout(caught):
        code = main([*command, "--json"])
    return {"exit_code": code, **json.loads(caught.getvalue())}


def convert(model: str, precision: str, folder: Path, *how: str) -> dict[str, Any]:
    command = ["convert", model, "-p", precision, "-o", str(folder), "--batch", "1:16:64", *how]
    result = trtkit(*command)
    result["model"], result["asked"] = model, precision
    manifest = result.get("manifest")
    if manifest is not None:
        result["plan"] = manifest["file"]
        for bulky in ("layers", "command"):
            manifest.pop(bulky)
        manifest["proof"].pop("nodes")
    return result


def worst(report: dict[str, Any], against: str) -> str:
    checks = [check for check in report["checks"] if check["against"] == against]
    scores = [check for check in checks if check["taken"] == "before_softmax"] or checks
    found = [check["difference"] for check in scores]
    if not found:
        return "–"
    worst_one = max(found, key=lambda difference: difference["relative_l2"] or 0.0)
    return f"{worst_one['relative_l2']:.1e} ({worst_one['sqnr_db']:.1f} dB)"


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| model | asked | validation | against its Q/DQ in ONNX Runtime | against FP32 | inside |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        if "error" in result:
            lines.append(
                f"| {result['model']} | {result['asked']} | exit {result['exit_code']}: "
                f"{result['error']['message']} | | | |"
            )
            continue
        report = result["manifest"]["validation"]
        lines.append(
            f"| {result['model']} | {result['asked']} | {report['status']} | {worst(report, 'qdq')} "
            f"| {worst(report, 'source')} | {result['manifest']['proof']['sentence']} |"
        )
    first = next((r["manifest"] for r in results if "manifest" in r), None)
    head = ["# FP8 on a GPU", ""]
    if first is not None:
        head += [f"{first['device']}, driver {first['driver']}; {first['family']} {first['version']}.", ""]
    head += [
        "Made by `python -m tests.gpu.quantize_results OUT --weights W --data PHOTOS`. SqueezeNet: ImageNet weights,",
        "calibrated on photographs; the others: seeded weights, synthetic samples. Relative L2 error (SQNR) of",
        "the worst batch.",
        "",
    ]
    return "\n".join([*head, *lines, ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    chosen = parser.parse_args()
    photos = ("--weights", str(chosen.weights), "--data", str(chosen.data), "--preprocess", "caffe")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        found = [convert("squeezenet1_1", "fp8", folder, *photos)]
        found += [convert(model, "fp8", folder, "--synthetic", "32") for model in SYNTHETIC]
        found += [convert("squeezenet1_1", "int8", folder, *photos)]
    write_json(chosen.out / "quantize.json", found)
    write_bytes(chosen.out / "quantize.md", table(found).encode())
    print(table(found))
