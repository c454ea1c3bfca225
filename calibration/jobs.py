"""What runs in calibration's workers: statistics of inner tensors, and the scores that candidate thresholds give.

A worker reads the data itself, batch by batch, so that only file names and results cross the process boundary, and its
memory does not grow with the number of samples. Engines are reached through the seam: no vendor is imported here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from calibration import checkpoint as checkpoints
from calibration.accuracy import Scorer, scores_of
from calibration.checkpoint import Checkpoint
from calibration.collect import Collector
from calibration.job_data import JobData
from calibration.search import search
from calibration.source import Batch
from calibration.suspicion import suspect
from trtkit.backends import registry
from trtkit.backends.base import LoadOptions, Runner
from trtkit.graph.qdq import scale_name
from trtkit.quant import quant_type, scale_of
from trtkit.worker.protocol import Reporter

__all__ = ["collect", "improve", "score"]

_LOOKED_AT = 4  # batches in which to look for wrong ranges and layouts


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
    identity: dict[str, Any],
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
        identity: what the statistics belong to (hashes of model and data); a checkpoint of another one is refused.
        resume: continue from the checkpoint if there is one.
        checkpoint_s: at least so many seconds between two checkpoints.
    """
    wanted = JobData.from_json(data)
    report.progress("Looking at the data", 0, None)
    dataset, calibration, held_out = wanted.open()
    # Statistics depend on how the samples are cut into batches (values are sampled in each), so that is part of it.
    identity = {**identity, "data": dataset.identity, "batch": wanted.batch, "calibration samples": len(calibration)}
    collector, done = Collector(tensors, exact_only=exact_only), 0
    file = Path(checkpoint)
    kept = checkpoints.load(file, identity) if resume else None
    if kept is not None:
        collector, done = Collector.from_state(kept.state), kept.position
        report.log("info", f"resumed after {done} of {len(calibration)} samples")
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
            if done % wanted.batch == 0 and time.monotonic() - saved > checkpoint_s:
                checkpoints.save(file, Checkpoint(identity, done, collector.state()))
                saved = time.monotonic()
            report.progress("Collecting statistics", done, len(calibration))
        where = runner.where
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
        "identity": dataset.identity,
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


def score(
    report: Reporter,
    *,
    data: dict[str, Any],
    reference: str,
    candidate: str,
    amax: dict[str, dict[str, float]],
    dtype: str,
    softmax_axes: dict[str, int],
    classes: bool,
    everything: bool = False,
) -> dict[str, Any]:
    """Accuracy of each set of thresholds on the held-out samples.

    Args:
        report: takes the progress.
        data: :class:`~calibration.job_data.JobData` as JSON.
        reference: the float ONNX.
        candidate: the Q/DQ ONNX whose scales are inputs (``TENSOR_scale``).
        amax: label → tensor → threshold.
        dtype: ``int8`` or ``fp8``.
        softmax_axes: outputs that are a Softmax's, and its axis.
        classes: whether the model gives one score a class.
        everything: score on all samples, because the data set is one that calibration never saw.

    Returns:
        Label → :class:`~calibration.accuracy.Accuracy` as JSON; empty if nothing is held out.
    """
    wanted = JobData.from_json(data)
    dataset, calibration, held_out = wanted.open()
    if everything:
        held_out = tuple(sorted((*calibration, *held_out)))
    if not held_out:
        return {}
    done = 0
    scorers = {label: Scorer(classes=classes) for label in amax}
    scales = {label: _scale_feeds(thresholds, dtype) for label, thresholds in amax.items()}
    with _load(reference) as float_model, _load(candidate) as quantized:
        for batch in wanted.batches(dataset, held_out):
            truth = scores_of(float_model.run(batch.feeds), softmax_axes)
            for label, scorer in scorers.items():
                got = quantized.run({**batch.feeds, **scales[label]})
                scorer.update(truth, scores_of(got, softmax_axes))
            done += len(batch.ids)
            report.progress("Scoring held-out samples", done, len(held_out))
    if not done:  # every held-out sample turned out unreadable
        report.log("warning", "no held-out sample could be read, so the methods are not compared")
        return {}
    return {label: scorer.accuracy().to_json() for label, scorer in scorers.items()}


def improve(
    report: Reporter,
    *,
    data: dict[str, Any],
    reference: str,
    candidate: str,
    start: dict[str, float],
    order: list[str],
    groups: list[list[str]],
    dtype: str,
    softmax_axes: dict[str, int],
    samples: int,
    seconds: float,
) -> dict[str, Any]:
    """Search for better thresholds on the first ``samples`` calibration samples; see :mod:`calibration.search`.

    Returns:
        ``amax``, ``noise_before``, ``noise_after``, ``evaluations``, ``finished``, ``samples``.
    """
    wanted = JobData.from_json(data)
    dataset, calibration, _ = wanted.open()
    chosen = _spread(calibration, samples)
    batches = [batch.feeds for batch in wanted.batches(dataset, chosen)]
    with _load(reference) as float_model:
        truth = [scores_of(float_model.run(feeds), softmax_axes) for feeds in batches]
    with _load(candidate) as quantized:

        def noise(amax: Mapping[str, float]) -> float:
            scales = _scale_feeds(amax, dtype)
            scorer = Scorer(classes=False)
            for feeds, scores in zip(batches, truth, strict=True):
                scorer.update(scores, scores_of(quantized.run({**feeds, **scales}), softmax_axes))
            return scorer.noise

        found = search(
            start,
            order,
            noise,
            groups=groups,
            seconds=seconds,
            progress=lambda done, total: report.progress("Searching thresholds", done, total),
        )
    return {
        "amax": found.amax,
        "noise_before": found.error_before,
        "noise_after": found.error_after,
        "evaluations": found.evaluations,
        "finished": found.finished,
        "moved": len(found.moved),
        "samples": sum(len(scores) for scores in truth),
    }


def _load(onnx: str) -> Runner:
    return registry.get("onnxruntime").load(Path(onnx), LoadOptions(spinning=False))


def _scale_feeds(amax: Mapping[str, float], dtype: str) -> dict[str, np.ndarray]:
    kind = quant_type(dtype)
    return {scale_name(name): np.asarray(scale_of(value, kind), np.float32) for name, value in amax.items()}


def _spread(indices: Sequence[int], count: int) -> tuple[int, ...]:
    """``count`` of the indices, evenly spread over them, in order."""
    if count >= len(indices):
        return tuple(indices)
    return tuple(indices[position * len(indices) // count] for position in range(count))
