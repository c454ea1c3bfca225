"""What a reader should know of the engine behind a measurement: how it was made, checked and started."""

from __future__ import annotations

import numpy as np

from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.finding import Finding
from trtkit.artifacts.profile import shape_text
from trtkit.units import seconds_text

__all__ = ["above_measured_peak", "compiled_first", "no_graph", "other_precision", "serves_a_range", "unchecked"]

_JIT_TIMES, _JIT_S = 10, 0.2  # the first iteration took this many times the median, and this long


def compiled_first(result: BenchResult) -> Finding | None:
    """A first iteration that was the compiler's."""
    first = result.conditions.warmup.get("first_ms")
    if first is None or not len(result.timeline):
        return None
    median = float(np.median(result.timeline.column("latency_ms")))
    if first < _JIT_S * 1e3 or first < _JIT_TIMES * median:
        return None
    return Finding(
        "compiled-first",
        f"The first iteration of this shape took {seconds_text(first / 1e3)}, later ones {median:.3f} ms: the runtime "
        "compiled or tuned just in time. It is not in the numbers.",
        "Keep the compiled kernels in a runtime cache, and warm up each shape in production."
        if result.subject.family == "tensorrt-rtx"
        else "Warm up each shape in production.",
        {"first_ms": first, "latency_ms": median},
    )


def no_graph(result: BenchResult) -> Finding | None:
    """A CUDA graph that was wanted and could not be captured."""
    problem = result.conditions.facts.get("graph_problem")
    if not problem:
        return None
    return Finding(
        "graph-not-captured",
        f"No CUDA graph was captured, so plain launches were timed: {problem}",
        "Compare it with mode compute, not with other engines' graphs.",
        {"problem": problem},
    )


def unchecked(result: BenchResult) -> Finding | None:
    """Outputs that nobody compared with a reference."""
    check = result.conditions.check or {}
    if check.get("matches") is not None:
        return None
    why = check.get("problem") or check.get("run_problem")
    return Finding(
        "unchecked",
        "The outputs were not compared with a reference" + (f": {why}" if why else "."),
        "Validate the plan with trtkit validate before the number is quoted.",
        {"compared_with_plain_run": check.get("run_matches")},
    )


def other_precision(result: BenchResult) -> Finding | None:
    """What was proved is not what was asked."""
    asked, observed = result.subject.precision, result.subject.observed
    if observed is None or asked in [part.strip() for part in observed.split("+")]:
        return None
    return Finding(
        "other-precision",
        f"Asked was {asked}, observed is {observed}: {(result.subject.proof or 'see the manifest').rstrip('.')}.",
        "Quote it as what was observed.",
        {"asked": asked, "observed": observed},
    )


def above_measured_peak(result: BenchResult) -> Finding | None:
    """More than the GEMM that was measured beside it."""
    fraction = result.fraction_of_peak
    if fraction is None or fraction <= 1 or not (result.peak_source or "").startswith("measured"):
        return None
    return Finding(
        "above-measured-peak",
        f"{fraction:.0%} of the matrix product measured beside it: that one was disturbed, or is not the fastest that "
        "this processor can.",
        "Measure again on a quiet machine before quoting the percentage.",
        {"fraction_of_peak": fraction},
    )


def serves_a_range(result: BenchResult) -> Finding | None:
    """An engine that was built for more shapes than the one measured."""
    ranges: dict[str, list[list[int]]] = result.conditions.facts.get("profile_ranges") or {}
    wide = {name: corners for name, corners in ranges.items() if corners[0] != corners[-1]}
    if not wide:
        return None
    ends = {name: [shape_text(corners[end]) for end in (0, -1)] for name, corners in wide.items()}
    text = ", ".join(f"{name} {low} to {high}" for name, (low, high) in ends.items())
    return Finding(
        "range-of-shapes",
        f"The engine was built for {text}; one for the shape measured alone may well be faster.",
        f"Build it with trtkit convert --batch {result.settings.batch}, and compare.",
        {"profile_ranges": wide},
    )
