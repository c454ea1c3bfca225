"""Worker job: one benchmark."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device, DeviceFacts
from trtkit.artifacts.timeline import Timeline
from trtkit.backends import bench_setup, device_facts, registry
from trtkit.backends.base import LoadOptions, Runner
from trtkit.backends.cpu_monitor import CpuMonitor
from trtkit.backends.null_timed import NullMonitor, NullScript
from trtkit.backends.nvml_monitor import NvmlMonitor
from trtkit.backends.timing import Monitor, Timed, TimedRunner
from trtkit.errors import UsageError
from trtkit.measurement import harness
from trtkit.worker.protocol import Reporter

__all__ = [
    "Loaded",
    "describe_device",
    "loaded",
    "measure",
    "monitor_of",
    "open_runner",
    "peak_of",
    "save",
]

_NULL = "null"


def measure(
    report: Reporter,
    *,
    family: str,
    plan: str,
    device: dict[str, Any],
    settings: dict[str, Any],
    results: str,
    input_std: float = 1.0,
    data: str | None = None,
    run_limit: float = 1e-2,
    runtime_cache: str | None = None,
    host_code: bool = False,
) -> dict[str, Any]:
    """Load a plan, warm up, check its outputs, and measure.

    Args:
        report: takes the progress.
        family, plan: what to load.
        device: :class:`~trtkit.artifacts.device.Device` as JSON; the worker's environment shows no other GPU.
        settings: :class:`~trtkit.artifacts.bench_settings.BenchSettings` as JSON.
        results: the .npz file for the samples (``rows``, ``epoch``) and the checked rows (``in/NAME``, ``out/NAME``).
        input_std: standard deviation of synthetic floating-point inputs.
        data: .npz or .npy with samples to feed instead.
        run_limit: largest relative L2 error of the timed path against a plain run of the same engine.
        runtime_cache, host_code: see :class:`~trtkit.backends.base.LoadOptions`.

    Returns:
        ``conditions`` (fields of :class:`~trtkit.artifacts.bench.Conditions`), ``device``
        (:class:`~trtkit.artifacts.device.DeviceFacts`), ``settings`` in force, and ``peak``: operations per second and
        their source, or ``None``.

    Raises:
        UsageError: the family has no such mode here, or settings and plan do not fit.
        PlanError, RunError: as the family's.
    """
    here, chosen = Device(**device), BenchSettings.from_json(settings)
    with loaded(
        family,
        Path(plan),
        here,
        chosen,
        input_std=input_std,
        data=Path(data) if data else None,
        run_limit=run_limit,
        runtime_cache=Path(runtime_cache) if runtime_cache else None,
        host_code=host_code,
        progress=report.progress,
    ) as it:
        chosen = it.settings
        with monitor_of(family, here, chosen) as monitor:
            timeline, stopped = harness.measure(it.timed, chosen, progress=_ticks(report, chosen))
        facts = {**it.timed.facts, "spent_s": it.spent_s}
    facts_of_device = describe_device(family, here, chosen)
    report.progress("Measuring", 1, 1)
    peak = max(filter(None, (it.peak, peak_of(family, here, it.options))), default=None)  # one may have been disturbed
    save(Path(results), timeline, it.arrays)
    conditions = {**it.conditions, "facts": facts, "stopped": stopped, **monitor.seen()}
    return {
        "conditions": conditions,
        "device": facts_of_device.to_json(),
        "settings": chosen.to_json(),
        "peak": peak,
    }


@dataclass(frozen=True)
class Loaded:
    """A plan that is loaded, warm and checked.

    Attributes:
        timed: ready to be measured.
        settings: with the shapes of every input filled in.
        options: that it was loaded with.
        conditions: ``where``, ``provider``, ``warmup`` and ``check`` of :class:`~trtkit.artifacts.bench.Conditions`.
        arrays: the rows that were checked: ``in/NAME``, ``out/NAME``.
        peak: of the processor, measured before the plan was loaded; see :func:`peak_of`.
        spent_s: seconds that loading the plan, making inputs and buffers, warming up and checking took.
    """

    timed: Timed
    settings: BenchSettings
    options: LoadOptions
    conditions: dict[str, Any]
    arrays: dict[str, np.ndarray]
    peak: tuple[float, str] | None
    spent_s: dict[str, float]


@contextlib.contextmanager
def loaded(
    family: str,
    plan: Path,
    device: Device,
    settings: BenchSettings,
    *,
    input_std: float = 1.0,
    data: Path | None = None,
    run_limit: float = 1e-2,
    runtime_cache: Path | None = None,
    host_code: bool = False,
    progress: Callable[[str, int, int | None], None] = lambda phase, step, steps: None,
) -> Iterator[Loaded]:
    """Pin this process, load a plan, warm it up and check its outputs; all is closed at the end.

    Args:
        progress: is told of ``Loading``, ``Warming up`` and ``Checking``. All else is as for :func:`measure`.

    Raises:
        UsageError, PlanError, RunError: as :func:`measure`.
    """
    bench_setup.pin(settings.affinity)
    options = bench_setup.load_options(settings, device, runtime_cache, host_code)
    peak = peak_of(family, device, options)
    clock = _Spent()
    progress("Loading", 0, 1)
    with open_runner(family, plan, options, settings.mode) as runner:
        progress("Loading", 1, 1)
        clock.lap("loading")
        bench_setup.pin(options.affinity[:1])  # the pool's other threads have the rest
        chosen = bench_setup.with_shapes(runner.inputs, settings)
        sets = bench_setup.input_sets(runner.inputs, chosen, input_std, data, device)
        assert isinstance(runner, TimedRunner)
        with runner.timed(sets, chosen) as timed:
            clock.lap("inputs_and_buffers")
            progress("Warming up", 0, 1)
            warmup = harness.warm_up(timed, chosen)
            progress("Warming up", 1, 1)
            clock.lap("warming_up")
            progress("Checking", 0, 1)
            check, arrays = bench_setup.check_outputs(timed, runner, sets, chosen, run_limit)
            progress("Checking", 1, 1)
            clock.lap("checking")
            conditions = {
                "where": runner.where,
                "provider": getattr(runner, "provider", None),
                "warmup": warmup,
                "check": check,
            }
            yield Loaded(timed, chosen, options, conditions, arrays, peak, clock.seconds)


class _Spent:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, step: str) -> None:
        """A step has ended."""
        now = time.monotonic()
        self.seconds[step], self._since = round(now - self._since, 3), now


def open_runner(family: str, plan: Path, options: LoadOptions, mode: str) -> Runner:
    """Load a plan with a runner that has this mode here.

    Raises:
        UsageError: it has not.
        PlanError, BackendUnavailableError: as the family's.
    """
    runner = registry.get(family).load(plan, options)
    modes = runner.modes if isinstance(runner, TimedRunner) else ()
    if mode not in modes:
        raise UsageError(
            f"The {family} family has no mode {mode!r} on {runner.where}; it has: {', '.join(modes) or 'none'}.",
            hint="Choose one of these with --mode.",
        )
    return runner


def monitor_of(family: str, device: Device, settings: BenchSettings) -> Monitor:
    """Who watches this device."""
    if family == _NULL:
        return NullMonitor(NullScript.of())
    if device.kind == "cpu":
        return CpuMonitor(settings.affinity)
    return NvmlMonitor(device)


def describe_device(family: str, device: Device, settings: BenchSettings) -> DeviceFacts:
    """What is known of this device, from within its worker."""
    if family == _NULL:
        return DeviceFacts(str(device), "nothing", threads=settings.threads, affinity=settings.affinity)
    return device_facts.describe(device, settings)


def peak_of(family: str, device: Device, options: LoadOptions) -> tuple[float, str] | None:
    """A processor's peak, measured; ``None`` for all else: the data file of peaks knows GPUs by name."""
    if family != "onnxruntime" or device.kind != "cpu":
        return None
    from trtkit.backends.ort_timed import gemm_ops_per_s

    return gemm_ops_per_s(options), "measured GEMM: FP32, 512³ and 1024³, same threads"


def save(results: Path, timeline: Timeline, arrays: Mapping[str, np.ndarray]) -> None:
    """Write samples and checked rows where the parent reads them."""
    table = np.array(timeline.rows, dtype=np.float64)
    np.savez(results, rows=table, epoch=np.float64(timeline.epoch_monotonic_s), **arrays)  # type: ignore[arg-type]


def _ticks(report: Reporter, settings: BenchSettings) -> Any:
    """Progress in hundredths of the least duration; what follows it is waiting for confidence."""

    def tick(passed_s: float, count: int) -> None:
        done = min(passed_s / max(settings.duration_s, 1e-9), 1.0)
        report.progress("Measuring", min(round(100 * done), 99), 100)

    return tick
