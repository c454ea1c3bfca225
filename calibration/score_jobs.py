"""What runs in calibration's workers once thresholds are there: how good they are, and the search for better ones.

A worker reads the data itself, as for :mod:`calibration.jobs`. One quantized model serves all thresholds: its scales
are inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calibration.accuracy import Scorer, scores_of
from calibration.enough import FEW
from calibration.job_data import JobData
from calibration.search import search
from calibration.source import Batch
from trtkit.backends import registry
from trtkit.backends.base import LoadOptions, Runner
from trtkit.errors import CalibrationError
from trtkit.graph.qdq import scale_name
from trtkit.quant import quant_type, scale_of
from trtkit.worker.protocol import Reporter

__all__ = ["improve", "score"]


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
    seen: dict[str, Any] | None = None,
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
        seen: what reading the calibration samples has shown, of :attr:`calibration.dataset.Dataset.seen`.
        everything: score on all samples, because the data set is one that calibration never saw.

    Returns:
        ``accuracy``: label → :class:`~calibration.accuracy.Accuracy` as JSON, empty if nothing could be scored;
        ``held_out``: how many samples were; ``where``: what executed the float model; ``seen`` and ``description`` of
        the data after this pass.

    Raises:
        CalibrationError: the float model's scores of a sample are not finite.
    """
    wanted = JobData.from_json(data)
    dataset, calibration, held_out = wanted.open()
    dataset.recall(seen or {"left_out": {}, "notes": {}})
    if everything:
        held_out = tuple(sorted((*calibration, *held_out)))
    done = 0
    scorers = {label: Scorer(classes=classes) for label in amax}
    scales = {label: _scale_feeds(thresholds, dtype) for label, thresholds in amax.items()}
    with _load(reference) as float_model, _load(candidate) as quantized:
        for batch in wanted.batches(dataset, held_out):
            truth = scores_of(float_model.run(batch.feeds), softmax_axes)
            _refuse_not_finite(truth, batch)
            for label, scorer in scorers.items():
                got = quantized.run({**batch.feeds, **scales[label]})
                scorer.update(truth, scores_of(got, softmax_axes))
            done += len(batch.ids)
            report.progress("Scoring held-out samples", done, len(held_out))
        where = float_model.where
    if done and next(iter(scorers.values())).constant:
        report.log(
            "warning",
            f"the float model gives the same scores for all of the {done} held-out samples, so nothing can be said "
            "about accuracy: look at the preprocessing and the weights",
        )
    if not done:
        report.log("warning", f"none of the {len(held_out)} held-out samples can be used, so nothing is compared")
    return {
        "accuracy": {label: scorer.accuracy().to_json() for label, scorer in scorers.items()} if done else {},
        "held_out": done,
        "where": where,
        "seen": dataset.seen,
        "description": dataset.description,
    }


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
    seen: dict[str, Any],
    samples: int,
    seconds: float,
) -> dict[str, Any]:
    """Search for better thresholds on ``samples`` of the calibration samples; see :mod:`calibration.search`.

    Returns:
        ``amax``, ``noise_before``, ``noise_after``, ``evaluations``, ``finished``, ``samples``.
    """
    wanted = JobData.from_json(data)
    dataset, calibration, _ = wanted.open()
    dataset.recall(seen)
    whole = -(-samples // wanted.batch) * wanted.batch if wanted.fixed else samples
    chosen = _spread(dataset.usable(calibration), whole)
    if (different := dataset.distinct(chosen)) < FEW and not dataset.description["synthetic"]:
        report.log(
            "warning",
            f"the search looks at {different} different sample{'s' if different > 1 else ''}: with fewer than {FEW} it "
            "may fit the thresholds to their noise, which only held-out samples can show",
        )
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


def _refuse_not_finite(scores: np.ndarray, batch: Batch) -> None:
    bad = [name for name, row in zip(batch.ids, np.isfinite(scores).all(axis=1), strict=True) if not row]
    if bad:
        raise CalibrationError(
            f"The float model's scores of {len(bad)} held-out samples are not finite; the first is {bad[0]}.",
            hint="Remove or repair these samples; if they are right, the model overflows in float32.",
        )


def _scale_feeds(amax: Mapping[str, float], dtype: str) -> dict[str, np.ndarray]:
    kind = quant_type(dtype)
    return {scale_name(name): np.asarray(scale_of(value, kind), np.float32) for name, value in amax.items()}


def _spread(indices: Sequence[int], count: int) -> tuple[int, ...]:
    """``count`` of the indices, evenly spread over them, in order."""
    if count >= len(indices):
        return tuple(indices)
    return tuple(indices[position * len(indices) // count] for position in range(count))
