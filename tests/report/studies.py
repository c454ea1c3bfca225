"""Studies made up for tests: the right shape, invented numbers, nothing executed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trtkit.artifacts.bench import BenchResult, Conditions, Subject
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import DeviceFacts
from trtkit.artifacts.finding import Finding, Verdict
from trtkit.artifacts.run_record import RunRecord
from trtkit.artifacts.study import Study
from trtkit.artifacts.study_cell import Accuracy, Cell, Prepared, Scaling
from trtkit.artifacts.study_plan import CellSpec, StudyPlan
from trtkit.artifacts.timeline import Iteration, Timeline

__all__ = ["bench_result", "cell_of", "made_up_study", "timeline"]

_SPEED = {"fp32": 1.0, "tf32": 2.4, "fp16": 4.1, "int8": 6.3, "fp8": 7.2}
_MACS = {"googlenet": 1_582_671_872, "alexnet": 724_406_816}
INVALID = Finding("throttled", "The SM clock fell to 900 MHz for 40 % of the run.", "Cool the GPU, then run again.")


def timeline(batch: int, iteration_ms: float, count: int = 40, spread: float = 0.01, seed: int = 0) -> Timeline:
    """Iterations of about one duration, one after the other."""
    rows, now = [], 0.0
    for each in iteration_ms * (1 + spread * np.random.default_rng(seed).standard_normal(count)):
        end = now + float(each)
        rows.append(Iteration(now, now + 0.01, now, now, now, end, end, end))
        now = end
    return Timeline(tuple(rows), batch, 100.0)


def bench_result(
    model: str = "googlenet",
    precision: str = "fp32",
    batch: int = 8,
    mode: str = "compute",
    device: str = "cuda:0",
    *,
    name: str = "Imaginary GPU",
    iteration_ms: float | None = None,
    count: int = 40,
    spread: float = 0.01,
    seed: int = 0,
    valid: bool = True,
    peak: float | None = 120e12,
    sha: str = "a" * 64,
) -> BenchResult:
    """One benchmark with invented samples: throughput saturates as the batch grows."""
    speed = 21000.0 * _SPEED.get(precision, 1.0)
    iteration_ms = (0.35 + batch / speed * 1e3) if iteration_ms is None else iteration_ms
    return BenchResult(
        Subject(model, sha, f"{model}.{precision}.plan", "b" * 64, "tensorrt-rtx", "1.6.1.120", precision, precision,
                f"57 of 57 Conv in {precision.upper()}", (), _MACS.get(model)),
        DeviceFacts(device, name, "9.0", 80 << 30, pcie="gen5 x16", power_limit_w=700.0, driver="580.1", cuda="13.0"),
        BenchSettings(mode, batch),
        Conditions(name, sm_clock_mhz=(1700, 1755), power_w=(400.0, 420.0), temperature_c=(50, 55)),
        timeline(batch, iteration_ms, count, spread, seed),
        Verdict((), ()) if valid else Verdict((INVALID,), ()),
        peak * _SPEED.get(precision, 1.0) if peak else None,
        "a data sheet",
        {"cpu": "Imaginary CPU", "cores": 16, "platform": "Linux", "python": "3.11", "packages": {"onnx": "1.23"}},
        ("trtkit", "study", "--models", model),
        "2026-11-23T12:00:00+00:00",
    )  # fmt: skip


def cell_of(result: BenchResult, device: str | None = None) -> Cell:
    """A finished cell."""
    subject, settings = result.subject, result.settings
    spec = CellSpec(subject.model, subject.precision, settings.batch, settings.mode, device or result.device.device)
    return Cell(spec, "done", run=RunRecord.of(result, f"runs/{spec.id}.bench.json"))


def _prepared(model: str, precision: str) -> Prepared:
    quantized = precision in ("int8", "fp8")
    noise = {"tf32": 66.0, "fp16": 69.4, "int8": 26.4, "fp8": 31.2}.get(precision)
    accuracy = Accuracy(
        noise, precision == "fp32", {"int8": 0.832, "fp8": 0.91}.get(precision), 256 if quantized else 34,
        "256 held-out samples" if quantized else "seeded random inputs", False, "ONNX Runtime",
    )  # fmt: skip
    return Prepared(
        model, precision, "done", file=f"artifacts/{model}.{precision}.plan", sha256="b" * 64, bytes=29_079_744,
        family="tensorrt-rtx", version="1.6.1.120", proof=f"57 of 57 Conv in {precision.upper()}",
        validation="plan agrees with FP32", validation_status="passed", accuracy=accuracy,
        calibrated_on="256 photographs" if quantized else None, seconds=3.0,
    )  # fmt: skip


def made_up_study(
    models: tuple[str, ...] = ("googlenet", "alexnet"),
    precisions: tuple[str, ...] = ("fp32", "tf32", "fp16", "int8", "fp8"),
    batches: tuple[int, ...] = (1, 8, 32, 128, 512, 1024),
    modes: tuple[str, ...] = ("compute",),
    devices: tuple[str, ...] = ("cuda:0", "cuda:1"),
    *,
    budget_ms: float | None = 5.0,
    name: str = "Imaginary GPU",
    count: int = 12,
) -> Study:
    """A study with everything that a page can show: INVALID runs, failures, gaps, scaling, a budget."""
    plan = StudyPlan(models, precisions, (*batches, None), modes, devices, (1, 2), latency_budget_ms=budget_ms)
    cells = []
    for spec in plan.cells:
        if spec.precision == "fp8" and spec.model == models[-1]:
            cells.append(Cell(spec, "gap", "FP8 needs compute capability 8.9; this device has 8.6."))
        elif spec.batch is None:
            limit = replace(spec, batch=batches[-1] * 2)
            cells.append(Cell(limit, "failed", "Device memory: 81 GiB needed, 79 GiB free.", "device_memory"))
        elif spec.count > 1:
            alone = dict.fromkeys(spec.device.split("+"), 20000.0)
            together = dict.fromkeys(alone, 19700.0)
            scaling = Scaling(39400.0, together, alone, 0.985, "cuda:1 is 3 % slow: power cap", f"runs/{spec.id}.json")
            cells.append(Cell(spec, "done", scaling=scaling))
        else:
            valid = not (spec.precision == "int8" and spec.batch == batches[1])
            result = bench_result(spec.model, spec.precision, spec.batch, spec.mode, spec.device, name=name,
                                  valid=valid, count=count)  # fmt: skip
            cells.append(cell_of(result))
    return Study(
        plan,
        tuple(
            _prepared(model, precision) for model, precision in plan.groups if (model, precision) != (models[-1], "fp8")
        ),
        tuple(cells),
        {"cpu": "Imaginary CPU", "cores": 16, "platform": "Linux", "python": "3.11", "packages": {"onnx": "1.23"}},
        command=("trtkit", "study", "--models", ",".join(models)),
        created="2026-11-23T12:00:00+00:00",
    )
