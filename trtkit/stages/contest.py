"""Two artifacts → which is faster, by how much, and how sure that is: measured in turn, in a worker of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trtkit import worker
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device, worker_env
from trtkit.backends import registry
from trtkit.measurement.contest import Contest, ContestRule
from trtkit.worker import Log, Progress

__all__ = ["ContestRequest", "contest"]


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
    """

    family: str
    first: Path
    second: Path
    device: Device
    settings: BenchSettings
    rule: ContestRule = field(default_factory=ContestRule)
    input_std: float = 1.0
    timeout_s: float | None = None


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
        },
        what=f"the measurement of {request.first.name} against {request.second.name}",
        env={**registry.worker_env(request.family), **worker_env(request.device)},
        timeout_s=request.timeout_s,
        on_event=on_event,
    )
    return Contest.from_json({name: value for name, value in answer.value.items() if name != "device"})
