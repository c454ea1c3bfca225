"""Worker job: the reference of a benchmark's spot check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trtkit.artifacts.model import TensorSpec
from trtkit.backends import registry
from trtkit.backends.base import LoadOptions
from trtkit.errors import UsageError
from trtkit.worker.protocol import Reporter

__all__ = ["reference"]


def reference(report: Reporter, *, onnx: str, arrays: str, results: str) -> dict[str, Any]:
    """Execute an ONNX file in true FP32 on the rows that a benchmark checked.

    A file of a fixed, larger batch gets them again and again until it is full.

    Args:
        report: of the worker; not used, one run is short.
        onnx: the reference.
        arrays: the results of :func:`trtkit.backends.bench_jobs.measure`.
        results: the .npz file for its outputs, ``out/NAME``.

    Returns:
        ``where`` it ran, and ``provider``.
    """
    runner = registry.get("onnxruntime").load(Path(onnx), LoadOptions(on_cpu=True))
    with runner, np.load(arrays) as given:
        missing = [spec.name for spec in runner.inputs if f"in/{spec.name}" not in given.files]
        if missing:
            raise UsageError(
                f"The reference {Path(onnx).name} has an input {', '.join(missing)} that the benchmarked plan has not.",
                hint="Give the model that the plan was built from.",
            )
        rows = {spec.name: given[f"in/{spec.name}"] for spec in runner.inputs}
        feeds = {spec.name: _filled(rows[spec.name], spec) for spec in runner.inputs}
        more = next((len(rows[name]) for name, array in feeds.items() if array.shape != rows[name].shape), None)
        found = runner.run(feeds).items()
        outputs: dict[str, np.ndarray] = {
            f"out/{name}": value if more is None else value[:more] for name, value in found
        }
    np.savez(results, **outputs)  # type: ignore[arg-type]
    return {"where": runner.where, "provider": getattr(runner, "provider", None)}


def _filled(rows: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """The rows in the reference's type, repeated up to its fixed batch."""
    rows = rows.astype(spec.dtype, copy=False)
    wanted = spec.shape[0] if spec.shape else None
    if not isinstance(wanted, int) or wanted <= len(rows):
        return rows
    return rows[np.arange(wanted) % len(rows)]
