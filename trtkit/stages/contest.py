"""Two artifacts → which is faster, by how much, and how sure that is: measured in turn, in a worker of its own.

Just-in-time kernels can be compiled before, so that several plans' are at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trtkit import worker
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device, worker_env
from trtkit.backends import registry
from trtkit.measurement.contest import Contest, ContestRule
from trtkit.worker import Log, Progress, WorkerResult

__all__ = ["ContestRequest", "compile_kernels", "contest"]


@dataclass(frozen=True)
class ContestRequest:
    """Who runs against whom.

    Attributes:
        family: who executes both.
        first, second: the artifacts.
        device: where.
        settings: mode, batch, shapes, threads and affinity.
        rule: how long.
        input_std: standard deviation of synthetic floating-point inputs.
        timeout_s: wall time in seconds after which the worker is killed.
        runtime_caches: of each artifact the file with its just-in-time kernels, read if it exists and added to;
            ``None`` where the family has none.
    """

    family: str
    first: Path
    second: Path
    device: Device
    settings: BenchSettings
    rule: ContestRule = field(default_factory=ContestRule)
    input_std: float = 1.0
    timeout_s: float | None = None
    runtime_caches: tuple[Path | None, Path | None] = (None, None)


def contest(request: ContestRequest, on_event: Callable[[Progress | Log], None]) -> Contest:
    """Measure.

    Raises:
        PlanError: the runtime refuses one of them.
        RunError: one does not execute, or the worker died or took too long.
    """
    answer = worker.run(
        "trtkit.backends.contest_jobs:contest",
        {
            "family": request.family,
            "plans": [str(path.absolute()) for path in (request.first, request.second)],
            "device": asdict(request.device),
            "settings": request.settings.to_json(),
            "rule": request.rule.to_json(),
            "input_std": request.input_std,
            "runtime_caches": [str(path.absolute()) if path else None for path in request.runtime_caches],
        },
        what=f"the measurement of {request.first.name} against {request.second.name}",
        env={**registry.worker_env(request.family), **worker_env(request.device)},
        timeout_s=request.timeout_s,
        on_event=on_event,
    )
    return Contest.from_json(answer.value)


def compile_kernels(
    family: str,
    plan: Path,
    runtime_cache: Path,
    device: Device,
    settings: BenchSettings,
    run: Callable[..., WorkerResult] | None = None,
) -> None:
    """Execute a plan for the first time, so that ``runtime_cache`` holds its just-in-time kernels for these shapes.

    Args:
        family, plan: what to execute.
        runtime_cache: the file, read if it exists and added to.
        device, settings: as in :class:`ContestRequest`.
        run: starts the worker and waits for it; ``None`` for :func:`trtkit.worker.run`.

    Raises:
        PlanError: the runtime refuses the plan.
        RunError: it does not execute, or the worker died.
    """
    (run or worker.run)(
        "trtkit.backends.contest_jobs:compile_kernels",
        {
            "family": family,
            "plan": str(plan.absolute()),
            "device": asdict(device),
            "settings": settings.to_json(),
            "runtime_cache": str(runtime_cache.absolute()),
        },
        what=f"the compilation of the kernels of {plan.name}",
        env={**registry.worker_env(family), **worker_env(device)},
    )
