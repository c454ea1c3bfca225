"""Time and memory of convert, beside the bare builder: ``python -m tests.perf.convert --out DIR``. Needs no GPU.

Everything is compared within one run, in alternation. "Bare" is a process that does nothing but parse the same ONNX and
build it for the same targets and profile: with Polygraphy for the time, with the vendor's own API for the memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from tests.perf.measure import MIB, Row, alternate, python, run, trtkit, write

__all__ = ["main", "rows_of"]

_SETUP = """
import json, sys
onnx, plan, asked = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
targets = [tuple(int(part) for part in target.split(".")) for target in asked["targets"]]
shapes = {name: (r["minimum"], r["optimum"], r["maximum"]) for name, r in asked["ranges"].items()}
"""

POLYGRAPHY = (
    _SETUP
    + """
import os
os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1"
from polygraphy.backend.trt import Profile, engine_bytes_from_network, network_from_onnx_path
from polygraphy.backend.tensorrt_rtx import CreateConfigRTX
profile = Profile()
for name, (low, best, high) in shapes.items():
    profile.add(name, low, best, high)
made = network_from_onnx_path(onnx, strongly_typed=True)
config = CreateConfigRTX(compute_capabilities=targets, profiles=[profile])(*made[:2])
with open(plan, "wb") as file:
    file.write(memoryview(engine_bytes_from_network(made, config)))
"""
)

RAW = (
    _SETUP
    + """
import tensorrt_rtx as trt
logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, logger)
assert parser.parse_from_file(onnx)
config = builder.create_builder_config()
profile = builder.create_optimization_profile()
for name, (low, best, high) in shapes.items():
    profile.set_shape(name, low, best, high)
config.add_optimization_profile(profile)
config.num_compute_capabilities = len(targets)
for index, (major, minor) in enumerate(targets):
    config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{major}{minor}"), index)
with open(plan, "wb") as file:
    file.write(memoryview(builder.build_serialized_network(network, config)))
"""
)

_IMPORT = "import time; t = time.perf_counter(); import trtkit; print(time.perf_counter() - t)"


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def _asked(folder: Path) -> str:
    """Targets and profile of the plan in ``folder``, for the bare builders."""
    manifest = json.loads(_only(folder, "*.plan.json").read_text(encoding="utf-8"))
    return json.dumps({"targets": manifest["targets"], "ranges": manifest["options"]["profile"]["ranges"]})


def measure(model: str, large: str, rounds: int, starts: int, scratch: Path) -> dict[str, Any]:
    """All figures, in seconds and bytes; ``model`` is timed in rounds, ``large`` is converted once for its memory."""
    folder = scratch / model
    convert = trtkit("convert", model, "--family", "tensorrt-rtx", "--force", "-o", str(folder))
    first = run(convert, watch=True)
    onnx, asked, plan = str(_only(folder, "*.fp32.onnx")), _asked(folder), str(scratch / "bare.plan")
    raw = run(python("-c", RAW, onnx, plan, asked), watch=True)
    ours, bare = alternate(
        rounds,
        lambda: run(convert).seconds,
        lambda: run(python("-c", POLYGRAPHY, onnx, plan, asked)).seconds,
    )
    again = trtkit("convert", model, "--family", "tensorrt-rtx", "-o", str(folder))
    helped, idle, imported, reused = alternate(
        starts,
        lambda: run(trtkit("--help")).seconds,
        lambda: run(python("-c", "pass")).seconds,
        lambda: float(run(python("-c", _IMPORT)).stdout),
        lambda: run(again).seconds,
    )
    big_folder = scratch / "large"
    big = trtkit("convert", large, "--family", "tensorrt-rtx", "--force", "-o", str(big_folder))
    big_memory = run(big, watch=True)
    big_onnx, big_asked = str(_only(big_folder, "*.fp32.onnx")), _asked(big_folder)
    big_raw = run(python("-c", RAW, big_onnx, plan, big_asked), watch=True)
    (big_seconds,) = alternate(min(rounds, 3), lambda: run(big).seconds)
    return {
        "model": model,
        "large": large,
        "help_s": helped,
        "idle_s": idle,
        "import_s": imported,
        "convert_s": ours,
        "polygraphy_s": bare,
        "convert_largest_bytes": first.largest_bytes,
        "raw_largest_bytes": raw.largest_bytes,
        "reuse_s": reused,
        "large_s": big_seconds,
        "large_summed_bytes": big_memory.summed_bytes,
        "large_largest_bytes": big_memory.largest_bytes,
        "large_raw_largest_bytes": big_raw.largest_bytes,
    }


def rows_of(found: dict[str, Any]) -> list[Row]:
    """The table of the convert issue, section "Speed and size"."""
    model, large = found["model"], found["large"]
    ours, bare = found["convert_s"], found["polygraphy_s"]
    mib = {name: value / MIB for name, value in found.items() if name.endswith("_bytes")}
    return [
        Row(
            "`trtkit --help`",
            median(found["help_s"]),
            "s",
            0.35,
            median(found["idle_s"]),
            "(empty Python)",
            note=f"median of {len(found['help_s'])}",
            samples=found["help_s"],
        ),
        Row(
            "`import trtkit`",
            median(found["import_s"]),
            "s",
            0.1,
            note=f"median of {len(found['import_s'])}, inside the process",
            samples=found["import_s"],
        ),
        Row(
            f"`trtkit convert {model}`, wall",
            median(ours),
            "s",
            6.0,
            median(bare),
            "(bare Polygraphy build)",
            note=f"median of {len(ours)}, {min(ours):.2f}–{max(ours):.2f} s",
            samples=ours,
        ),
        Row(
            f"`convert {model}`, overhead over the bare build",
            median(ours),
            "s",
            3.0,
            median(bare),
            "(bare Polygraphy build)",
            how="difference",
            note=f"{len(ours)} rounds in alternation",
            samples=bare,
        ),
        Row(
            f"`convert {model}`, peak of its largest process",
            mib["convert_largest_bytes"],
            "MiB",
            1.5,
            mib["raw_largest_bytes"],
            "(raw parser + builder)",
            how="ratio",
        ),
        Row(
            f"`convert {model}` again: plan reused",
            median(found["reuse_s"]),
            "s",
            beside=median(ours),
            beside_name="(building)",
            how="ratio",
            note="ratio only reported",
            samples=found["reuse_s"],
        ),
        Row(
            f"`trtkit convert {large}`, wall",
            median(found["large_s"]),
            "s",
            15.0,
            note=f"median of {len(found['large_s'])}",
            samples=found["large_s"],
        ),
        Row(
            f"`convert {large}`, all processes added up, at its peak",
            mib["large_summed_bytes"],
            "MiB",
            3072.0,
            note=f"largest process {mib['large_largest_bytes']:.0f} MiB; raw parser + builder alone "
            f"{mib['large_raw_largest_bytes']:.0f} MiB",
        ),
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.convert", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for convert.md and convert.json")
    parser.add_argument("--model", default="googlenet")
    parser.add_argument("--large", default="alexnet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=7, help="runs of the quick commands")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(args.model, args.large, args.rounds, args.starts, Path(scratch))
    rows = rows_of(found)
    print(write(args.out, "convert", "Convert on a CPU: time and memory", rows, {"found": found}))
    return 0 if all(row.met is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
