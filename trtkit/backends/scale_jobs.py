"""The worker job of a scaling run: load and warm up once, then measure in the windows that the parent names."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.backends import bench_jobs, device_facts
from trtkit.measurement import harness
from trtkit.worker.protocol import Reporter

__all__ = ["serve"]

_LEAD_S = 0.05
_LEAD_ITERATIONS = 2
_LISTEN_EVERY_S = 0.05


def serve(
    report: Reporter,
    *,
    family: str,
    plan: str,
    device: dict[str, Any],
    settings: dict[str, Any],
    folder: str,
    input_std: float = 1.0,
    data: str | None = None,
    run_limit: float = 1e-2,
    runtime_cache: str | None = None,
    host_code: bool = False,
) -> None:
    """One device of several. Arguments are those of :func:`trtkit.backends.bench_jobs.measure`; ``folder`` takes files.

    Says ``ready`` (``conditions``, ``device``, ``settings``, ``peak``, ``iteration_s``), then obeys:
    ``{"do": "measure", "phase", "start_monotonic_s", "end_monotonic_s"}``, answered by ``measured`` (``phase``,
    ``file``, ``conditions``), and ``{"do": "leave"}``. ``{"do": "stop"}`` ends a measurement before its time.

    The measurement begins a little before its window and ends after it, so that the window holds no beginning or end.

    Raises:
        UsageError, PlanError, RunError: as ``measure``.
    """
    here, chosen = Device(**device), BenchSettings.from_json(settings)
    if here.kind == "cuda" and not chosen.affinity:
        chosen = replace(chosen, affinity=device_facts.processors_beside_gpu())
    with bench_jobs.loaded(
        family,
        Path(plan),
        here,
        chosen,
        input_std=input_std,
        data=Path(data) if data else None,
        run_limit=run_limit,
        runtime_cache=Path(runtime_cache) if runtime_cache else None,
        host_code=host_code,
    ) as it:
        chosen = it.settings
        iteration_s = float(it.conditions["warmup"]["last_ms"]) / 1e3
        report.message(
            "ready",
            conditions=it.conditions,
            device=bench_jobs.describe_device(family, here, chosen).to_json(),
            settings=chosen.to_json(),
            peak=it.peak,
            iteration_s=iteration_s,
        )
        while (said := report.receive()) is not None and said["do"] != "leave":
            if said["do"] != "measure":
                continue  # a stop that came after the end
            lead = _LEAD_S + _LEAD_ITERATIONS * iteration_s
            time.sleep(max(said["start_monotonic_s"] - lead - time.monotonic(), 0))
            with bench_jobs.monitor_of(family, here, chosen) as monitor:
                timeline, stopped = harness.measure(it.timed, chosen, until=_over(report, said["end_monotonic_s"]))
            file = Path(folder) / f"{os.getpid()}.{said['phase']}.npz"
            bench_jobs.save(file, timeline, it.arrays)
            seen = {"facts": dict(it.timed.facts), "stopped": stopped, **monitor.seen()}
            report.message("measured", phase=said["phase"], file=str(file), conditions=seen)


def _over(report: Reporter, end_monotonic_s: float) -> Callable[[], bool]:
    """Whether the window has passed, or the parent said stop."""
    next_look = 0.0

    def over() -> bool:
        nonlocal next_look
        now = time.monotonic()
        if now >= next_look:
            next_look = now + _LISTEN_EVERY_S
            said = report.receive(timeout_s=0)
            if said is not None and said["do"] == "stop":
                return True
        return now >= end_monotonic_s

    return over
