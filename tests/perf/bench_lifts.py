"""What lifts a number of bench, and what does not: one thing changed at a time, each beside the default in one run.

    python -m tests.perf.bench_lifts OUT                                              # GoogLeNet FP16 on a GPU
    python -m tests.perf.bench_lifts OUT --models alexnet --only base,uint8 --append
    python -m tests.perf.bench_lifts OUT --device cpu --batches 1,4                   # what applies to a CPU

OUT gets ``bench_lifts.json`` and ``.md`` after every change that was measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.perf.calls import call, earlier, write_calls
from tests.perf.measure import Row
from trtkit.artifacts.device import Device, parse_devices
from trtkit.backends.probing import probe
from trtkit.errors import TrtkitError
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.benchmark import bench
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.request import ConvertRequest
from trtkit.stages.export import SourceRequest

__all__ = ["CHANGES", "Change", "main", "rows_of"]

_NAME, _TITLE = "bench_lifts", "What lifts the numbers, and what does not"

Found = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One thing that is done otherwise than by default.

    Attributes:
        words: for the table.
        request: fields of :class:`~trtkit.pipeline.bench_request.BenchmarkRequest` that differ.
        settings: fields of :class:`~trtkit.artifacts.bench_settings.BenchSettings` that differ.
        against: name of what it is compared with.
        kinds: devices on which it means something.
        half_inputs: the plan is converted with float16 inputs and outputs first.
    """

    words: str
    request: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    against: str = "base"
    kinds: tuple[str, ...] = ("cuda",)
    half_inputs: bool = False


_ANY = ("cuda", "cpu")
_OVERLAPPED = {"modes": ("overlapped",)}
CHANGES: dict[str, Change] = {
    "base": Change("by default", kinds=_ANY),
    "again": Change("the same again: how far two runs differ", kinds=_ANY),
    "no-rewrites": Change("the graph as it comes, without rewrites", {"rewrite": "none"}, kinds=_ANY),
    "launched": Change("kernels started one by one, no CUDA graph", {"modes": ("compute",)}),
    "engine-graphs": Change(
        "CUDA graphs that the engine captures itself (whole graph)", {"modes": ("compute",)}, {"engine_graphs": True}
    ),
    "aux-streams": Change("no auxiliary streams", settings={"aux_streams": 0}),
    "one-buffer": Change("one set of buffers instead of several in rotation", settings={"buffers": 1}, kinds=_ANY),
    "no-spin": Change("waiting for the device without spinning", settings={"spin": False}),
    "shared": Change("one engine for all batches", {"profile": "shared"}),
    "no-cache": Change("no runtime cache", {"cache": False}),
    "fp16-io": Change("float16 images", half_inputs=True),
    "uint8": Change("images as bytes, channels last, normalized in the graph", settings={"input_dtype": "uint8"}),
    "overlapped": Change("with copies, overlapped", _OVERLAPPED),
    "overlapped-uint8": Change(
        "with copies, overlapped, images as bytes", _OVERLAPPED, {"input_dtype": "uint8"}, against="overlapped"
    ),
}
"""Each by its name for ``--only``, in the order in which they are measured."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", default="googlenet", help="definitions and .onnx files")
    parser.add_argument("--family", help="default: tensorrt-rtx with a GPU, else onnxruntime")
    parser.add_argument("--device", help="default: cuda:0 where there is one, else cpu")
    parser.add_argument("--precision", help="default: fp16 with a GPU, else fp32")
    parser.add_argument("--batches", help="default: 1,1024 with a GPU, else 1,8")
    parser.add_argument("--only", default=",".join(CHANGES), help=f"some of {', '.join(CHANGES)}")
    parser.add_argument("--duration", type=float, default=1.0, help="of each measurement, in seconds")
    parser.add_argument("--seconds-budget", type=float, help="begin nothing more after so many seconds, and say so")
    parser.add_argument("--append", action="store_true", help="keep rows of the file in OUT that are not measured anew")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.only.split(",") if name not in CHANGES]
    if unknown:
        parser.error(f"no such change: {', '.join(unknown)}; there are {', '.join(CHANGES)}")
    before = earlier(asked.out, _NAME) if asked.append else []
    text = ""

    def keep(found: Found) -> None:
        nonlocal text
        now = call(_NAME, found, arguments, found["device_name"])
        text = write_calls(asked.out, _NAME, _TITLE, [*before, now], rows_of)

    found = measure(asked, keep)
    keep(found)
    print(text)
    return 1 if found["failed"] else 0


def measure(asked: argparse.Namespace, keep: Callable[[Found], None] = lambda found: None) -> Found:
    """Every change for every model and batch; what fails is written down, and the next one is made."""
    can = probe(asked.family or "tensorrt-rtx")
    (device,) = parse_devices(asked.device or ("cuda:0" if can.gpus else "cpu"), gpus=len(can.gpus))
    family = asked.family or ("tensorrt-rtx" if device.kind == "cuda" else "onnxruntime")
    gpu = next((gpu.name for gpu in can.gpus if gpu.index == device.index), None) if device.kind == "cuda" else None
    ends = time.monotonic() + (asked.seconds_budget or float("inf"))
    found: Found = {"family": family, "device": str(device), "device_name": gpu, "cases": [], "failed": {}}
    with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
        for model in asked.models.split(","):
            for name in (name for name in asked.only.split(",") if device.kind in CHANGES[name].kinds):
                step = f"{name}, {Path(model).stem}"
                print(step, file=sys.stderr, flush=True)
                if time.monotonic() > ends:
                    found["failed"][step] = "left out, for the time was up"
                    continue
                try:
                    found["cases"] += _cases(asked, model, name, device, family, Path(folder))
                except TrtkitError as error:
                    found["failed"][step] = error.message
                    print(f"  {error.message}", file=sys.stderr, flush=True)
                keep(found)
    return found


def _cases(
    asked: argparse.Namespace, model: str, name: str, device: Device, family: str, folder: Path
) -> list[dict[str, Any]]:
    """What one change gives at each batch."""
    change, on_gpu = CHANGES[name], device.kind == "cuda"
    precision = asked.precision or ("fp16" if on_gpu else "fp32")
    batches = [int(batch) for batch in (asked.batches or ("1,1024" if on_gpu else "1,8")).split(",")]
    request = BenchmarkRequest(
        SourceRequest(model),
        family=family,
        devices=str(device),
        precisions=(precision,),
        batches=tuple(batches),
        settings={"duration_s": asked.duration, "max_duration_s": 4 * asked.duration, **change.settings},
        output=folder / name / Path(model).stem,
        **{"rewrite": "safe", **change.request},
    )
    sources = [(request, batches)]
    if change.half_inputs:
        sources = [(_with_half_inputs(request, precision, batch, folder / name), [batch]) for batch in batches]
    cases = []
    for this, wanted in sources:
        result = bench(this)
        for failure in result.failures:
            raise failure.error
        for run in (run.result for run in result.runs if run.result.settings.batch in wanted):
            figures = run.timeline.summary()
            cases.append(
                {
                    "model": Path(model).stem,
                    "precision": precision,
                    "change": name,
                    "batch": run.settings.batch,
                    "mode": run.settings.mode,
                    "images_per_s": run.throughput_images_per_s,
                    "compute_ms": (figures["compute"] or {}).get("p50_ms"),
                    "enqueue_ms": (figures["enqueue"] or {}).get("p50_ms"),
                    "first_ms": run.conditions.warmup.get("first_ms"),
                    "reasons": [reason.id for reason in run.verdict.reasons],
                    "notes": [note.id for note in run.verdict.notes],
                    "facts": run.conditions.facts,
                    "rewrites": list(run.subject.rewrites),
                }
            )
    return cases


def _with_half_inputs(request: BenchmarkRequest, precision: str, batch: int, folder: Path) -> BenchmarkRequest:
    """The same for a plan whose images are float16, tuned for one batch as bench's own."""
    made = convert(
        ConvertRequest(
            request.source,
            precision=precision,
            family=request.family,
            batch=str(batch),
            fp16_io=True,
            output=folder / str(batch),
            validate=False,
        )
    )
    return replace(request, source=SourceRequest(str(made.plan)), precisions=(), batches=(batch,), rewrite=None)


def rows_of(found: Found) -> list[Row]:
    """The table: each change's speed over that of what it is compared with."""
    cases = {(case["model"], case["batch"], case["change"]): case for case in found["cases"]}
    rows = []
    for (model, batch, name), case in cases.items():
        change = CHANGES[name]
        other = cases.get((model, batch, change.against)) if name != change.against else None
        compiled = [f"first execution {case['first_ms']:.0f} ms"] if case["first_ms"] else []
        notes = [f"{case['compute_ms']:.4g} ms", *compiled, *(f"**INVALID**: {reason}" for reason in case["reasons"])]
        rows.append(
            Row(
                f"{model} {case['precision']}, {found['family']}, batch {batch}, {case['mode']}: {change.words}",
                case["images_per_s"],
                "images/s",
                None,
                other["images_per_s"] if other else None,
                CHANGES[change.against].words if other else "",
                how="ratio" if other else "value",
                note="; ".join([*notes, *case["notes"]]),
            )
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
