"""The worker job that loads two artifacts side by side and finds out which is faster."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.backends import bench_setup
from trtkit.backends.bench_jobs import describe_device, open_runner
from trtkit.backends.timing import Timed, TimedRunner
from trtkit.measurement import harness
from trtkit.measurement.contest import ContestRule, alternate
from trtkit.worker.protocol import Reporter

__all__ = ["contest"]


def contest(
    report: Reporter,
    *,
    family: str,
    plans: list[str],
    device: dict[str, Any],
    settings: dict[str, Any],
    rule: dict[str, Any],
    input_std: float = 1.0,
) -> dict[str, Any]:
    """Load both, warm both up, and let them run in turn.

    ONNX Runtime's idle threads do not spin: those of the one would take the processors from the other.

    Args:
        report: takes the progress.
        family: who executes both.
        plans: the two artifacts.
        device: :class:`~trtkit.artifacts.device.Device` as JSON; the worker's environment shows no other GPU.
        settings: :class:`~trtkit.artifacts.bench_settings.BenchSettings` as JSON.
        rule: :class:`~trtkit.measurement.contest.ContestRule` as JSON.
        input_std: standard deviation of synthetic floating-point inputs.

    Returns:
        :class:`~trtkit.measurement.contest.Contest` as JSON, and ``device``, the name of what executed.

    Raises:
        PlanError, RunError, UsageError: as the family's.
    """
    here = Device(**device)
    chosen = replace(BenchSettings.from_json(settings), spinning=False)
    bench_setup.pin(chosen.affinity)
    options = bench_setup.load_options(chosen, here, None, host_code=True)
    with contextlib.ExitStack() as stack:
        timed: list[Timed] = []
        for index, plan in enumerate(plans):
            report.progress("Loading", index, len(plans))
            runner = stack.enter_context(open_runner(family, Path(plan), options, chosen.mode))
            given = bench_setup.with_shapes(runner.inputs, chosen)
            sets = bench_setup.input_sets(runner.inputs, given, input_std, None, here)
            assert isinstance(runner, TimedRunner)
            timed.append(stack.enter_context(runner.timed(sets, given)))
        bench_setup.pin(options.affinity[:1])  # the pools' other threads have the rest
        for index, one in enumerate(timed):
            report.progress("Warming up", index, len(timed))
            harness.warm_up(one, chosen, cap_s=30.0)
        found = alternate(timed[0], timed[1], ContestRule(**rule), progress=_ticks(report))
        name = describe_device(family, here, chosen).name
    return {**found.to_json(), "device": name}


def _ticks(report: Reporter) -> Any:
    def tick(done: int, most: int) -> None:
        report.progress("Measuring in turn", done, most)

    return tick
