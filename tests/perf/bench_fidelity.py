"""Whether bench can be trusted: ``python -m tests.perf.bench_fidelity OUT``, on a GPU or, as far as it goes, a CPU.

1. Against a bare loop on the vendor's API, alternating in one process: the ratio and its 95 % interval.
2. ``overlapped`` against the smaller of ``compute-graph`` and what the bus carries, for float32 and uint8 images.
3. The same benchmark again and again, each in a process of its own: the spread of the medians.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from model_defs.definition import IMAGENET_RGB
from tests.perf.measure import Row, write
from trtkit import worker
from trtkit.artifacts.bench import BenchResult, Subject
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device, parse_devices, worker_env
from trtkit.backends import registry
from trtkit.backends.probing import probe
from trtkit.graph import io
from trtkit.graph.uint8_input import uint8_input
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.request import ConvertRequest
from trtkit.stages.bench import BenchRequest, bench, in_force
from trtkit.stages.export import SourceRequest, export
from trtkit.stats import median_interval

__all__ = ["main", "rows_of"]

_NEAR, _NEAR_ON_CPU = 0.01, 0.02
_OVERLAPPED = 0.95
_SPREAD = 0.01


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="googlenet")
    parser.add_argument("--family", help="default: tensorrt-rtx with a GPU, else onnxruntime")
    parser.add_argument("--device", help="default: cuda:0 where there is one, else cpu")
    parser.add_argument("--precision", help="default: fp16 with a GPU, else fp32")
    parser.add_argument("--batches", help="default: 1,64,1024 with a GPU, else 1,8")
    parser.add_argument("--numbers", default="1,2,3")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each round")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--duration", type=float, default=3.0, help="of each benchmark")
    asked = parser.parse_args(arguments)
    found = measure(asked)
    rows = rows_of(found)
    print(write(asked.out, "bench_fidelity", "Whether bench can be trusted", rows, {"found": found}))
    return 0


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, as numbers."""
    gpus = len(probe(asked.family or "tensorrt-rtx").gpus)
    (device,) = parse_devices(asked.device or ("cuda:0" if gpus else "cpu"), gpus=gpus)
    on_gpu = device.kind == "cuda"
    family = asked.family or ("tensorrt-rtx" if on_gpu else "onnxruntime")
    batches = [int(part) for part in (asked.batches or ("1,64,1024" if on_gpu else "1,8")).split(",")]
    numbers = set(asked.numbers.split(","))
    with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
        made = _Maker(asked, family, device, batches, Path(folder))
        found: dict[str, Any] = {
            "model": asked.model,
            "family": family,
            "version": made.version,
            "precision": made.precision,
            "device": str(device),
            "batches": batches,
            "pairs": {},
            "overlap": {},
            "repeats": {},
        }
        for batch in batches:
            if "1" in numbers:
                _tell(f"1: bare loop, batch {batch}")
                found["pairs"][str(batch)] = _pair(made, batch, asked)
            if "2" in numbers and on_gpu and batch > 1:
                for dtype in ("float32", "uint8"):
                    _tell(f"2: overlapped, batch {batch}, {dtype}")
                    found["overlap"][f"{batch} {dtype}"] = _overlap(made, batch, dtype, asked.duration)
        if "3" in numbers:
            batch = batches[len(batches) // 2]
            mode = "compute-graph" if on_gpu else "compute"
            results = []
            for index in range(asked.repeats):
                _tell(f"3: repeat {index + 1} of {asked.repeats}, batch {batch}")
                results.append(made.bench(made.settings(mode, batch, asked.duration)))
            found["repeats"] = {
                "batch": batch,
                "mode": mode,
                "medians_ms": [result.timeline.summary()["compute"]["p50_ms"] for result in results],
                "reasons": [[reason.id for reason in result.verdict.reasons] for result in results],
            }
            found["name"] = results[0].device.name
    return found


class _Maker:
    """Artifacts of one model, made when first needed."""

    def __init__(
        self, asked: argparse.Namespace, family: str, device: Device, batches: Sequence[int], folder: Path
    ) -> None:
        self._model, self._batches, self._folder = asked.model, batches, folder
        self.family, self.device = family, device
        self.precision = asked.precision or ("fp16" if device.kind == "cuda" else "fp32")
        self.version = probe(family).version or ""
        self._made: dict[str, Path] = {}

    def artifact(self, dtype: str) -> Path:
        if dtype not in self._made:
            source = self._folder / f"{self._model}.{dtype}.onnx"
            exported = export(SourceRequest(self._model), for_tensorrt=False)
            if dtype == "uint8":
                uint8_input(exported.model, IMAGENET_RGB.mean, IMAGENET_RGB.std)
            io.save(exported.model, source, name=self._model, precision="fp32")
            usual = self._batches[len(self._batches) // 2]
            self._made[dtype] = convert(
                ConvertRequest(
                    SourceRequest(str(source)),
                    precision=self.precision,
                    family=self.family,
                    batch=f"{min(self._batches)}:{usual}:{max(self._batches)}",
                    output=self._folder / dtype,
                    validate=False,
                )
            ).plan
        return self._made[dtype]

    def settings(self, mode: str, batch: int, duration_s: float, **more: Any) -> BenchSettings:
        chosen = BenchSettings(mode, batch, duration_s=duration_s, max_duration_s=10 * duration_s, **more)
        return in_force(chosen, self.device)

    def bench(self, settings: BenchSettings) -> BenchResult:
        file = self.artifact(settings.input_dtype)
        subject = Subject(self._model, "", file.name, "", self.family, self.version, self.precision)
        return bench(BenchRequest(subject, file, self.device, settings), lambda event: None)


def _pair(made: _Maker, batch: int, asked: argparse.Namespace) -> dict[str, Any]:
    on_gpu = made.device.kind == "cuda"
    settings = made.settings("compute-graph" if on_gpu else "compute", batch, asked.seconds, spinning=on_gpu)
    value: dict[str, Any] = worker.run(
        "tests.perf.bare_loop:alternate",
        {
            "family": made.family,
            "plan": str(made.artifact("float32")),
            "device": asdict(made.device),
            "settings": settings.to_json(),
            "rounds": asked.rounds,
            "seconds": asked.seconds,
        },
        what=f"the bare loop at batch {batch}",
        env={**registry.worker_env(made.family), **worker_env(made.device)},
    ).value
    return value


def _overlap(made: _Maker, batch: int, dtype: str, duration_s: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for mode in ("compute-graph", "transfers", "overlapped"):
        result = made.bench(made.settings(mode, batch, duration_s, input_dtype=dtype))
        found[mode] = result.throughput_images_per_s
        found.setdefault("reasons", {})[mode] = [reason.id for reason in result.verdict.reasons]
    facts = result.conditions.facts
    found["bus"] = facts["h2d_bytes_per_s"] / (facts["input_bytes"] / batch)
    found["h2d_bytes_per_s"], found["depth"] = facts["h2d_bytes_per_s"], facts["depth"]
    return found


def rows_of(found: dict[str, Any]) -> list[Row]:
    """The table."""
    near = _NEAR if found["device"] != "cpu" else _NEAR_ON_CPU
    what = f"{found['model']} {found['precision']}, {found['family']} on {found['device']}"
    rows = []
    for batch, pair in found["pairs"].items():
        # Two runs of one round are neighbours in time: their ratio is free of whatever drifts between rounds.
        ratios = [ours / bare for ours, bare in zip(pair["ours"], pair["bare"], strict=True)]
        low, high = median_interval(ratios) or (min(ratios), max(ratios))
        rows.append(
            Row(
                f"bench against a bare loop, {what}, batch {batch}: distance of the ratio's interval from 1",
                max(abs(low - 1), abs(high - 1)),
                reach=near,
                note=f"ratio {median(ratios):.4f} ({low:.4f} to {high:.4f}); "
                f"{median(pair['ours']):.1f} and {median(pair['bare']):.1f} images/s, {len(pair['ours'])} rounds",
            )
        )
    for name, case in found["overlap"].items():
        bound, by = min((case["compute-graph"], "compute-graph"), (case["bus"], "the bus"))
        rows.append(
            Row(
                f"overlapped, {what}, batch {name} images",
                case["overlapped"],
                "images/s",
                _OVERLAPPED,
                bound,
                by,
                how="ratio",
                relation="≥",
                note=f"compute-graph {case['compute-graph']:.0f}, bus {case['bus']:.0f} "
                f"({case['h2d_bytes_per_s'] / 1e9:.1f} GB/s), one after the other {case['transfers']:.0f}, "
                f"{case['depth']} in flight",
            )
        )
    if found["repeats"]:
        repeats = found["repeats"]
        values = repeats["medians_ms"]
        rows.append(
            Row(
                f"spread of the medians of {len(values)} runs, {what}, batch {repeats['batch']}, {repeats['mode']}",
                (max(values) - min(values)) / median(values),
                reach=_SPREAD if found["device"] != "cpu" else None,
                note=f"median {median(values):.4f} ms, {min(values):.4f} to {max(values):.4f}; "
                f"INVALID: {sum(map(bool, repeats['reasons']))}",
            )
        )
    return rows


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
