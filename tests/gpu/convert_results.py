"""Convert AlexNet and GoogLeNet in every precision on the GPU of this machine, and keep what the validations found.

    python -m tests.gpu.convert_results OUT

Writes OUT/convert.json (every validation report, proof and environment) and OUT/convert.md (the table for people).
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from itertools import product
from pathlib import Path
from typing import Any

from trtkit.artifacts.files import write_bytes, write_json
from trtkit.cli.main import main

MODELS = ("alexnet", "googlenet", "squeezenet1_1", "resnet50", "alexnet_torchvision", "googlenet_torchvision")
PRECISIONS = ("fp32", "tf32", "fp16")


def convert(model: str, precision: str, folder: Path) -> dict[str, Any]:
    caught = io.StringIO()
    command = ["convert", model, "-p", precision, "-o", str(folder), "--compute-capability", "current", "--json"]
    with redirect_stdout(caught):
        code = main(command)
    result: dict[str, Any] = {"exit_code": code, **json.loads(caught.getvalue())}
    manifest = result.get("manifest")
    if manifest is not None:
        result["plan"] = manifest["file"]
        manifest.pop("layers")  # hundreds of lines a plan; trtkit inspect shows them
        manifest["proof"].pop("nodes")
        manifest["command"] = ["trtkit", "convert", model, "-p", precision, "--compute-capability", "current"]
    return result


def row(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"| | | {result['error']['message']} | | | | |"
    manifest = result["manifest"]
    report = manifest["validation"]
    worst = max((c for c in report["checks"] if c["judged"]), key=lambda c: c["difference"]["relative_l2"] or 0)
    difference = worst["difference"]
    top1 = difference["top1_agreement"]
    return (
        f"| {manifest['source']['name']} | {manifest['precision']} | {report['status']} "
        f"| {report['needed_relative_l2']:.1e} ({worst['case']}) | {difference['max_abs']:.1e} "
        f"| {difference['sqnr_db']:.1f} | {top1:.3f} | {report['precision_observed'] or '–'} "
        f"| {manifest['proof']['sentence']} | {manifest['timings_s']['builder']:.2f} | {report['seconds']:.1f} |"
    )


def table(results: list[dict[str, Any]]) -> str:
    if not results:
        return "no plan was built\n"
    first = results[0]["manifest"]
    batches = dict.fromkeys(check["case"].split()[-1] for check in first["validation"]["checks"])
    columns = ("model", "asked", "validation", "relative L2", "max abs", "SQNR dB", "top-1", "observed", "inside")
    lines = [
        "# Convert on a GPU: every validation",
        "",
        f"{first['device']}, driver {first['driver']}, CUDA up to {first['cuda']};",
        f"{first['family']} {first['version']};",
        f"reference {first['validation']['reference']}; batches {', '.join(batches)}.",
        "",
        "Made by `python -m tests.gpu.convert_results OUT`; every number is in `convert.json`. The relative L2 error",
        "is that of the worst batch, of the scores before a final Softmax. Weights are seeded He-uniform: top-1 says",
        "little; the errors say all.",
        "",
        f"| {' | '.join(columns)} | build s | validation s |",
        f"|{'---|' * (len(columns) + 2)}",
    ]
    return "\n".join([*lines, *(row(result) for result in results), ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--jobs", type=int, default=1, help="conversions at a time; nothing is timed")
    chosen = parser.parse_args()
    wanted = list(product(chosen.models.split(","), PRECISIONS))
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(chosen.jobs) as pool:
        folders = [Path(scratch) / f"{model}.{precision}" for model, precision in wanted]
        found = list(pool.map(convert, *zip(*wanted, strict=True), folders))
    write_json(chosen.out / "convert.json", found)
    write_bytes(chosen.out / "convert.md", table([result for result in found if "manifest" in result]).encode())
    print(table([result for result in found if "manifest" in result]))
    for result in found:
        if "error" in result:
            print(result["error"]["message"])
