"""Whether bench can be trusted: ``python -m tests.perf.bench_fidelity OUT``, on a GPU or, as far as it goes, a CPU.

1. Against a bare loop on the vendor's API, alternating in one process: the ratio and its 95 % interval.
2. ``overlapped`` against the smaller of ``compute-graph`` and what the bus carries, for float32 and uint8 images.
3. The same benchmark again and again, each in a process of its own: the spread of the medians.

OUT gets ``bench_fidelity.json`` and ``.md`` after every step, so that a call that is cut off leaves what it has. With
``--append`` the rows of an earlier call that this one does not measure stay there; ``--artifacts FOLDER`` keeps plans
and just-in-time kernels for the next call.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from model_defs.definition import IMAGENET_RGB
from tests.perf.calls import call, earlier, write_calls
from tests.perf.measure import Row
from trtkit import worker
from trtkit.artifacts.bench import BenchResult, Subject
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device, parse_devices, worker_env
from trtkit.backends import registry
from trtkit.backends.base import Capabilities
from trtkit.backends.probing import probe
from trtkit.errors import TrtkitError
from trtkit.graph import io
from trtkit.graph.uint8_input import uint8_input
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.request import ConvertRequest
from trtkit.stages.bench import BenchRequest, bench, in_force
from trtkit.stages.export import SourceRequest, export
from trtkit.stats import median_interval

__all__ = ["main", "rows_of"]

_NAME, _TITLE = "bench_fidelity", "Whether bench can be trusted"
_NEAR, _NEAR_ON_CPU = 0.01, 0.02
_OVERLAPPED = 0.95
_SPREAD = 0.01
_MODES = ("compute-graph", "transfers", "overlapped")

Found = dict[str, Any]


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
    parser.add_argument("--duration", type=float, help="of each benchmark; default: 1 s with a GPU, else 3 s")
    parser.add_argument("--append", action="store_true", help="keep rows of the file in OUT that are not measured anew")
    parser.add_argument("--artifacts", type=Path, help="keep plans and just-in-time kernels there, for the next call")
    asked = parser.parse_args(arguments)
    before = earlier(asked.out, _NAME) if asked.append else []
    text = ""

    def keep(found: Found) -> None:
        nonlocal text
        now = call(_NAME, found, arguments, found.get("device_name"))
        text = write_calls(asked.out, _NAME, _TITLE, [*before, now], rows_of)

    found = measure(asked, keep)
    print(text)
    return 1 if found["failed"] else 0


def measure(asked: argparse.Namespace, keep: Callable[[Found], None] = lambda found: None) -> Found:
    """Everything that was asked for, as numbers; ``keep`` gets what there is after every step.

    A step that fails is written down, and the next one is made.
    """
    can = probe(asked.family or "tensorrt-rtx")
    (device,) = parse_devices(asked.device or ("cuda:0" if can.gpus else "cpu"), gpus=len(can.gpus))
    on_gpu = device.kind == "cuda"
    family = asked.family or ("tensorrt-rtx" if on_gpu else "onnxruntime")
    batches = [int(part) for part in (asked.batches or ("1,64,1024" if on_gpu else "1,8")).split(",")]
    numbers = set(asked.numbers.split(","))
    duration_s = asked.duration if asked.duration is not None else 1.0 if on_gpu else 3.0
    with contextlib.ExitStack() as stack:
        folder = asked.artifacts or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trtkit-")))
        folder.mkdir(parents=True, exist_ok=True)
        can = can if can.family == family else probe(family)
        made = _Maker(asked, can, device, batches, folder)
        found: Found = {
            "model": asked.model,
            "family": family,
            "version": can.version,
            "precision": made.precision,
            "device": str(device),
            "device_name": next((gpu.name for gpu in can.gpus if gpu.index == device.index), None) if on_gpu else None,
            "driver": can.driver,
            "duration_s": duration_s,
            "batches": batches,
            "pairs": {},
            "overlap": {},
            "repeats": {},
            "failed": {},
        }
        for batch in batches if "1" in numbers else ():
            with _step(f"1: bare loop, batch {batch}", found, keep):
                found["pairs"][str(batch)] = _pair(made, batch, asked)
        for batch in (batch for batch in batches if "2" in numbers and on_gpu and batch > 1):
            for dtype in ("float32", "uint8"):
                with _step(f"2: overlapped, batch {batch}, {dtype}", found, keep):
                    found["overlap"][f"{batch} {dtype}"] = _overlap(made, batch, dtype, duration_s)
        if "3" in numbers:
            batch, mode = batches[len(batches) // 2], "compute-graph" if on_gpu else "compute"
            repeats: Found = {"batch": batch, "mode": mode, "medians_ms": [], "reasons": []}
            for index in range(asked.repeats):
                with _step(f"3: repeat {index + 1} of {asked.repeats}, batch {batch}", found, keep):
                    result = made.bench(made.settings(mode, batch, duration_s))
                    repeats["medians_ms"].append(result.timeline.summary()["compute"]["p50_ms"])
                    repeats["reasons"].append([reason.id for reason in result.verdict.reasons])
                    found["repeats"], found["name"] = repeats, result.device.name
    return found


@contextlib.contextmanager
def _step(name: str, found: Found, keep: Callable[[Found], None]) -> Iterator[None]:
    print(name, file=sys.stderr, flush=True)
    try:
        yield
    except TrtkitError as error:
        found["failed"][name] = error.message
        print(f"  {error.message}", file=sys.stderr, flush=True)
    keep(found)


class _Maker:
    """Artifacts of one model, made when first needed; each with one file of just-in-time kernels for all processes."""

    def __init__(
        self, asked: argparse.Namespace, can: Capabilities, device: Device, batches: Sequence[int], folder: Path
    ) -> None:
        self._model, self._batches, self._folder, self._can = asked.model, batches, folder, can
        self.family, self.device, self.version = can.family, device, can.version or ""
        self.precision = asked.precision or ("fp16" if device.kind == "cuda" else "fp32")
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

    def kernels(self, dtype: str) -> Path | None:
        """The runtime cache of an artifact, for families that have such: a plan is compiled once for each batch."""
        plan = self.artifact(dtype)
        if plan.suffix == ".onnx" or "runtime_cache" in self._can.refused:
            return None
        return plan.with_name(f"{plan.name}.{self.version}.kernels")

    def settings(self, mode: str, batch: int, duration_s: float, **more: Any) -> BenchSettings:
        chosen = BenchSettings(mode, batch, duration_s=duration_s, max_duration_s=5 * duration_s, **more)
        return in_force(chosen, self.device)

    def bench(self, settings: BenchSettings) -> BenchResult:
        file, kernels = self.artifact(settings.input_dtype), self.kernels(settings.input_dtype)
        subject = Subject(self._model, "", file.name, "", self.family, self.version, self.precision)
        return bench(BenchRequest(subject, file, self.device, settings, runtime_cache=kernels), lambda event: None)


def _pair(made: _Maker, batch: int, asked: argparse.Namespace) -> Found:
    on_gpu = made.device.kind == "cuda"
    settings = made.settings("compute-graph" if on_gpu else "compute", batch, asked.seconds, spinning=on_gpu)
    plan, kernels = made.artifact("float32"), made.kernels("float32")
    value: Found = worker.run(
        "tests.perf.bare_loop:alternate",
        {
            "family": made.family,
            "plan": str(plan),
            "device": asdict(made.device),
            "settings": settings.to_json(),
            "rounds": asked.rounds,
            "seconds": asked.seconds,
            "runtime_cache": str(kernels) if kernels else None,
        },
        what=f"the bare loop at batch {batch}",
        env={**registry.worker_env(made.family), **worker_env(made.device)},
    ).value
    return value


def _overlap(made: _Maker, batch: int, dtype: str, duration_s: float) -> Found:
    found: Found = {}
    for mode in _MODES:
        result = made.bench(made.settings(mode, batch, duration_s, input_dtype=dtype))
        found[mode] = result.throughput_images_per_s
        found.setdefault("reasons", {})[mode] = [reason.id for reason in result.verdict.reasons]
    facts = result.conditions.facts
    found["bus"] = facts["h2d_bytes_per_s"] / (facts["input_bytes"] / batch)
    found["h2d_bytes_per_s"], found["depth"] = facts["h2d_bytes_per_s"], facts["depth"]
    return found


def rows_of(found: Found) -> list[Row]:
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


if __name__ == "__main__":
    sys.exit(main())
