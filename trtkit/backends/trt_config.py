"""Build options in the words of TensorRT's builder configuration; nothing here knows which family asks."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from trtkit.backends.base import BuildOptions
from trtkit.errors import UsageError
from trtkit.worker.protocol import Reporter

__all__ = ["check_timing_cache", "common_config", "progress_monitor"]


def common_config(trt: Any, options: BuildOptions, monitor: Any) -> dict[str, Any]:
    """The arguments that Polygraphy's ``CreateConfig`` and ``CreateConfigRTX`` share."""
    from polygraphy.backend.trt import Profile

    profile = Profile()
    for name, shapes in options.profile.ranges.items():
        # Polygraphy takes names as patterns: "input[0]" would match the input "input0" and no other.
        profile.add(glob.escape(name), shapes.minimum, shapes.optimum, shapes.maximum)
    limits = None
    if options.workspace_bytes is not None:
        limits = {trt.MemoryPoolType.WORKSPACE: options.workspace_bytes}
    return {
        "profiles": [profile],
        "memory_pool_limits": limits,
        "builder_optimization_level": options.optimization_level,
        "refittable": options.refit or None,
        "strip_plan": options.strip_weights or None,
        "sparse_weights": options.sparse_weights or None,
        # The layers with their data types are the proof of precision; without DETAILED they cannot be read back.
        "profiling_verbosity": trt.ProfilingVerbosity.DETAILED,
        "progress_monitor": monitor,
    }


def check_timing_cache(timing_cache: Path | None) -> None:
    """Make sure now that the cache can be written: Polygraphy writes it after the build.

    Raises:
        UsageError: its folder cannot be made, or the file in it not written.
    """
    if timing_cache is None:
        return
    try:
        timing_cache.parent.mkdir(parents=True, exist_ok=True)
        with timing_cache.with_name(f"{timing_cache.name}.lock").open("ab"):  # Polygraphy's lock file
            pass
    except OSError as error:
        raise UsageError(
            f"The timing cache {timing_cache} cannot be written: {error.strerror or error}.",
            hint="Give a file in a folder that you may write to with --timing-cache.",
        ) from error


def progress_monitor(trt: Any, report: Reporter) -> Any:
    """TensorRT's progress monitor, passed on; it is called from the builder's threads."""
    totals: dict[str, tuple[int, str | None]] = {}

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            totals[phase_name] = (num_steps, parent_phase)
            report.progress(phase_name, 0, num_steps, parent_phase)

        def step_complete(self, phase_name: str, step: int) -> bool:
            steps, parent = totals.get(phase_name, (0, None))
            report.progress(phase_name, min(step + 1, steps), steps, parent)
            return True

        def phase_finish(self, phase_name: str) -> None:
            steps, parent = totals.pop(phase_name, (0, None))
            report.progress(phase_name, steps, steps, parent)

    return Monitor()
