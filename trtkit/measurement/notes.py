"""What a reader of a valid measurement should know, each with the next step: pure functions of a result.

Limits with a source: CoV 2.5 %, enqueue above 0.8 of the computation and copies as long as the computation are where
trtexec warns. The others are trtkit's own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trtkit import stats
from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.finding import Finding
from trtkit.measurement.notes_engine import (
    above_measured_peak,
    compiled_first,
    no_graph,
    other_precision,
    serves_a_range,
    unchecked,
)
from trtkit.units import seconds_text

__all__ = ["RULES", "notes"]

_UNSTABLE = 0.025  # coefficient of variation
_CLOCK_MOVED = 0.05  # of the highest clock seen
_ENQUEUE_SHARE = 0.8
_FOREIGN_CPU = 0.05


def notes(result: BenchResult) -> tuple[Finding, ...]:
    """Every note that applies; none for a timeline without samples, except those about how it was made."""
    return tuple(finding for rule in RULES if (finding := rule(result)) is not None)


def unstable(result: BenchResult) -> Finding | None:
    """Computing times that spread."""
    cov = stats.coefficient_of_variation(result.timeline.column("compute_ms").tolist()) if _some(result) else None
    if cov is None or cov <= _UNSTABLE:
        return None
    step = (
        "Keep other work off these processors, or give fewer with --affinity; compare medians, not means."
        if _on_cpu(result)
        else "Lock the clocks (nvidia-smi -lgc), measure for longer, and compare medians, not means."
    )
    return Finding("unstable", f"Computing times vary by {cov:.1%} (CoV; limit 2.5 %).", step, {"cov": cov})


def not_confident(result: BenchResult) -> Finding | None:
    """The time ran out before the median was known as well as was asked."""
    if result.conditions.stopped != "max-duration" or not _some(result):
        return None
    times = result.timeline.column("compute_ms")
    interval = stats.median_interval(times)
    median = stats.percentile(times, 50)
    width = (interval[1] - interval[0]) / median if interval is not None and median > 0 else None
    if width is not None and width <= result.settings.confidence:
        return None
    asked, longest = result.settings.confidence, seconds_text(result.settings.max_duration_s)
    known = f"is {width:.2%} wide" if width is not None else "cannot be told from so few iterations"
    return Finding(
        "not-confident",
        f"After {longest} the median's 95 % interval {known}; {asked:.2%} was asked.",
        "Give it more time with --max-duration, or a quieter machine.",
        {"width": width, "confidence": asked},
    )


def few_samples(result: BenchResult) -> Finding | None:
    """Fewer iterations than were asked for."""
    count, least = len(result.timeline), result.settings.min_iterations
    if count >= least or result.conditions.stopped == "fixed":
        return None
    return Finding(
        "few-samples",
        f"{count} iteration{'s' * (count != 1)} fitted into {seconds_text(result.settings.max_duration_s)}; {least} "
        "were asked for.",
        "Give it more time with --max-duration, or a smaller batch.",
        {"count": count, "min_iterations": least},
    )


def clock_moved(result: BenchResult) -> Finding | None:
    """SM clocks that changed during the run."""
    clocks = result.conditions.sm_clock_mhz
    if not clocks or max(clocks) - min(clocks) <= _CLOCK_MOVED * max(clocks):
        return None
    return Finding(
        "clock-moved",
        f"The SM clock moved between {min(clocks)} and {max(clocks)} MHz (median {np.median(clocks):.0f} MHz).",
        "Lock it for repeatable numbers (nvidia-smi -lgc); a cold or idle card needs a longer warm-up.",
        {"lowest_mhz": min(clocks), "highest_mhz": max(clocks)},
    )


def power_capped(result: BenchResult) -> Finding | None:
    """Full load at the power limit."""
    fraction = result.conditions.throttle_reasons.get("sw_power_cap", 0)
    if not fraction:
        return None
    limit = f" of {result.device.power_limit_w:.0f} W" if result.device.power_limit_w else ""
    return Finding(
        "power-capped",
        f"The card ran at its power limit{limit} in {fraction:.0%} of the samples, which is normal at full load.",
        "Compare only with cards of the same power limit.",
        {"fraction": fraction, "power_limit_w": result.device.power_limit_w},
    )


def enqueue_bound(result: BenchResult) -> Finding | None:
    """The host takes about as long to start the work as the device to do it."""
    if _on_cpu(result) or not _some(result):
        return None
    enqueue, compute = _median(result, "enqueue_ms"), _median(result, "compute_ms")
    if enqueue <= _ENQUEUE_SHARE * compute:
        return None
    return Finding(
        "enqueue-bound",
        f"The host needs {enqueue:.3f} ms to start what takes {compute:.3f} ms (more than 0.8 of it): launches may be "
        "what is measured, as is normal at batch 1.",
        "Use CUDA graphs (--mode compute-graph) or a larger batch.",
        {"enqueue_ms": enqueue, "compute_ms": compute},
    )


def copy_bound(result: BenchResult) -> Finding | None:
    """A copy takes as long as the computation."""
    if not _some(result):
        return None
    compute = _median(result, "compute_ms")
    longest = max(("h2d_ms", "d2h_ms"), key=lambda part: _median(result, part))
    copy = _median(result, longest)
    if copy < compute or copy <= 0:
        return None
    way = "in" if longest == "h2d_ms" else "out"
    return Finding(
        "copy-bound",
        f"Copying {way} takes {copy:.3f} ms, the computation {compute:.3f} ms.",
        "Hand over uint8 images (--input-dtype uint8), keep the data on the device, or read fewer outputs."
        if way == "in"
        else "Read fewer or smaller outputs, or keep them on the device.",
        {"copy_ms": copy, "compute_ms": compute},
    )


def unsteady_warmup(result: BenchResult) -> Finding | None:
    """A warm-up that had to be cut off."""
    warmup = result.conditions.warmup
    if warmup.get("steady", True):
        return None
    return Finding(
        "warm-up-cut",
        f"After {seconds_text(warmup.get('seconds'))} of warm-up the iterations were still becoming faster.",
        "Measure again with a longer --warmup; the runtime may still have been compiling.",
        {"seconds": warmup.get("seconds"), "last_ms": warmup.get("last_ms")},
    )


def shared_cpu(result: BenchResult) -> Finding | None:
    """Processors that others used too."""
    share = result.conditions.foreign_cpu
    if share is None or share <= _FOREIGN_CPU:
        return None
    return Finding(
        "shared-cpu",
        f"{share:.0%} of the processors' time went to other processes (limit 5 %).",
        "Stop other work, or choose other processors with --affinity.",
        {"foreign_cpu": share},
    )


RULES: tuple[Callable[[BenchResult], Finding | None], ...] = (
    unstable,
    not_confident,
    few_samples,
    clock_moved,
    power_capped,
    enqueue_bound,
    copy_bound,
    compiled_first,
    unsteady_warmup,
    no_graph,
    serves_a_range,
    unchecked,
    shared_cpu,
    other_precision,
    above_measured_peak,
)
"""Every note there is."""


def _some(result: BenchResult) -> bool:
    return len(result.timeline) > 0


def _on_cpu(result: BenchResult) -> bool:
    return result.device.device.startswith("cpu")


def _median(result: BenchResult, column: str) -> float:
    return stats.percentile(result.timeline.column(column), 50)
