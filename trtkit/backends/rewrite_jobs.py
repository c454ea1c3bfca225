"""The job that runs a model and its rewritten forms on the same inputs, in ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.artifacts.samples import SamplePlan
from trtkit.environment import cpu_name
from trtkit.errors import BackendUnavailableError, RunError
from trtkit.graph.equality import difference, judge
from trtkit.graph.pixels import channel_axis, normalized
from trtkit.worker.protocol import Reporter

__all__ = ["check"]


@dataclass(frozen=True)
class _Feed:
    """One case: arrays as the source takes them, and as pixels where a rewritten model may take those."""

    arrays: dict[str, np.ndarray]
    pixels: dict[str, np.ndarray]


def check(
    report: Reporter,
    *,
    source: str,
    rewritten: list[str],
    samples: dict[str, Any],
    softmax_axes: dict[str, int],
    precision: str = "fp32",
    data: str | None = None,
    images: bool = False,
    preprocessing: dict[str, Any] | None = None,
    keep: list[str] | None = None,
) -> dict[str, Any]:
    """Run the source and every rewritten model without ONNX Runtime's optimizations, and compare.

    Only where a difference is above what is always allowed is the source run with the optimizations too, to see how
    far they move it. It ends at the first rewritten model that fails, since those after it contain its rewrite.

    Args:
        report: takes the progress.
        source, rewritten: .onnx files.
        samples: :class:`~trtkit.artifacts.samples.SamplePlan` as JSON: seeded inputs.
        softmax_axes: output → axis, for outputs that are a Softmax's.
        precision: the numbers inside the models, ``fp32`` or ``fp16``.
        data: an .npz file with one real batch, an array for every input, as a further case.
        images: some rewritten models take uint8 images, channels last: then those inputs are drawn as pixels, and the
            others get them normalised; ``data`` is not used.
        preprocessing: the normalisation, a :class:`~trtkit.artifacts.preprocessing.Preprocessing` as JSON.
        keep: two .npz files to write, for the outputs of the source and of the last rewritten model on the seeded
            inputs (keys ``CASE/OUTPUT``).

    Returns:
        ``own`` (what the optimizations moved; ``None`` if not finite, or if nobody needed to know), ``cases``,
        ``where``, and ``checks``: for each rewritten model that ran ``difference``, ``limit`` and ``reason``, as in
        :class:`~trtkit.graph.equality.Equality`.

    Raises:
        RunError: the source does not run.
    """
    plan = SamplePlan.from_json(samples)
    feeds = [_Feed(plan.feeds(case), {}) for case in plan.cases]
    labels = [case.label for case in plan.cases]
    if images:
        settings = Preprocessing.from_json(preprocessing) if preprocessing is not None else None
        for index, feed in enumerate(feeds):
            _draw_pixels(feed, [plan.seed, index], settings)
    elif data is not None:
        with np.load(data) as real:
            feeds.append(_Feed({name: real[name] for name in real.files}, {}))
        labels.append("real inputs")
    steps = len(rewritten) + 2
    report.progress("Checking rewrites", 0, steps)
    plain = _outputs(Path(source), feeds, optimized=False)
    report.progress("Checking rewrites", 1, steps)
    optimized: dict[str, np.ndarray] | None = None
    checks: list[dict[str, Any]] = []
    for index, file in enumerate(rewritten):
        report.progress("Checking rewrites", 1 + index, steps)
        try:
            outputs = _outputs(Path(file), feeds, optimized=False)
        except RunError as error:
            checks.append({"difference": None, "limit": None, "reason": error.message})
            break
        found = judge(plain, optimized or plain, outputs, softmax_axes, precision=precision, cases=labels)
        if not found.passed and found.difference is not None and optimized is None:
            report.progress("Checking rewrites", 1 + len(rewritten), steps)
            optimized = _outputs(Path(source), feeds, optimized=True)
            found = judge(plain, optimized, outputs, softmax_axes, precision=precision, cases=labels)
        checks.append({"difference": found.difference, "limit": found.limit, "reason": found.reason})
        if not found.passed:
            break
        if keep is not None and index == len(rewritten) - 1:
            for path, arrays in zip(keep, (plain, outputs), strict=True):
                np.savez(path, **arrays)  # type: ignore[arg-type]
    own = difference(plain, optimized, softmax_axes)[0] if optimized is not None else None
    report.progress("Checking rewrites", steps, steps)
    return {"own": own, "cases": labels, "where": f"ONNX Runtime on {cpu_name()}", "checks": checks}


def _draw_pixels(feed: _Feed, seed: list[int], preprocessing: Preprocessing | None) -> None:
    """Replace floating-point images by uniform pixels, normalised for those who take floating-point numbers."""
    rng = np.random.default_rng(seed)
    for name, values in feed.arrays.items():
        axis = channel_axis(values.shape) if values.dtype.kind == "f" else None
        if axis is not None:
            shape = values.shape if axis == 3 else tuple(values.shape[place] for place in (0, 2, 3, 1))
            feed.pixels[name] = rng.integers(0, 256, shape).astype(np.uint8)
            feed.arrays[name] = normalized(feed.pixels[name], axis, preprocessing).astype(values.dtype)


def _outputs(file: Path, feeds: list[_Feed], *, optimized: bool) -> dict[str, np.ndarray]:
    """``CASE/OUTPUT`` → array, from a session of its own that is gone afterwards."""
    try:
        import onnxruntime as ort

        options = ort.SessionOptions()
    except (ImportError, AttributeError) as error:  # an uninstall of one of two twins leaves an empty namespace
        raise BackendUnavailableError(
            f"ONNX Runtime is needed to check rewrites, and it is missing or damaged: {error}.",
            hint="Install onnxruntime, or pass --rewrite none.",
        ) from error
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    found: dict[str, np.ndarray] = {}
    try:
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        as_pixels = {value.name for value in session.get_inputs() if value.type == "tensor(uint8)"}
        for index, feed in enumerate(feeds):
            pixels = {name: value for name, value in feed.pixels.items() if name in as_pixels}
            values = session.run(names, {**feed.arrays, **pixels})
            found.update({f"{index}/{name}": np.asarray(value) for name, value in zip(names, values, strict=True)})
    except Exception as error:  # ONNX Runtime raises pybind-made classes that share no base but Exception
        raise RunError(
            f"ONNX Runtime cannot run {file.name}: {' '.join(str(error).replace(str(file), file.name).split())[:400]}",
            hint="Mend the model, or pass --rewrite none.",
        ) from error
    return found
