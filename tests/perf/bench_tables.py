"""AlexNet and GoogLeNet in every precision that runs, on an engine family and on ONNX Runtime in one run, by ``bench``.

    python -m tests.perf.bench_tables OUT                                   # on a GPU
    python -m tests.perf.bench_tables OUT --ladder --seconds-budget 1200    # and up to the largest batch, 20 minutes
    python -m tests.perf.bench_tables OUT --families onnxruntime --device cpu --batches 1,8    # a rehearsal

OUT gets ``bench_tables.json`` and ``.md`` after every line. When the seconds are up it stops and names what was left
out; ``--append`` goes on in the same file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calibration.source import DataSpec
from tests.perf.bench_lines import Line, line_of, page
from tests.perf.calls import call, differences
from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device, parse_devices
from trtkit.artifacts.files import read_json, write_bytes, write_json
from trtkit.backends.probing import probe
from trtkit.errors import TrtkitError
from trtkit.graph.cost import cost
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_measure import measuring
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.bench_subjects import Prepared
from trtkit.pipeline.benchmark import bench
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.listener import Silence
from trtkit.pipeline.quantization import Quantization
from trtkit.pipeline.request import QUANTIZED, ConvertRequest
from trtkit.stages.export import SourceRequest, export
from trtkit.stages.plan_cache import PlanCache, cache_folder

__all__ = ["Part", "Tables", "arguments_of", "main"]

_NAME = "bench_tables"
_FAMILIES = {"cuda": "tensorrt-rtx,onnxruntime", "cpu": "onnxruntime"}
_PRECISIONS = {
    ("cuda", "tensorrt-rtx"): "fp16,fp32,tf32,fp8",
    ("cuda", "tensorrt"): "fp16,fp32,tf32,fp8",
    ("cuda", "onnxruntime"): "fp16,fp32",
}
_BATCHES = {"cuda": "1,8,64,128,512,1024", "cpu": "1,8"}
_DURATION_S = {"cuda": 1.0, "cpu": 3.0}
_LONGEST = 4  # durations, where the median is not known well enough after one
_SAMPLES = 16
_LEAST_S = 5.0  # an attempt is not begun with less than this


class BudgetSpentError(Exception):
    """The seconds are up."""


@dataclass(frozen=True)
class Part:
    """What one call of ``bench`` measures; no batches for a ladder."""

    model: str
    precision: str
    family: str
    mode: str
    batches: tuple[int, ...]

    @property
    def text(self) -> str:
        what = f"batches {', '.join(map(str, self.batches))}" if self.batches else "ladder"
        return f"{_name(self.model)} {self.precision}, {self.family}, {self.mode}, {what}"


def _name(model: str) -> str:
    """A definition's name, or a file's without folder and ending."""
    return Path(model).stem if model.endswith(".onnx") else model


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", default="alexnet,googlenet", help="definitions and .onnx files")
    parser.add_argument("--families", help=f"default: {_FAMILIES['cuda']} with a GPU, else onnxruntime")
    parser.add_argument("--device", help="default: cuda:0 where there is one, else cpu")
    parser.add_argument("--precisions", help="of every family; default: fp16,fp32,tf32,fp8, ONNX Runtime fp16,fp32")
    parser.add_argument("--batches", help=f"default: {_BATCHES['cuda']} with a GPU, else {_BATCHES['cpu']}")
    parser.add_argument("--ladder", action="store_true", help="also look for the largest batch that runs")
    parser.add_argument("--profile", default="each", help="each: an engine for each batch; shared: one for all")
    parser.add_argument("--duration", type=float, help="of each measurement; default: 1 s on a GPU, else 3 s")
    parser.add_argument("--seconds-budget", type=float, help="stop after so many seconds, and say what was left out")
    parser.add_argument(
        "--append", action="store_true", help="keep lines of the file in OUT that are not measured anew"
    )
    parser.add_argument("--samples", type=Path, help="keep every raw sample in this folder")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    asked = arguments_of(arguments)
    gpus = max(len(probe(family).gpus) for family in (asked.families or _FAMILIES["cuda"]).split(","))
    (device,) = parse_devices(asked.device or ("cuda:0" if gpus else "cpu"), gpus=gpus)
    tables = Tables(asked, device, arguments)
    tables.run()
    print(tables.text)
    return 0


class Tables:
    """The lines so far, and how the rest is made."""

    def __init__(
        self, asked: argparse.Namespace, device: Device, arguments: Sequence[str] | None, clock: Any = time.monotonic
    ) -> None:
        self.lines: dict[Any, Line] = {}
        self.left_out: list[str] = []
        self.ladders: list[dict[str, Any]] = []
        self.text = ""
        self._asked, self._device, self._arguments, self._clock = asked, device, arguments, clock
        self._batches = tuple(map(int, (asked.batches or _BATCHES[device.kind]).split(",")))
        self._duration_s = asked.duration if asked.duration is not None else _DURATION_S[device.kind]
        self._ends = clock() + asked.seconds_budget if asked.seconds_budget else float("inf")
        self._written: dict[str, int | None] = {}
        self._plans: dict[tuple[str, str, str], Path] = {}
        self._gpu: str | None = None
        self._old = read_json(asked.out / f"{_NAME}.json") if asked.append and self._file.exists() else None

    @property
    def _file(self) -> Path:
        return Path(self._asked.out) / f"{_NAME}.json"

    def run(self) -> None:
        """Measure everything, or until the seconds are up."""
        parts = list(self.parts())
        with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
            for index, part in enumerate(parts):
                print(part.text, file=sys.stderr, flush=True)
                try:
                    self._measure(part, Path(folder))
                except BudgetSpentError:
                    self.left_out = [self._rest(part), *(other.text for other in parts[index + 1 :])]
                    self.left_out = [text for text in self.left_out if text]
                    break
                except TrtkitError as error:
                    self._failed(part, error)
        self.keep()

    def parts(self) -> Iterator[Part]:
        """What is to be measured, in order."""
        kind, asked, batches = self._device.kind, self._asked, self._batches
        families = (asked.families or _FAMILIES[kind]).split(",")
        wanted = {f: (asked.precisions or _PRECISIONS.get((kind, f), "fp32")).split(",") for f in families}
        modes = [("compute-graph", batches), ("compute", (1,))] if kind == "cuda" else [("compute", batches)]
        precisions = dict.fromkeys(name for names in wanted.values() for name in names)
        rounds = [modes] + ([[(modes[0][0], ())]] if asked.ladder else [])  # ladders last: they take the longest
        for these in rounds:
            for model in asked.models.split(","):
                for precision in precisions:
                    for family in (f for f in families if precision in wanted[f]):
                        yield from (Part(model, precision, family, mode, sizes) for mode, sizes in these)

    def _measure(self, part: Part, folder: Path) -> None:
        self._check_time()
        source = SourceRequest(part.model)
        precisions: tuple[str, ...] = (part.precision,)
        if part.precision in QUANTIZED:
            plan = self._quantized(part, folder)
            # The Q/DQ graph, so that each batch gets an engine of its own, as in the other precisions.
            as_graph = plan.suffix != ".onnx" and self._asked.profile == "each"
            source = SourceRequest(
                str(plan.parent / f"{_name(part.model)}.{part.precision}.onnx" if as_graph else plan)
            )
            precisions = precisions if as_graph else ()
        request = BenchmarkRequest(
            source,
            family=part.family,
            devices=str(self._device),
            precisions=precisions,
            batches=part.batches,
            ladder=not part.batches,
            modes=(part.mode,),
            profile=self._asked.profile if precisions else "each",
            settings={"duration_s": self._duration_s, "max_duration_s": _LONGEST * self._duration_s},
            output=self._asked.samples or folder,
            command=(f"python -m tests.perf.{_NAME}",),
        )
        found = bench(request, measure=self._watched(measuring(request, PlanCache(cache_folder()), Silence()), part))
        for run in found.runs:  # a sweep that was interrupted, and is kept with --samples, has some already
            self._add(part, run.result)
        for failure in found.failures:
            self._failed(part, failure.error, failure.what)
        for sweep in found.sweeps:
            if sweep.is_ladder:
                self.ladders.append({"what": part.text, "largest": sweep.largest, "stopped": sweep.stopped})
        self.keep()

    def _watched(self, real: Any, part: Part) -> Callable[..., BenchResult]:
        """Measure within the time, and write every line at once."""

        def measure(prepared: Prepared, target: Target, settings: BenchSettings, seconds: float | None) -> BenchResult:
            left = self._check_time()
            limit = min(left, seconds or float("inf"))
            try:
                result: BenchResult = real(prepared, target, settings, limit if limit < float("inf") else None)
            except TrtkitError:
                if self._ends <= self._clock():
                    raise BudgetSpentError from None  # it was cut off, not refused
                raise
            if settings.duration_s:  # not a ladder's short look
                self._add(part, result)
                self.keep()
            return result

        return measure

    def _add(self, part: Part, result: BenchResult) -> None:
        self._gpu = result.device.name if self._device.kind == "cuda" else None
        line = replace(line_of(result, self._elements(part.model)), model=_name(part.model), precision=part.precision)
        self.lines[line.key] = line

    def _check_time(self) -> float:
        left: float = self._ends - self._clock()
        if left < _LEAST_S:
            raise BudgetSpentError
        return left

    def _quantized(self, part: Part, folder: Path) -> Path:
        """A plan with thresholds from made-up samples: the speed does not depend on them."""
        what = (part.model, part.precision, part.family)
        if what not in self._plans:
            low, high = min(self._batches), max(self._batches)
            request = ConvertRequest(
                SourceRequest(part.model),
                precision=part.precision,
                family=part.family,
                batch=f"{low}:{max(low, high // 8)}:{high}",
                quantization=Quantization(data=DataSpec(synthetic=_SAMPLES), method="minmax"),
                output=folder / f"{_name(part.model)}.{part.precision}.{part.family}",
                validate=False,
            )
            self._plans[what] = convert(request).plan
        return self._plans[what]

    def _elements(self, model: str) -> int | None:
        if model not in self._written:
            nodes = [node for node in cost(export(SourceRequest(model)).model).nodes if node.macs != 0]
            known = all(node.output_elements is not None for node in nodes)
            self._written[model] = sum(node.output_elements or 0 for node in nodes) if known else None
        return self._written[model]

    def _failed(self, part: Part, error: TrtkitError, what: str = "") -> None:
        for batch in part.batches:
            line = Line(_name(part.model), part.family, part.precision, part.mode, batch, problem=error.message)
            if line.key not in self.lines and (not what or f"batch {batch}," in what):
                self.lines[line.key] = line
        if not part.batches:
            self.ladders.append({"what": part.text, "largest": None, "stopped": error.message})
        self.keep()

    def _rest(self, part: Part) -> str:
        key = (_name(part.model), part.family, part.precision, part.mode)
        left = tuple(batch for batch in part.batches if (*key, batch) not in self.lines)
        return replace(part, batches=left).text if left or not part.batches else ""

    def keep(self) -> None:
        """Write what there is."""
        made = call(_NAME, {}, self._arguments, self._gpu)
        lines, ladders, calls = dict(self.lines), list(self.ladders), []
        if self._old is not None:
            calls = [*self._old.get("earlier", []), {key: self._old[key] for key in ("command", "ended")}]
            other = differences(self._old, made)
            kept = [Line.from_json(line) for line in self._old["lines"]]
            old = {line.key: replace(line, made={**other, **line.made}) for line in kept}
            lines = old | lines
            again = {ladder["what"] for ladder in ladders}
            ladders = [ladder for ladder in self._old["ladders"] if ladder["what"] not in again] + ladders
        groups = list(dict.fromkeys(key[:-1] for key in lines))
        order = sorted(lines.values(), key=lambda line: (groups.index(line.key[:-1]), line.batch))
        document = {key: value for key, value in made.items() if key != "found"}
        document |= {"lines": [line.to_json() for line in order], "ladders": ladders, "left_out": self.left_out}
        document["earlier"] = calls
        self._asked.out.mkdir(parents=True, exist_ok=True)
        self.text = page(document, order)
        write_json(self._file, document)
        write_bytes(self._file.with_suffix(".md"), f"{self.text}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
