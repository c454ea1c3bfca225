"""What the harness costs on a CPU: ``python -m tests.perf.bench_overhead OUT``, against a bare ``session.run`` loop.

Both sides use one session with idle threads that do not spin, in one process, in turn: A B, B A, A B, … Each pair gives
a ratio of images per second, counted from the first iteration's start to the last one's end, with everything that a
loop does in between; and a ratio of processor time for each image, which other work on the machine hardly moves. The
interval is that of the median of these ratios (order statistics). A network of microseconds shows what the harness adds
to an iteration in absolute terms; of a real one that is nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx

from tests.contract.test_families import conv_net
from tests.perf.measure import Row, write
from trtkit import worker
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.backends.base import LoadOptions
from trtkit.backends.ort import session
from trtkit.backends.ort_timed import OrtTimed
from trtkit.graph import io
from trtkit.measurement import harness
from trtkit.stages.export import SourceRequest, export
from trtkit.stats import median_interval
from trtkit.worker.protocol import Reporter

__all__ = ["Paired", "main", "pairs", "rows_of"]

_WITHIN = 0.02


@dataclass(frozen=True)
class Paired:
    """Both sides, pair by pair: throughput in images per second, and processor time in seconds for each image."""

    model: str
    batch: int
    threads: int
    harness: list[float]
    bare: list[float]
    harness_cpu_s: list[float]
    bare_cpu_s: list[float]

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.harness, self.bare, strict=True)]

    @property
    def cpu_ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.harness_cpu_s, self.bare_cpu_s, strict=True)]

    @property
    def added_us(self) -> float:
        """What the harness adds to an iteration: the median over pairs."""
        both = zip(self.harness, self.bare, strict=True)
        return median(1e6 * self.batch * (1 / ours - 1 / theirs) for ours, theirs in both)


def bare(made: Any, sets: Sequence[Mapping[str, np.ndarray]], batch: int, seconds: float) -> tuple[float, int]:
    """``session.run`` again and again: images per second, and images."""
    count, started = 0, time.perf_counter()
    while (now := time.perf_counter()) - started < seconds:
        made.run(None, sets[count % len(sets)])
        count += 1
    return count * batch / (now - started), count * batch


def pairs(report: Reporter, *, model: str, batch: int, threads: int, rounds: int, seconds: float) -> dict[str, Any]:
    """A worker's job: measure both sides in turn; returns :class:`Paired` as JSON."""
    options = LoadOptions(on_cpu=True, spinning=False, optimize="all", threads=threads)
    made = session(Path(model), options)
    (given,) = made.get_inputs()
    settings = BenchSettings(
        "compute",
        batch,
        {given.name: (batch, *given.shape[1:])},
        duration_s=seconds,
        max_duration_s=seconds,
        spinning=False,
    )
    rng = np.random.default_rng(0)
    sets = [{given.name: rng.standard_normal(settings.shapes[given.name], dtype=np.float32)} for _ in range(4)]
    timed = OrtTimed(made, sets, settings, options)
    harness.warm_up(timed, settings)

    def ours() -> tuple[float, int]:
        timeline, _ = harness.measure(timed, settings)
        return timeline.throughput_images_per_s or 0.0, len(timeline) * batch

    found: dict[str, list[float]] = {"harness": [], "bare": [], "harness_cpu_s": [], "bare_cpu_s": []}
    for index in range(rounds):
        report.progress("Measuring", index, rounds)
        sides = [("harness", ours), ("bare", lambda: bare(made, sets, batch, seconds))]
        for name, measure in sides if index % 2 else reversed(sides):
            before = time.process_time()
            rate, images = measure()
            found[name].append(rate)
            found[f"{name}_cpu_s"].append((time.process_time() - before) / images)
    return asdict(Paired(Path(model).stem, batch, threads, **found))


def rows_of(found: Sequence[Paired]) -> list[Row]:
    """Both ends of the interval, held against ± 2 %; and the microseconds that are added."""
    rows = []
    for entry in found:
        name = f"{entry.model}, batch {entry.batch}, {entry.threads} threads"
        took_us = 1e6 * entry.batch / median(entry.bare)
        # Where an iteration takes microseconds, two of them are more than 2 %.
        reach = _WITHIN if took_us > 1000 else None
        for what, ratios in (("images per second", entry.ratios), ("processor time per image", entry.cpu_ratios)):
            low, high = median_interval(ratios) or (min(ratios), max(ratios))
            note = f"median {median(ratios):.4f}, 95 % interval {low:.4f} to {high:.4f} of {len(ratios)} pairs"
            far = max(abs(low - 1), abs(high - 1))
            label = f"{name}: {what}, harness over bare loop: the interval's farther end from 1"
            rows.append(Row(label, far, reach=reach, note=note, samples=ratios))
        note = f"an iteration of the bare loop takes {took_us:.0f} µs"
        rows.append(Row(f"{name}: added to an iteration", entry.added_us, "µs", note=note))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="squeezenet1_1")
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each side of a pair")
    asked = parser.parse_args(arguments)
    found = []
    asked.out.mkdir(parents=True, exist_ok=True)
    tiny = asked.out / "tiny.onnx"
    real = asked.out / f"{asked.model}.onnx"
    onnx.save(conv_net(), tiny)
    exported = export(SourceRequest(asked.model), for_tensorrt=False)
    io.save(exported.model, real, name=asked.model, precision="fp32")
    try:
        for model, batch in [(tiny, 1), *((real, int(text)) for text in asked.batches.split(","))]:
            answer = worker.run(
                "tests.perf.bench_overhead:pairs",
                {
                    "model": str(model.absolute()),
                    "batch": batch,
                    "threads": asked.threads,
                    "rounds": asked.rounds,
                    "seconds": asked.seconds,
                },
                what=f"the pairs of {model.name}",
            )
            found.append(Paired(**answer.value))
    finally:
        tiny.unlink()
        real.unlink(missing_ok=True)
    facts = {"pairs": [asdict(entry) for entry in found]}
    print(write(asked.out, "bench_overhead", "What bench's harness costs on a CPU", rows_of(found), facts))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
