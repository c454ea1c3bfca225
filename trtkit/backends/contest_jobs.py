"""The worker jobs of contests: two artifacts loaded side by side, the faster found; and kernels compiled beforehand."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.backends import bench_setup
from trtkit.backends.bench_jobs import open_runner
from trtkit.backends.repeated import Samples
from trtkit.backends.timing import Timed, TimedRunner
from trtkit.measurement import harness
from trtkit.measurement.contest import ContestRule, alternate
from trtkit.worker.protocol import Reporter

__all__ = ["compile_kernels", "contest"]

_ITERATIONS = 2  # the first compiles; the second shows that what was compiled runs


def contest(
    report: Reporter,
    *,
    family: str,
    plans: list[str],
    device: dict[str, Any],
    settings: dict[str, Any],
    rule: dict[str, Any],
    input_std: float = 1.0,
    runtime_caches: Sequence[str | None] = (None, None),
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
        runtime_caches: of each artifact the file with its just-in-time kernels, read if it exists and added to.

    Returns:
        :class:`~trtkit.measurement.contest.Contest` as JSON.

    Raises:
        PlanError, RunError, UsageError: as the family's.
    """
    here = Device(**device)
    chosen = replace(BenchSettings.from_json(settings), spinning=False)
    bench_setup.pin(chosen.affinity)
    options = bench_setup.load_options(chosen, here, None, host_code=True)
    with contextlib.ExitStack() as stack:
        timed: list[Timed] = []
        drawn: dict[Any, list[dict[str, Samples]]] = {}  # of two graphs with the same inputs once
        for index, (plan, kernels) in enumerate(zip(plans, runtime_caches, strict=True)):
            report.progress("Loading", index, len(plans))
            mine = replace(options, runtime_cache=Path(kernels) if kernels else None)
            runner = stack.enter_context(open_runner(family, Path(plan), mine, chosen.mode))
            given = bench_setup.with_shapes(runner.inputs, chosen)
            what = tuple((spec.name, spec.dtype, given.shapes[spec.name]) for spec in runner.inputs)
            if what not in drawn:
                drawn[what] = bench_setup.input_sets(runner.inputs, given, input_std, None, here)
            assert isinstance(runner, TimedRunner)
            timed.append(stack.enter_context(runner.timed(drawn[what], given)))
        bench_setup.pin(options.affinity[:1])  # the pools' other threads have the rest
        for index, one in enumerate(timed):
            report.progress("Warming up", index, len(timed))
            harness.warm_up(one, chosen, cap_s=30.0)
        found = alternate(timed[0], timed[1], ContestRule(**rule), progress=_ticks(report))
    return found.to_json()


def compile_kernels(
    report: Reporter, *, family: str, plan: str, device: dict[str, Any], settings: dict[str, Any], runtime_cache: str
) -> dict[str, Any]:
    """Execute a plan for the first time, so that the file ``runtime_cache`` holds the kernels that this compiles.

    The values of the inputs decide nothing here: they are zeros, one set of them.

    Args:
        report: takes the progress.
        family, plan: what to load.
        device, settings: as for :func:`contest`; the shapes are those that kernels are compiled for.
        runtime_cache: read if it exists and added to.

    Returns:
        ``iterations`` that were executed.

    Raises:
        PlanError, RunError, UsageError: as the family's.
    """
    here = Device(**device)
    chosen = replace(BenchSettings.from_json(settings), spinning=False, buffers=1)
    options = bench_setup.load_options(chosen, here, Path(runtime_cache), host_code=True)
    report.progress("Compiling kernels", 0, _ITERATIONS)
    with open_runner(family, Path(plan), options, chosen.mode) as runner:
        given = bench_setup.with_shapes(runner.inputs, chosen)
        zeros = {spec.name: np.zeros(given.shapes[spec.name], spec.dtype) for spec in runner.inputs}
        assert isinstance(runner, TimedRunner)
        with runner.timed([zeros], given) as timed:
            for count in range(_ITERATIONS):
                timed.issue(0)
                timed.finish(0)
                report.progress("Compiling kernels", count + 1, _ITERATIONS)
    return {"iterations": _ITERATIONS}


def _ticks(report: Reporter) -> Any:
    def tick(done: int, most: int) -> None:
        report.progress("Measuring in turn", done, most)

    return tick
