"""ONNX → plan: in a worker, with progress, and by atomic rename."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trtkit import worker
from trtkit.artifacts.files import atomic_path, sha256_file
from trtkit.artifacts.model import OnnxModel
from trtkit.backends import registry
from trtkit.backends.base import BuildOptions, BuildOutcome, Capabilities
from trtkit.errors import BuildError
from trtkit.worker import Log, Progress, WorkerResult

__all__ = ["BuiltPlan", "build"]


@dataclass(frozen=True)
class BuiltPlan:
    """A plan on the disk.

    Attributes:
        path, sha256, bytes: the file.
        outcome: what the builder found out.
        seconds: wall time of the job in the worker, its imports included.
        peak_rss_bytes: largest resident set of the worker; ``None`` where the system does not tell.
    """

    path: Path
    sha256: str
    bytes: int
    outcome: BuildOutcome
    seconds: float
    peak_rss_bytes: int | None


def build(
    onnx: OnnxModel,
    plan: Path,
    capabilities: Capabilities,
    options: BuildOptions,
    on_event: Callable[[Progress | Log], None],
    run: Callable[..., WorkerResult] | None = None,
) -> BuiltPlan:
    """Build ``onnx`` into the file ``plan`` with the family that ``capabilities`` describes.

    Args:
        onnx: the model, in the precision of the plan.
        plan: the file to write.
        capabilities: of the family, on this machine.
        options: how to build.
        on_event: is told what the worker reports.
        run: starts the worker and waits for it; ``None`` for :func:`trtkit.worker.run`.

    Raises:
        UsageError: the family cannot honour an option.
        ModelError: the vendor's parser refuses the model.
        BuildError: the vendor's builder fails, or its worker dies.
    """
    capabilities.check(options)
    with atomic_path(plan) as scratch:
        answer = (run or worker.run)(
            "trtkit.backends.jobs:build",
            {
                "family": capabilities.family,
                "onnx": str(onnx.path.absolute()),
                "plan": str(scratch.absolute()),
                "options": options.to_json(),
            },
            what=f"the {capabilities.family} build of {onnx.name}",
            died=BuildError,
            env=registry.worker_env(capabilities.family),
            on_event=on_event,
        )
        size = scratch.stat().st_size
        if size == 0:
            raise BuildError(
                f"The {capabilities.family} family reported success but wrote an empty plan.",
                hint="Check the free disk space, then try again.",
                log=answer.log,
            )
        sha256 = sha256_file(scratch)
    return BuiltPlan(plan, sha256, size, BuildOutcome.from_json(answer.value), answer.seconds, answer.peak_rss_bytes)
