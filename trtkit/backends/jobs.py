"""The jobs that workers run: functions from JSON-ready arguments to JSON-ready values, one call of the seam each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.samples import SampleCase, SamplePlan
from trtkit.backends import registry
from trtkit.backends.base import BuildOptions, LoadOptions
from trtkit.worker.protocol import Reporter

__all__ = ["build", "execute", "layers", "probe"]


def probe(report: Reporter, *, family: str) -> dict[str, Any]:
    """What a family can do on this machine: :class:`~trtkit.backends.base.Capabilities` as JSON."""
    return registry.get(family).capabilities().to_json()


def build(report: Reporter, *, family: str, onnx: str, plan: str, options: dict[str, Any]) -> dict[str, Any]:
    """Build a plan file; returns :class:`~trtkit.backends.base.BuildOutcome` as JSON."""
    return registry.get(family).build(Path(onnx), Path(plan), BuildOptions.from_json(options), report).to_json()


def layers(report: Reporter, *, family: str, plan: str) -> dict[str, Any] | None:
    """The layers of a plan from its loaded engine, as JSON."""
    found = registry.get(family).layers(Path(plan))
    return found.to_json() if found is not None else None


def drawn(spec: TensorSpec, wanted: SamplePlan, case: SampleCase) -> np.ndarray | None:
    """One input's seeded values in the type that a runner takes; ``None`` for an input that the plan does not draw."""
    feeds = wanted.feeds(case, only=spec.name)
    return feeds[spec.name].astype(spec.dtype, copy=False) if spec.name in feeds else None


def execute(
    report: Reporter,
    *,
    family: str,
    plan: str,
    samples: dict[str, Any],
    results: str,
    runtime_cache: str | None = None,
    on_cpu: bool = False,
    tf32: bool = False,
    host_code: bool = False,
    only: list[int] | None = None,
) -> dict[str, Any]:
    """Run a plan on seeded samples and save every output to ``results`` (.npz, keys ``CASE/OUTPUT``).

    Args:
        report: takes the progress.
        family, plan: what to load.
        samples: :class:`~trtkit.artifacts.samples.SamplePlan` as JSON.
        results: the .npz file to write.
        runtime_cache: just-in-time kernels of TensorRT-RTX, read and added to.
        on_cpu: keep ONNX Runtime on the CPU, as the reference must be.
        tf32: let ONNX Runtime's CUDA provider multiply FP32 in TF32.
        host_code: let the native code inside a version-compatible plan run.
        only: positions of the cases to run; ``None`` for all.

    Returns:
        ``where`` it ran, and ``provider`` (ONNX Runtime's own word for it; ``None`` for other families).
    """
    wanted = SamplePlan.from_json(samples)
    cache = Path(runtime_cache) if runtime_cache else None
    options = LoadOptions(on_cpu=on_cpu, tf32=tf32, runtime_cache=cache, host_code=host_code)
    runner = registry.get(family).load(Path(plan), options)
    outputs: dict[str, np.ndarray] = {}
    with runner:
        cases = [(index, case) for index, case in enumerate(wanted.cases) if only is None or index in only]
        for done, (index, case) in enumerate(cases):
            report.progress(f"Running on {runner.where}", done, len(cases))
            # The same values for every side, in the types that this side takes (an fp16 plan's may be float16).
            feeds = {spec.name: value for spec in runner.inputs if (value := drawn(spec, wanted, case)) is not None}
            outputs |= {f"{index}/{name}": value for name, value in runner.run(feeds).items()}
        report.progress(f"Running on {runner.where}", len(cases), len(cases))
    np.savez(results, **outputs)  # type: ignore[arg-type]
    return {"where": runner.where, "provider": getattr(runner, "provider", None)}
