"""Worker job: how long each layer takes, by the vendor's own profiler, in iterations made for the purpose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.backends import bench_setup, registry
from trtkit.backends.base import LoadOptions
from trtkit.errors import RunError, UsageError
from trtkit.worker.protocol import Reporter

__all__ = ["layer_times", "ort_layer_times"]

LayerTimes = list[list[tuple[str, float]]]


def layer_times(
    report: Reporter,
    *,
    family: str,
    plan: str,
    device: dict[str, Any],
    settings: dict[str, Any],
    folder: str,
    input_std: float,
    data: str | None,
    host_code: bool,
    warmup: int,
    iterations: int,
) -> LayerTimes:
    """For each iteration, (layer, milliseconds) in order of execution.

    Args:
        report: takes the progress.
        family, plan, device, settings, input_std, data, host_code: as :func:`trtkit.backends.bench_jobs.measure`.
        folder: for the vendor's own files.
        warmup, iterations: how many are made, and how many of them counted.

    Raises:
        UsageError: the family has no profiler.
        PlanError, RunError: as the family's.
    """
    here, chosen = Device(**device), BenchSettings.from_json(settings)
    bench_setup.pin(chosen.affinity)
    options = bench_setup.load_options(chosen, here, None, host_code)
    report.progress("Profiling layers", 0, 1)
    with registry.get(family).load(Path(plan), options) as runner:
        chosen = bench_setup.with_shapes(runner.inputs, chosen)
        feeds = bench_setup.input_sets(runner.inputs, chosen, input_std, Path(data) if data else None, here)[0]
        own = getattr(runner, "layer_times", None)
        if own is not None:
            found: LayerTimes = own(feeds, chosen, warmup=warmup, iterations=iterations)
        elif registry.get(family).capabilities().refuses_export("profile", here.kind) is None:
            arrays = {name: np.asarray(values) for name, values in feeds.items()}
            found = ort_layer_times(Path(plan), options, arrays, Path(folder), warmup=warmup, iterations=iterations)
        else:
            raise UsageError(f"The {family} family has no layer profile.", hint="Leave --export-profile out.")
    report.progress("Profiling layers", 1, 1)
    return found


def ort_layer_times(
    onnx: Path, options: LoadOptions, feeds: Mapping[str, np.ndarray], folder: Path, *, warmup: int, iterations: int
) -> LayerTimes:
    """The same of ONNX Runtime on the CPU, from the trace that its profiler writes (nodes after fusion).

    Raises:
        RunError: executing failed, or the trace holds no such iterations.
    """
    from trtkit.backends.ort import session
    from trtkit.backends.ort_timed import first_line

    made = session(onnx, options, profile=folder / "onnxruntime")
    try:
        for _ in range(warmup + iterations):
            made.run(None, dict(feeds))
        events = json.loads(Path(made.end_profiling()).read_text())
    except Exception as error:  # ONNX Runtime raises pybind-made classes that share no base but Exception
        raise RunError(
            f"ONNX Runtime failed under its profiler: {first_line(error)}", hint="Leave --export-profile out."
        ) from error
    runs = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("name") == "model_run")
    nodes = sorted(
        (event["ts"], event["name"].removesuffix("_kernel_time"), event["dur"] / 1e3)
        for event in events
        if event.get("cat") == "Node" and str(event["name"]).endswith("_kernel_time")
    )
    if len(runs) != warmup + iterations:
        raise RunError(
            f"ONNX Runtime's profile holds {len(runs)} iterations instead of {warmup + iterations}.",
            hint="Report this: its format has changed.",
        )
    return [[(name, ms) for ts, name, ms in nodes if start <= ts <= end] for start, end in runs[warmup:]]
