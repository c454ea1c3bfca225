"""Running a plan or an ONNX file on seeded inputs, in a worker, for the sake of its outputs. Imports no vendor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trtkit import worker
from trtkit.artifacts.files import json_ready, sha256_json
from trtkit.artifacts.samples import SamplePlan
from trtkit.backends import registry
from trtkit.errors import RunError
from trtkit.worker import Log, Progress

__all__ = ["REFERENCE_PROVIDER", "Executed", "Known", "execute", "execute_reference", "read_outputs"]

REFERENCE_PROVIDER = "CPUExecutionProvider"
"""What a reference must have run on. ONNX Runtime falls back in silence: the session is asked, and this is checked."""


@dataclass(frozen=True)
class Executed:
    """What one side gave.

    Attributes:
        outputs: ``CASE/OUTPUT`` → array, cases counted from 0.
        where: the device, for people.
        provider: ONNX Runtime's own word for it; ``None`` for other families.
    """

    outputs: dict[str, np.ndarray]
    where: str
    provider: str | None


class Known:
    """Outputs of this conversion that ONNX Runtime gave on the CPU already: the same bytes on the same inputs.

    The check of rewrites runs the source and the rewritten model; a validation of just these two files on just these
    inputs would find the same numbers again.
    """

    def __init__(self) -> None:
        self._found: dict[str, Executed] = {}

    def keep(self, sha256: str, samples: SamplePlan, found: Executed) -> None:
        """Remember what the file of this hash gave."""
        self._found[_key(sha256, samples)] = found

    def find(self, sha256: str, samples: SamplePlan) -> Executed | None:
        """What the file of this hash gave on these inputs, if it was run."""
        return self._found.get(_key(sha256, samples))


def _key(sha256: str, samples: SamplePlan) -> str:
    shapes = [case.shapes for case in samples.cases]
    inputs = [(spec.name, spec.dtype) for spec in samples.inputs]
    return sha256_json(json_ready({"file": sha256, "draw": [samples.seed, samples.std], "in": inputs, "at": shapes}))


def execute(
    family: str,
    file: Path,
    samples: SamplePlan,
    results: Path,
    options: Mapping[str, Any],
    on_event: Callable[[Progress | Log], None],
) -> Executed:
    """Run one file in a worker.

    Args:
        family: whose runner.
        file: a plan, or an ONNX file for ``onnxruntime``.
        samples: the inputs to draw.
        results: the .npz file through which the arrays come back.
        options: those of :func:`trtkit.backends.jobs.execute`.
        on_event: is told of progress and log lines.

    Raises:
        PlanError: the runtime refuses the file.
        RunError: executing it fails, or the worker died.
    """
    answer = worker.run(
        "trtkit.backends.jobs:execute",
        {
            "family": family,
            "plan": str(file.absolute()),
            "samples": samples.to_json(),
            "results": str(results),
            **options,
        },
        what=f"the execution of {file.name}",
        env=registry.worker_env(family),
        on_event=on_event,
    )
    return read_outputs(results, answer.value["where"], answer.value["provider"])


def read_outputs(file: Path, where: str, provider: str | None) -> Executed:
    """Outputs that a worker left in an .npz file."""
    with np.load(file) as saved:
        return Executed({name: saved[name] for name in saved.files}, where, provider)


def execute_reference(
    file: Path, samples: SamplePlan, results: Path, on_event: Callable[[Progress | Log], None]
) -> Executed:
    """Run an ONNX file on ONNX Runtime's CPU provider, which alone computes in true FP32.

    Raises:
        PlanError, RunError: as for :func:`execute`, and where it ran on anything else.
    """
    found = execute("onnxruntime", file, samples, results, {"on_cpu": True}, on_event)
    if found.provider != REFERENCE_PROVIDER:
        raise RunError(
            f"The reference ran on {found.provider} instead of {REFERENCE_PROVIDER}.",
            hint="Report this: only the CPU provider computes in true FP32.",
        )
    return found
