"""Running a plan or an ONNX file on seeded inputs, in a worker, for the sake of its outputs. Imports no vendor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trtkit import worker
from trtkit.artifacts.files import json_ready, sha256_json
from trtkit.artifacts.samples import SamplePlan
from trtkit.backends import registry
from trtkit.errors import RunError
from trtkit.worker import Log, Progress, WorkerResult
from trtkit.worker.side_by_side import Crew, side_by_side, spare_processors

__all__ = ["REFERENCE_PROVIDER", "Executed", "Known", "execute", "execute_apart", "execute_reference", "read_outputs"]

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
    shapes = [(case.shapes, case.batch_inputs) for case in samples.cases]
    inputs = [(spec.name, spec.dtype) for spec in samples.inputs]
    return sha256_json(json_ready({"file": sha256, "draw": [samples.seed, samples.std], "in": inputs, "at": shapes}))


def execute(
    family: str,
    file: Path,
    samples: SamplePlan,
    results: Path,
    options: Mapping[str, Any],
    on_event: Callable[[Progress | Log], None],
    run: Callable[..., WorkerResult] = worker.run,
) -> Executed:
    """Run one file in a worker.

    Args:
        family: whose runner.
        file: a plan, or an ONNX file for ``onnxruntime``.
        samples: the inputs to draw.
        results: the .npz file through which the arrays come back.
        options: those of :func:`trtkit.backends.jobs.execute`.
        on_event: is told of progress and log lines.
        run: starts the worker: :func:`trtkit.worker.run`, or as one of several.

    Raises:
        PlanError: the runtime refuses the file.
        RunError: executing it fails, or the worker died.
    """
    answer = run(
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


def execute_apart(
    family: str,
    file: Path,
    samples: SamplePlan,
    folder: Path,
    options: Mapping[str, Any],
    on_event: Callable[[Progress | Log], None],
) -> Executed:
    """As :func:`execute`, each case in a worker of its own, several at a time: for just-in-time kernels.

    They are compiled for each shape, on one processor and for seconds. Where that fails, for memory say, the cases go
    one after the other.

    Raises:
        PlanError, RunError: as for :func:`execute`.
    """
    cases, found = range(len(samples.cases)), dict[int, Executed]()

    def job(index: int, crew: Crew) -> None:
        one = {**options, "only": [index]}
        found[index] = execute(family, file, samples, folder / f"case-{index}.npz", one, on_event, crew.run)

    width = spare_processors(len(cases))
    if width > 1:
        jobs = ((str(index), partial(job, index)) for index in cases)
        done = side_by_side(jobs, width, lambda: float("inf"))
        if not any(done.values()):
            outputs = {name: array for index in cases for name, array in found[index].outputs.items()}
            return Executed(outputs, found[0].where, found[0].provider)
    return execute(family, file, samples, folder / "candidate.npz", options, on_event)


def read_outputs(file: Path, where: str, provider: str | None) -> Executed:
    """Outputs that a worker left in an .npz file."""
    with np.load(file) as saved:
        return Executed({name: saved[name] for name in saved.files}, where, provider)


def execute_reference(
    file: Path,
    samples: SamplePlan,
    results: Path,
    on_event: Callable[[Progress | Log], None],
    *,
    whole: bool = False,
) -> Executed:
    """Run an ONNX file on ONNX Runtime's CPU provider, which alone computes in true FP32.

    Samples that repeat in a large batch are computed once, and their outputs repeated.

    Args:
        file, samples, results, on_event: as for :func:`execute`.
        whole: compute every row, as for a model that mixes the samples of a batch.

    Raises:
        PlanError, RunError: as for :func:`execute`, and where it ran on anything else.
    """
    few = samples if whole else samples.different()
    found = execute("onnxruntime", file, few, results, {"on_cpu": True}, on_event)
    if found.provider != REFERENCE_PROVIDER:
        raise RunError(
            f"The reference ran on {found.provider} instead of {REFERENCE_PROVIDER}.",
            hint="Report this: only the CPU provider computes in true FP32.",
        )
    outputs = _repeated(found.outputs, few, samples)
    if outputs is None:
        return execute_reference(file, samples, results, on_event, whole=True)
    return Executed(outputs, found.where, found.provider)


def _repeated(outputs: Mapping[str, np.ndarray], few: SamplePlan, samples: SamplePlan) -> dict[str, np.ndarray] | None:
    """Outputs of all rows from those of the different ones; ``None`` if one has not a row for each sample."""
    found = dict(outputs)
    for name, array in outputs.items():
        index = int(name.partition("/")[0])
        had, wanted = few.cases[index].batch, samples.cases[index].batch
        if had is None or wanted is None or had == wanted:
            continue
        if array.shape[:1] != (had,):
            return None
        found[name] = array[np.arange(wanted) % had]
    return found
