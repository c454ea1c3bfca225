"""Which layers take the time, of the graph as it comes and of the rewritten one: what bounds a model next.

    python -m tests.perf.layer_profile OUT                                  # four models in FP16, batch 1024, on a GPU
    python -m tests.perf.layer_profile OUT --models googlenet --batch 1     # and where launches count
    python -m tests.perf.layer_profile OUT --device cpu --batch 8           # ONNX Runtime's nodes

By ``trtkit bench --export-profile``, whose numbers are those of the runtime's own profiler: it times layer after layer,
which adds to each of them, and small ones look larger than they are. OUT gets ``layer_profile.json`` with every layer
and ``layer_profile.md`` with the largest.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.perf.calls import call
from tests.perf.measure import run, trtkit
from trtkit.artifacts.files import write_bytes, write_json
from trtkit.backends.probing import probe

__all__ = ["main", "page", "profile_of"]

_NAME = "layer_profile"
_LARGEST = 10
_WIDE = 72


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", default="googlenet,alexnet,resnet50,squeezenet1_1", help="definitions, .onnx files")
    parser.add_argument("--family", help="default: tensorrt-rtx with a GPU, else onnxruntime")
    parser.add_argument("--device", help="default: cuda:0 where there is one, else cpu")
    parser.add_argument("--precision", help="default: fp16 with a GPU, else fp32")
    parser.add_argument("--batch", type=int, help="default: 1024 with a GPU, else 8")
    parser.add_argument("--rewrites", default="none,safe", help="what is compared; names are joined by +")
    asked = parser.parse_args(arguments)
    can = probe(asked.family or "tensorrt-rtx")
    device = asked.device or ("cuda:0" if can.gpus and can.cannot_run is None else "cpu")
    on_gpu = device != "cpu"
    gpu = can.gpus[0].name if on_gpu and can.gpus else None
    wanted = {
        "family": asked.family or ("tensorrt-rtx" if on_gpu else "onnxruntime"),
        "device": device,
        "precision": asked.precision or ("fp16" if on_gpu else "fp32"),
        "batch": asked.batch or (1024 if on_gpu else 8),
    }
    profiles: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for model in asked.models.split(","):
        for rewrite in asked.rewrites.split(","):
            print(f"{model}, rewrites {rewrite}", file=sys.stderr, flush=True)
            try:
                profiles.append({"model": Path(model).stem, "rewrite": rewrite, **profile_of(model, rewrite, wanted)})
            except RuntimeError as error:
                failed[f"{Path(model).stem}, rewrites {rewrite}"] = str(error)
                print(error, file=sys.stderr, flush=True)
            document = call(_NAME, {**wanted, "profiles": profiles, "failed": failed}, arguments, gpu)
            write_json(asked.out / f"{_NAME}.json", document)
            write_bytes(asked.out / f"{_NAME}.md", f"{page(document)}\n".encode())
    print(page(document))
    return 1 if failed else 0


def profile_of(model: str, rewrite: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Images/s without the profiler, and the layers with their median times in milliseconds.

    Raises:
        RuntimeError: bench failed; the message ends with what it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
        layers = Path(folder) / "profile.json"
        options = {
            "--family": wanted["family"],
            "--device": wanted["device"],
            "--precision": wanted["precision"],
            "--batch": str(wanted["batch"]),
            "--rewrite": rewrite.replace("+", ","),
            "--duration": "0.3",
            "--max-duration": "1",
            "--output": folder,
            "--export-profile": str(layers),
        }
        run(trtkit("bench", model, *(word for option in options.items() for word in option)))
        (result,) = (json.loads(file.read_text(encoding="utf-8")) for file in Path(folder).glob("*.bench.json"))
        found = json.loads(layers.read_text(encoding="utf-8"))
    return {
        "images_per_s": result["summary"]["throughput_images_per_s"],
        "compute_ms": result["summary"]["compute"]["p50_ms"],
        "rewrites": result["subject"]["rewrites"],
        "layers": [{"name": x["name"], "ms": x["medianMs"]} for x in found if "name" in x],
    }


def page(document: dict[str, Any]) -> str:
    """The largest layers of every profile."""
    found, about = document["found"], document["environment"]
    versions = ", ".join(f"{package} {version}" for package, version in about["packages"].items())
    parts = [
        "# Where the time goes",
        f"{about['gpu'] or about['cpu']}, {about['cores']} cores, Python {about['python']}; {versions}.\n"
        f"{found['family']}, {found['precision']}, batch {found['batch']}. Made by `{document['command']}`; every "
        f"layer is in `{_NAME}.json`.",
    ]
    for profile in found["profiles"]:
        layers = sorted(profile["layers"], key=lambda layer: -layer["ms"])
        total = sum(layer["ms"] for layer in layers)
        rest = layers[_LARGEST:]
        lines = [
            f"## {profile['model']}, rewrites {profile['rewrite']}",
            f"{profile['images_per_s']:,.0f} images/s, {profile['compute_ms']:.4g} ms; the layers one by one take "
            f"{total:.4g} ms.",
            "| layer | ms | share |\n|---|--:|--:|\n"
            + "\n".join(
                f"| {_short(layer['name'])} | {layer['ms']:.3g} | {layer['ms'] / total:.1%} |"
                for layer in layers[:_LARGEST]
            )
            + (
                f"\n| {len(rest)} more | {(left := sum(layer['ms'] for layer in rest)):.3g} | {left / total:.1%} |"
                if rest
                else ""
            ),
        ]
        parts.append("\n\n".join(lines))
    parts += [f"**Failed**: {step}: {why}" for step, why in found["failed"].items()]
    return "\n\n".join(parts)


def _short(name: str) -> str:
    name = name.replace("|", "/")
    return name if len(name) <= _WIDE else f"{name[: _WIDE // 2 - 1]}…{name[-_WIDE // 2 :]}"


if __name__ == "__main__":
    sys.exit(main())
