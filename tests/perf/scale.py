"""How several devices add up: ``python -m tests.perf.scale OUT``, on GPUs or, as far as it goes, parts of a CPU.

1. One device, two, four, … together, locally and with ``--mpirun`` as ranks: total, efficiency, slowest device, cause.
2. ``--simulate 64``: that many devices of the null family: start-up, and what the gathering costs as they get more.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.perf.measure import Row, trtkit, write
from tests.perf.scale_faults import make_plan, mpirun
from trtkit.artifacts.files import read_json
from trtkit.artifacts.scale import ScaleResult
from trtkit.backends.null_timed import VARIABLE
from trtkit.backends.probing import probe
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.listener import Silence
from trtkit.pipeline.scaling import ScalingRequest, scale
from trtkit.stages.export import SourceRequest

__all__ = ["main", "rows_of"]

_COMPUTING = ("compute", "compute-graph")
_EFFICIENCY, _EFFICIENCY_ON_CPU = 0.99, 0.95
_NOISE = 0.03
_START_S = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--family", help="default: tensorrt-rtx with a GPU, else onnxruntime")
    parser.add_argument("--devices", choices=("gpu", "cpu"), help="default: gpu where there is one")
    parser.add_argument("--models", help="default: alexnet,googlenet with a GPU, else googlenet")
    parser.add_argument("--precisions", help="default: fp32,fp16 with a GPU, else fp32")
    parser.add_argument("--batches", help="default: 128,1024 with a GPU, else 8")
    parser.add_argument("--modes", help="default: compute,compute-graph,overlapped with a GPU, else compute")
    parser.add_argument("--counts", default="1,2,4,8", help="more than there are devices are left out")
    parser.add_argument("--duration", type=float, default=5.0, help="of each window, in seconds")
    parser.add_argument("--repeats", type=int, default=1, help="of each run; the median is taken")
    parser.add_argument("--mpirun", action="store_true", help="also as ranks of mpirun")
    parser.add_argument("--simulate", type=int, default=0, metavar="N", help="also N devices of the null family")
    asked = parser.parse_args(arguments)
    gpus = len(probe(asked.family or "tensorrt-rtx").gpus)
    on_gpu = (asked.devices or ("gpu" if gpus else "cpu")) == "gpu"
    most = gpus if on_gpu else len(os.sched_getaffinity(0))
    counts = [count for count in map(int, asked.counts.split(",")) if count <= most]
    found: dict[str, Any] = {"on_gpu": on_gpu, "devices": most, "counts": counts, "runs": [], "refused": None}
    with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
        for model, precision, batch, mode in itertools.product(
            (asked.models or ("alexnet,googlenet" if on_gpu else "googlenet")).split(","),
            (asked.precisions or ("fp32,fp16" if on_gpu else "fp32")).split(","),
            (asked.batches or ("128,1024" if on_gpu else "8")).split(","),
            (asked.modes or ("compute,compute-graph,overlapped" if on_gpu else "compute")).split(","),
        ):
            what = {"model": model, "precision": precision, "batch": int(batch), "mode": mode}
            for number, count, ranks in itertools.product(range(asked.repeats), counts, (False, True)):
                if not ranks or (asked.mpirun and count > 1):
                    place = Path(folder) / f"{len(found['runs'])}"
                    made = _run(asked, what, count, max(counts), on_gpu, ranks, place)
                    found["runs"].append({**what, "count": count, "repeat": number, **made})
                    print({**what, "count": count, **made}, file=sys.stderr, flush=True)
        if asked.mpirun and not on_gpu:
            found["refused"] = _refusal(most * 2, Path(folder))
        if asked.simulate:
            found["simulated"] = _simulate(asked.simulate, Path(folder))
    found["figure"] = _figure(found["runs"])
    print(write(asked.out, "scale", "How several devices add up", rows_of(found), found, _remarks(found)))
    return 0


def _run(
    asked: argparse.Namespace, what: dict[str, Any], count: int, parts: int, on_gpu: bool, ranks: bool, folder: Path
) -> dict[str, Any]:
    family = asked.family or ("tensorrt-rtx" if on_gpu else "onnxruntime")
    threads = 0 if on_gpu else len(os.sched_getaffinity(0)) // parts
    names = [f"cuda:{n}" if on_gpu else f"cpu:{n}/{parts}" for n in range(count)]
    try:
        if ranks:
            result = _as_ranks(asked, what, family, names, threads, folder)
        else:
            settings: dict[str, Any] = {"duration_s": asked.duration, "max_duration_s": asked.duration * 10}
            request = BenchmarkRequest(
                SourceRequest(what["model"]),
                family=family,
                devices=",".join(names),
                precisions=(what["precision"],),
                batches=(what["batch"],),
                modes=(what["mode"],),
                settings={**settings, **({"threads": threads} if threads else {})},
                output=folder,
            )
            result = scale(ScalingRequest(request))[0].result
    except Exception as error:
        return {"launcher": "mpirun" if ranks else "local", "problem": str(error)}
    return summary(result)


def _as_ranks(
    asked: argparse.Namespace, what: dict[str, Any], family: str, names: list[str], threads: int, folder: Path
) -> ScaleResult:
    launcher = mpirun()
    if launcher is None:
        raise RuntimeError("mpirun or mpi4py is missing")
    words = ["bench", what["model"], "--family", family, "--precision", what["precision"], "--mode", what["mode"]]
    words += ["--batch", str(what["batch"]), "--duration", str(asked.duration), "-o", str(folder)]
    words += ["--max-duration", str(asked.duration * 10), "--device", ",".join(names)]
    words += ["--threads", str(threads)] if threads else []
    _launch([*launcher, "-n", str(len(names)), *trtkit(*words)])
    (file,) = folder.glob("*.scale.json")
    return ScaleResult.from_json(read_json(file))


def _launch(command: list[str]) -> subprocess.CompletedProcess[str]:
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "COLUMNS": "300"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **root})
    if done.returncode:
        raise RuntimeError(f"it ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done


def summary(result: ScaleResult) -> dict[str, Any]:
    """The figures of a result, without raw samples."""
    rated = [share for share in result.shares if share.together_images_per_s is not None]
    slowest = min(rated, key=lambda share: share.together_images_per_s or 0.0, default=None)
    return {
        "launcher": result.launcher,
        "total_images_per_s": result.total_images_per_s,
        "sum_of_alone_images_per_s": result.sum_of_alone_images_per_s,
        "efficiency": result.efficiency,
        "slowest": None if slowest is None else result.label(slowest),
        "devices": [
            {
                "device": result.label(share),
                "name": share.name,
                "images_per_s": share.together_images_per_s,
                "alone_images_per_s": share.alone_images_per_s,
                "alone": [p.images_per_s for name, p in share.phases.items() if name.startswith("alone")],
                "invalid": sorted({r.id for p in share.phases.values() for r in p.result.verdict.reasons}),
            }
            for share in result.shares
        ],
        "causes": [finding.text for finding in result.findings],
        "valid": result.valid,
        "problem": result.problem,
    }


def _refusal(ranks: int, folder: Path) -> dict[str, Any]:
    launcher = mpirun()
    assert launcher is not None
    try:
        _launch([*launcher, "-n", str(ranks), *trtkit("bench", "googlenet", "--device", "cpu", "-o", str(folder))])
    except RuntimeError as error:
        said = [line for line in str(error).splitlines() if line.startswith("error:")]
        return {"ranks": ranks, "said": said, "met": len(said) == 1 and "ranks on" in said[0]}
    return {"ranks": ranks, "said": [], "met": False}


class _Times(Silence):
    """When each stage began."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def stage(self, title: str) -> None:
        self.at.setdefault(title.split()[0] + title.split()[1] if " " in title else title, time.monotonic())


def _simulate(most: int, folder: Path) -> list[dict[str, Any]]:
    """Start-up and gathering of ever more devices that compute nothing."""
    os.environ[VARIABLE] = '{"compute_ms": 0.0, "image_ms": 12.5}'  # eight images in 0.1 s: 80 images/s each
    plan, made = make_plan(folder), []
    settings: dict[str, Any] = {"duration_s": 2.0, "max_duration_s": 3.0, "warmup_s": 0.01, "buffers": 1}
    for count in [number for number in (8, 16, 32, 64, 128) if number <= most]:
        request = BenchmarkRequest(
            SourceRequest(str(plan)), devices=f"cpu*{count}", batches=(8,), settings=settings, output=folder / "out"
        )
        times = _Times()
        result = scale(ScalingRequest(request, alone=False), times)[0].result
        rates = [share.together_images_per_s or 0.0 for share in result.shares]
        made.append(
            {
                "devices": count,
                "start_s": times.at["Measuringtogether"] - times.at["Loadingand"],
                "gather_s": time.monotonic() - times.at["Gathering"],
                "right": len(rates) == count and all(abs(rate / 80 - 1) < 0.1 for rate in rates),
                "total_images_per_s": result.total_images_per_s,
                "exchange_ms": _exchange_ms(count),
            }
        )
        print(made[-1], file=sys.stderr, flush=True)
    return made


def _exchange_ms(size: int) -> float:
    """Median time until rank 0 has 1 kB of each of so many ranks and each its answer of 1 kB (threads, over TCP)."""
    from tests.ranks.test_meeting import together
    from trtkit.ranks import Meeting

    def job(meeting: Meeting) -> float:
        times = []
        for _ in range(5):
            begin = time.monotonic()
            meeting.consult("x" * 1000, lambda values: ["y" * 1000] * len(values), timeout_s=60)
            times.append(time.monotonic() - begin)
        return median(times) * 1e3

    return float(together(size, job, patience_s=30.0)[0])


def _figure(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines to draw: total and efficiency over the number of devices, the median of the repeats."""
    lines: dict[tuple[Any, ...], dict[int, list[dict[str, Any]]]] = {}
    for run in runs:
        key = tuple(run[name] for name in ("model", "precision", "batch", "mode", "launcher"))
        if run.get("efficiency"):
            lines.setdefault(key, {}).setdefault(run["count"], []).append(run)
    return [
        {
            **dict(zip(("model", "precision", "batch", "mode", "launcher"), key, strict=True)),
            "devices": sorted(by_count),
            "images_per_s": [
                median(run["total_images_per_s"] for run in by_count[count]) for count in sorted(by_count)
            ],
            "efficiency": [median(run["efficiency"] for run in by_count[count]) for count in sorted(by_count)],
            "causes": [[cause for run in by_count[count] for cause in run["causes"]] for count in sorted(by_count)],
            "slowest": [[run["slowest"] for run in by_count[count]] for count in sorted(by_count)],
        }
        for key, by_count in lines.items()
    ]


def rows_of(found: dict[str, Any]) -> list[Row]:
    """What was found as numbers beside their limits."""
    rows: list[Row] = []
    local = {}
    for line in found["figure"]:
        name = f"{line['model']} {line['precision']} b{line['batch']} {line['mode']}"
        reach = (_EFFICIENCY if found["on_gpu"] else _EFFICIENCY_ON_CPU) if line["mode"] in _COMPUTING else None
        for count, total, efficiency, why in zip(
            line["devices"], line["images_per_s"], line["efficiency"], line["causes"], strict=True
        ):
            note = f"{total:,.0f} images/s; {' '.join(dict.fromkeys(why))}"
            if count > 1:
                title = f"{name}, {count} devices, {line['launcher']}: efficiency"
                rows.append(Row(title, efficiency, reach=reach, relation="≥", note=note))
            if line["launcher"] == "local":
                local[name, count] = total
            elif (name, count) in local:
                title = f"{name}, {count} ranks by {line['launcher']}: total"
                beside = local[name, count]
                rows.append(Row(title, total, "images/s", 1 - _NOISE, beside, "local", "ratio", "≥"))
    for run in found["runs"]:
        if run.get("problem"):
            rows.append(
                Row(
                    f"{run['model']} on {run['count']}, {run['launcher']}",
                    0,
                    reach=1,
                    relation="≥",
                    note=run["problem"],
                )
            )
    if found["refused"]:
        note = " ".join(found["refused"]["said"])
        title = f"{found['refused']['ranks']} ranks on {found['devices']} cores are refused"
        rows.append(Row(title, int(found["refused"]["met"]), reach=1, relation="≥", note=note))
    simulated = found.get("simulated") or []
    for one in simulated:
        title = f"{one['devices']} simulated devices"
        rows.append(Row(f"{title}: until all are ready", one["start_s"], "s", _START_S))
        rows.append(Row(f"{title}: all rates right", int(one["right"]), reach=1, relation="≥"))
        rows.append(Row(f"{title}: gathered and written", one["gather_s"], "s"))
        note = "ranks are threads of one process here; every rank is told every value"
        rows.append(Row(f"{title}: one exchange among as many ranks", one["exchange_ms"], "ms", note=note))
    if len(simulated) > 1:
        first, last = simulated[0], simulated[-1]
        ratio = last["gather_s"] / first["gather_s"] / (last["devices"] / first["devices"])
        rows.append(Row("gathering: growth per growth of devices", ratio, "", 1.5, note="1 is linear"))
    return rows


def _remarks(found: dict[str, Any]) -> str:
    lines = ["Efficiency is the total over the sum of what each device does alone in the same run."]
    slow = [
        f"{line['model']} {line['mode']} b{line['batch']}: {name}"
        for line in found["figure"]
        for names in line["slowest"]
        for name in names
    ]
    return "\n".join([*lines, f"Slowest devices: {'; '.join(dict.fromkeys(slow))}."] if slow else lines)


if __name__ == "__main__":
    sys.exit(main())
