"""The table of rewrites: each model without them, with the safe ones, and with those that ``auto`` finds.

    python -m tests.perf.optimize OUT                          # ONNX Runtime, two threads of the CPU, not spinning
    python -m tests.perf.optimize OUT --family tensorrt-rtx    # on the GPU at hand, one CUDA graph an execution
    python -m tests.perf.optimize OUT --remember               # and write what was found into the table that ships
    python -m tests.perf.optimize OUT --also safe+join_groups,safe-lrn_band    # further sets against the base
    python -m tests.perf.optimize OUT --seconds-budget 900 --append            # 15 minutes more in the same files
    python -m tests.perf.optimize --prototype                  # enter the hand-made prototypes' numbers there

Two graphs at a time are loaded side by side and run in turn (:mod:`trtkit.measurement.contest`), so that a busy machine
slows both; the load is written beside the numbers all the same. What a row needs is built side by side before its first
contest. OUT gets ``optimize.json`` and ``optimize.md`` after every row.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.perf.optimize_rows import Also, Row, Sheet, line
from tests.perf.optimize_table import prefixes, prototypes, remember, taught
from trtkit.artifacts.device import Device
from trtkit.artifacts.exported import ExportedModel
from trtkit.backends.base import Capabilities
from trtkit.backends.probing import probe
from trtkit.errors import UsageError
from trtkit.graph import io
from trtkit.graph.rewrites import ALL, named, safe
from trtkit.graph.rewrites.remembered import Remembered
from trtkit.graph.shapes import resolve_profile
from trtkit.measurement.contest import Contest, ContestRule
from trtkit.pipeline.listener import Silence
from trtkit.pipeline.rewrite_ground import MeasuringGround
from trtkit.pipeline.rewrite_place import Place
from trtkit.pipeline.rewrite_search import Names, TimeUpError, search
from trtkit.pipeline.rewriting import target_of
from trtkit.stages.export import SourceRequest, export

TIME_UP = "the time was up"
RULE = ContestRule(burst_s=0.15, rounds=12, max_rounds=100, confidence=0.02, limit_s=60.0, until_decided=False)
MODELS = ("alexnet", "googlenet", "resnet50", "squeezenet1_1")
BATCHES = {"cpu": (1, 8), "cuda": (1, 64, 1024)}
PRECISIONS = {"cpu": ("fp32",), "cuda": ("fp16", "fp32")}
GOALS = {
    ("cpu", "alexnet", "fp32", 8): 1.8,
    ("cpu", "googlenet", "fp32", 8): 1.8,
    ("cuda", "alexnet", "fp16", 1024): 2.6,
    ("cuda", "alexnet", "fp16", 1): 2.7,
    ("cuda", "googlenet", "fp16", 1024): 1.8,
    ("cuda", "googlenet", "fp16", 1): 2.5,
    ("cuda", "alexnet", "fp32", 1024): 1.9,
    ("cuda", "googlenet", "fp32", 1024): 1.5,
}
"""What was set out to be reached: kind of device, model, precision, batch → speed over base."""


def measured(
    model: str,
    place: Place,
    target: str,
    seconds: float,
    *,
    with_auto: bool,
    entries: list[Remembered] | None,
    also: Sequence[str] = (),
) -> Row:
    """One line, and what it teaches of each safe rewrite."""
    exported = exported_of(model, place.can.suffix == ".plan")
    name = exported.source.name
    with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
        candidates = [name for name, item in ALL.items() if not item.changes_interface]
        chosen = applying(exported.model, safe(target))
        further = [applying(exported.model, names_of(text, target)) for text in also]
        names = chosen
        ground = MeasuringGround(exported, place, Path(folder), None, seconds, Silence())
        if with_auto:
            # The search asks which is faster, not by how much.
            names = search(ground, chosen, candidates, lambda what: print(f"    {what}", file=sys.stderr)).names
        # A clock of its own: what the search took is not taken from the table.
        ground = ground.anew(RULE, seconds)
        ground.prepare([(), chosen, names, *further, *(prefixes(chosen) if entries is not None else ())])
        against = {wanted: _against_base(ground, wanted) for wanted in (chosen, names, *further)}
        problem = next((found for found in (against[names], against[chosen]) if isinstance(found, str)), None)
        if entries is not None and chosen and isinstance(against[chosen], Contest):
            entries += taught(name, exported.model, chosen, ground, place)
    found = {wanted: result if isinstance(result, Contest) else None for wanted, result in against.items()}
    return Row(
        name,
        place.precision,
        place.batch,
        chosen,
        names,
        found[chosen],
        found[names] if with_auto else None,
        GOALS.get((place.device.kind, name, place.precision, place.batch)),
        problem=problem,
        searched=with_auto,
        also=tuple(
            Also(text, wanted, found[wanted], result if isinstance(result := against[wanted], str) else None)
            for text, wanted in zip(also, further, strict=True)
        ),
    )


def _against_base(ground: MeasuringGround, wanted: Names) -> Contest | str | None:
    """How much faster than the base, or why that is not known; ``None`` where it is the base's graph."""
    if ground.key(wanted) == ground.key(()):
        return None
    try:
        return ground.contest((), wanted)
    except TimeUpError:
        return TIME_UP


@functools.lru_cache(maxsize=1)
def exported_of(model: str, for_tensorrt: bool) -> ExportedModel:
    return export(SourceRequest(model), for_tensorrt=for_tensorrt)


def applying(model: Any, names: Iterable[str]) -> Names:
    """Those of the names that find a place once those before them are done."""
    found: list[str] = []
    for name in (name for name in ALL if name in set(names)):
        if ALL[name].find(model):
            found.append(name)
            model = ALL[name].apply(model).model
    return tuple(found)


def names_of(text: str, target: str) -> Names:
    """``safe+join_groups-lrn_band`` → the safe rewrites of a target with the one and without the other.

    Raises:
        UsageError: it is not of this form, a name is unknown, or one to be left out is not among the safe ones.
    """
    if not re.fullmatch(r"safe([+-]\w+)*", text):
        raise UsageError(f"--also {text}: no set of rewrites.", hint="Write such as safe+join_groups-lrn_band.")
    chosen = set(safe(target))
    for sign, name in re.findall(r"([+-])(\w+)", text):
        named((name,))
        if ALL[name].changes_interface:
            raise UsageError(f"--also {text}: {name} changes the inputs.", hint="Leave it out.")
        if sign == "-" and name not in chosen:
            raise UsageError(
                f"--also {text}: {name} is not among the safe rewrites of {target}: {', '.join(safe(target))}.",
                hint="Leave out one of these.",
            )
        chosen = chosen | {name} if sign == "+" else chosen - {name}
    return tuple(name for name in ALL if name in chosen)


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--family", default="onnxruntime")
    parser.add_argument("--models", default=",".join(MODELS), help="definitions and .onnx files, with commas")
    parser.add_argument("--precisions", help="default: fp32 on a CPU, fp16,fp32 on a GPU")
    parser.add_argument("--batches", help="default: 1,8 on a CPU, 1,64,1024 on a GPU")
    parser.add_argument("--threads", type=int, default=2, help="on a CPU")
    parser.add_argument("--seconds", type=float, default=600.0, help="the longest for the measurements of one line")
    parser.add_argument("--seconds-budget", type=float, help="begin no row that would not be over within so many")
    parser.add_argument("--append", action="store_true", help="keep rows in OUT that are not measured anew")
    parser.add_argument("--no-auto", action="store_true")
    parser.add_argument("--also", help="further sets, with commas: safe+NAME, safe-NAME, safe+NAME-NAME")
    parser.add_argument("--remember", action="store_true")
    parser.add_argument("--prototype", action="store_true")
    given = parser.parse_args(argv)
    if given.out is None and not given.prototype:
        parser.error("OUT is missing")
    return given


def main(argv: Sequence[str] | None = None) -> int:
    given = arguments_of(argv)
    if given.prototype:
        remember(prototypes())
        return 0
    can = probe(given.family)
    if can.cannot_run is not None:
        print(f"{given.family} cannot run here: {can.cannot_run}", file=sys.stderr)
        return 3
    also = given.also.split(",") if given.also else []
    try:
        for text in also:
            names_of(text, target_of(can))
        run(given, can, also, argv)
    except UsageError as error:
        print(f"{error.message} {error.hint}", file=sys.stderr)
        return 2
    return 0


def run(
    given: argparse.Namespace,
    can: Capabilities,
    also: Sequence[str],
    argv: Sequence[str] | None,
    clock: Callable[[], float] = time.monotonic,
) -> Sheet:
    """Measure row by row, each written at once, or until the next one would not fit into the budget."""
    device = Device("cuda") if can.gpus and can.device != "CPU" else Device("cpu")
    batches = tuple(map(int, given.batches.split(","))) if given.batches else BATCHES[device.kind]
    precisions = tuple(given.precisions.split(",")) if given.precisions else PRECISIONS[device.kind]
    wanted = list(itertools.product(given.models.split(","), precisions, batches))
    sheet, began, longest_s = Sheet(given.out, append=given.append), _load(), 0.0
    ends = clock() + given.seconds_budget if given.seconds_budget is not None else math.inf
    for number, (model, precision, batch) in enumerate(wanted):
        before = clock()
        left_s = ends - before
        place = _place(can, device, model, precision, batch, given.threads)
        row = None
        if left_s > longest_s:  # as long as the longest so far, it would be over in time
            print(_text(wanted[number]), file=sys.stderr)
            entries: list[Remembered] | None = [] if given.remember else None
            seconds = min(given.seconds, left_s if given.no_auto else left_s / 2)  # the search has a clock of its own
            row = measured(
                model, place, target_of(can), seconds, with_auto=not given.no_auto, entries=entries, also=also
            )
            if entries:
                remember(entries)
            if row.problem == TIME_UP and row.safe is None and seconds < given.seconds:
                row = None  # cut off: nothing was measured of it
        if row is not None:
            sheet.rows.append(row)
            print(line(row))
        else:
            sheet.left_out = [_text(which) for which in wanted[number:]]
            print(f"left out, the time is up: {'; '.join(sheet.left_out)}", file=sys.stderr)
        sheet.write(_facts(place, argv, (began, _load())))
        if row is None:
            break
        longest_s = max(longest_s, clock() - before)
    return sheet


def _text(which: tuple[str, str, int]) -> str:
    model, precision, batch = which
    return f"{Path(model).stem if model.endswith('.onnx') else model} {precision} batch {batch}"


def _place(can: Capabilities, device: Device, model: str, precision: str, batch: int, threads: int) -> Place:
    inputs, _ = io.specs(exported_of(model, can.suffix == ".plan").model)
    dynamic = bool(inputs[0].shape) and isinstance(inputs[0].shape[0], str)
    return Place(can, device, precision, resolve_profile(inputs, str(batch) if dynamic else None, ()), threads)


def _facts(place: Place, argv: Sequence[str] | None, load: tuple[float, float]) -> dict[str, Any]:
    words = list(argv if argv is not None else sys.argv[1:])
    words = ["OUT" if index == 0 and not word.startswith("-") else word for index, word in enumerate(words)]
    words = [",".join(Path(part).name for part in word.split(",")) if "/" in word else word for word in words]
    settings = place.settings
    how = f"{settings.threads} threads, spinning off" if place.device.kind == "cpu" else f"mode {settings.mode}"
    return {
        "command": " ".join(["python -m tests.perf.optimize", *words]),
        "where": f"{place.can.family} {place.can.version} on {place.device_name}",
        "how": f"{how}; two graphs side by side, in turn",
        "load": list(load),
    }


def _load() -> float:
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0.0


if __name__ == "__main__":
    sys.exit(main())
