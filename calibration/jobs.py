"""What runs in calibration's first worker: statistics of inner tensors, and the thresholds that each method chooses.

A worker reads the data itself, batch by batch, so that only file names and results cross the process boundary, and its
memory does not grow with the number of samples. Engines are reached through the seam: no vendor is imported here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from calibration import checkpoint as checkpoints
from calibration.checkpoint import Checkpoint
from calibration.collect import Collector
from calibration.enough import few, refuse_none
from calibration.job_data import JobData
from calibration.source import Batch
from calibration.suspicion import suspect
from trtkit.artifacts.files import sha256_json
from trtkit.backends import registry
from trtkit.backends.base import LoadOptions
from trtkit.worker.protocol import Reporter

__all__ = ["collect"]

_LOOKED_AT = 4  # batches in which to look for wrong ranges and layouts
_NOTHING_KEPT = "no checkpoint is there to continue from: the calibration starts at the beginning"


def collect(
    report: Reporter,
    *,
    data: dict[str, Any],
    observed: str,
    tensors: list[str],
    exact_only: list[str],
    methods: list[str],
    dtype: str,
    checkpoint: str,
    model: str,
    resume: bool,
    checkpoint_s: float = 5.0,
) -> dict[str, Any]:
    """Run the calibration samples through the float model and choose thresholds by every method.

    Args:
        report: takes progress and warnings.
        data: :class:`~calibration.job_data.JobData` as JSON.
        observed: the ONNX whose outputs are the tensors to look at.
        tensors: their names; graph inputs may be among them.
        exact_only: tensors that get their exact maximum whatever the method (the graph input: raw pixels are discrete).
        methods: ``minmax``, ``percentile[:P]``, ``entropy``, ``mse``.
        dtype: ``int8`` or ``fp8``.
        checkpoint: the file that keeps the statistics so far, for ``resume``.
        model: SHA-256 of the float model; a checkpoint of another model, data or settings is refused.
        resume: continue from the checkpoint if there is one.
        checkpoint_s: at least so many seconds between two checkpoints.

    Raises:
        CalibrationError: no sample can be used, a value is not finite, or the checkpoint is of something else.
    """
    wanted = JobData.from_json(data)
    report.progress("Looking at the data", 0, None)
    dataset, calibration, held_out = wanted.open()
    if wanted.fixed and (held := wanted.held_out_of(len(dataset))) != wanted.holdout:
        report.log(
            "info",
            f"the model takes exactly {wanted.batch} samples at a time: {held:.0f} of {len(dataset)} are held out, "
            f"{len(dataset) % wanted.batch} are left over",
        )
    identity = {"model": model, **wanted.identity(dataset, calibration)}
    identity["tensors"] = f"{len(tensors)}, SHA-256 {sha256_json([tensors, exact_only])[:12]}"
    collector, done = Collector(tensors, exact_only=exact_only), 0
    file = Path(checkpoint)
    kept = checkpoints.load(file, identity) if resume else None
    if kept is not None:
        collector, done = Collector.from_state(kept.state), kept.position
        dataset.recall(kept.seen)
    if resume:
        report.log("info", f"continued after {done} of {len(calibration)} samples" if kept else _NOTHING_KEPT)
    elif file.exists():
        report.log("info", "an interrupted calibration was there and is not continued, for want of --resume")
    inference_s = statistics_s = 0.0
    saved = time.monotonic()
    place = {index: position for position, index in enumerate(calibration)}
    with registry.get("onnxruntime").load(Path(observed), LoadOptions()) as runner:
        for batch in _looked_at(wanted.batches(dataset, calibration[done:]), wanted, report, first=done == 0):
            started = time.perf_counter()
            outputs = {**batch.feeds, **runner.run(batch.feeds)}
            inferred = time.perf_counter()
            collector.update({name: outputs[name] for name in tensors}, batch.ids)
            inference_s += inferred - started
            statistics_s += time.perf_counter() - inferred
            done = place[batch.indices[-1]] + 1
            if time.monotonic() - saved > checkpoint_s:
                checkpoints.save(file, Checkpoint(identity, done, collector.state(), dataset.seen))
                saved = time.monotonic()
            report.progress("Collecting statistics", done, len(calibration))
        where = runner.where
    refuse_none(dataset, calibration)
    if warning := few(dataset, calibration):
        report.log("warning", warning)
    report.progress("Choosing thresholds", 0, len(methods))
    amax: dict[str, dict[str, float]] = {}
    for index, method in enumerate(methods, start=1):
        amax[method] = collector.amax(method, dtype)
        report.progress("Choosing thresholds", index, len(methods))
    return {
        "amax": amax,
        "dead": list(collector.dead),
        "samples": collector.samples,
        "held_out": len(held_out),
        "seen": dataset.seen,
        "description": dataset.description,
        "where": where,
        "inference_s": inference_s,
        "statistics_s": statistics_s,
    }


def _looked_at(batches: Iterator[Batch], wanted: JobData, report: Reporter, *, first: bool) -> Iterator[Batch]:
    """The same batches; the first few are looked at for wrong ranges and layouts."""
    if not first:
        yield from batches
        return
    head = [batch for _, batch in zip(range(_LOOKED_AT), batches, strict=False)]
    for warning in suspect(head, wanted.inputs, wanted.preprocessing):
        report.log("warning", warning)
    yield from chain(head, batches)
