"""Whether a measurement may be quoted: pure functions from a result to the reasons why not. Notes are beside it.

What counts as throttled: a thermal slowdown, a hardware slowdown, the power brake or sync boost in any sample. The
software power cap is different: a card under full load runs into its power limit by design, at a clock that is a little
lower. It is a note, unless the clock fell below 60 % of the card's highest: then the power limit was measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.finding import Finding, Verdict
from trtkit.measurement.notes import notes

__all__ = ["POWER_CAP_CLOCK", "REASONS", "judge", "link_bytes_per_s"]

POWER_CAP_CLOCK = 0.6
"""Median SM clock over the card's highest, below which a power cap invalidates."""

_SLOWDOWNS = {
    "sw_thermal_slowdown": "the driver lowered the clocks because of the temperature",
    "hw_thermal_slowdown": "the hardware lowered the clocks because of the temperature",
    "hw_slowdown": "the hardware lowered the clocks",
    "hw_power_brake_slowdown": "the power supply asked for lower clocks",
    "sync_boost": "the clocks were held back to those of another GPU (sync boost)",
}
_POWER_CAP = "sw_power_cap"
_MEASURED_MARGIN = 1.1  # a copy may be this much faster than the bandwidth measured before
# Bytes per second and lane after line coding (PCI Express base specification: 8b/10b up to 2, 128b/130b up to 5).
_LANE = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}
_COPYING = ("transfers", "overlapped")


def judge(result: BenchResult) -> Verdict:
    """Every reason and every note that applies."""
    reasons = tuple(finding for rule in REASONS for finding in rule(result))
    return Verdict(reasons, notes(result))


def throttled(result: BenchResult) -> list[Finding]:
    """Clocks that something lowered."""
    found = []
    seen = result.conditions.throttle_reasons
    for name, why in _SLOWDOWNS.items():
        if seen.get(name, 0) > 0:
            found.append(
                Finding(
                    "throttled",
                    f"{why[0].upper()}{why[1:]} in {seen[name]:.0%} of the samples ({name}).",
                    "Let the card cool down, check its fans and power supply, and measure again.",
                    {"reason": name, "fraction": seen[name]},
                )
            )
    clocks, highest = result.conditions.sm_clock_mhz, result.device.max_sm_clock_mhz
    if seen.get(_POWER_CAP, 0) > 0 and clocks and highest and np.median(clocks) < POWER_CAP_CLOCK * highest:
        median = float(np.median(clocks))
        found.append(
            Finding(
                "throttled",
                f"The power limit held the SM clock at {median:.0f} MHz, {median / highest:.0%} of {highest} MHz "
                f"({_POWER_CAP} in {seen[_POWER_CAP]:.0%} of the samples).",
                "Raise the power limit (nvidia-smi -pl), and measure again.",
                {"reason": _POWER_CAP, "fraction": seen[_POWER_CAP], "sm_clock_mhz": median, "highest_mhz": highest},
            )
        )
    return found


def foreign_process(result: BenchResult) -> list[Finding]:
    """Somebody else on the GPU."""
    others = result.conditions.foreign_processes
    if not others:
        return []
    return [
        Finding(
            "foreign-process",
            f"Other processes were on the GPU during the measurement: {', '.join(others)}.",
            "End them or choose another device, and measure again.",
            {"processes": list(others)},
        )
    ]


def wrong_provider(result: BenchResult) -> list[Finding]:
    """ONNX Runtime falls back to the CPU in silence, as a whole or with single operators."""
    got = result.conditions.provider
    wanted = "CPUExecutionProvider" if result.device.device.startswith("cpu") else "CUDAExecutionProvider"
    left: dict[str, int] = result.conditions.facts.get("elsewhere") or {}
    if got == wanted and left:
        listed = ", ".join(f"{count} {operator}" for operator, count in sorted(left.items()))
        return [
            Finding(
                "wrong-provider",
                f"ONNX Runtime executed {listed} on the CPU; {result.device.device} needs {wanted}.",
                "Give a precision or an opset that the provider has kernels for, or measure with --device cpu.",
                {"provider": got, "wanted": wanted, "elsewhere": left},
            )
        ]
    if got is None or got == wanted:
        return []
    return [
        Finding(
            "wrong-provider",
            f"ONNX Runtime executed on {got}; {result.device.device} needs {wanted}.",
            "Run trtkit doctor, which says why the provider does not start.",
            {"provider": got, "wanted": wanted},
        )
    ]


def above_peak(result: BenchResult) -> list[Finding]:
    """More arithmetic than the device can do; a measured peak (of a CPU) is no such limit."""
    fraction, source = result.fraction_of_peak, result.peak_source or ""
    if fraction is None or fraction <= 1 or source.startswith("measured"):
        return []
    return [
        Finding(
            "above-peak",
            f"{fraction:.0%} of the theoretical peak ({source}): that is impossible unless the engine leaves "
            "multiplications out (Winograd) or computes in a lower precision than it says.",
            "Look at the layers with trtkit inspect, and report this if they say what was asked.",
            {"fraction_of_peak": fraction},
        )
    ]


def above_link(result: BenchResult) -> list[Finding]:
    """More bytes copied in than the link to the device can carry."""
    size = result.conditions.facts.get("input_bytes")
    if result.settings.mode not in _COPYING or not size or not len(result.timeline):
        return []
    ceilings = [link_bytes_per_s(result.device.pcie), link_bytes_per_s(result.device.pcie_max)]
    measured = result.conditions.facts.get("h2d_bytes_per_s")
    ceilings.append(measured * _MEASURED_MARGIN if measured else None)
    ceiling = max((value for value in ceilings if value is not None), default=None)
    copy_ms = float(np.median(result.timeline.column("h2d_ms")))
    if ceiling is None or copy_ms <= 0:
        return []
    rate = max(size / copy_ms * 1e3, len(result.timeline) * size / result.timeline.wall_s)
    if rate <= ceiling:
        return []
    return [
        Finding(
            "above-link",
            f"{rate / 1e9:.1f} GB/s were copied to the device; its link carries {ceiling / 1e9:.1f} GB/s at most.",
            "Report this: copies were left out or timed wrongly.",
            {"bytes_per_s": rate, "ceiling_bytes_per_s": ceiling},
        )
    ]


def not_finite(result: BenchResult) -> list[Finding]:
    """NaN or infinity in the outputs."""
    check = result.conditions.check
    if check is None or check.get("finite", True):
        return []
    counts = check.get("not_finite", {})
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    return [
        Finding(
            "not-finite",
            f"The outputs hold values that are NaN or infinite: {listed}.",
            "Validate the plan with trtkit validate; FP16 overflows above 65504, then keep layers in FP32.",
            {"counts": dict(counts)},
        )
    ]


def wrong_output(result: BenchResult) -> list[Finding]:
    """Outputs that are not the reference's, or not those of a plain run of the same engine."""
    check = result.conditions.check or {}
    found = []
    if check.get("matches") is False:
        error, limit = check.get("relative_l2"), check.get("limit")
        size = "is not defined" if error is None else f"is {error:.1e}"
        share = check.get("agreement")
        agreed = ""
        if share is not None:
            agreed = f"; {share:.1%} of integers agree (limit {check.get('agreement_limit'):.0%})"
        found.append(
            Finding(
                "wrong-output",
                f"The outputs differ from {check.get('against')}: the relative L2 error {size} "
                f"(limit {limit:.1e}){agreed}.",
                "Validate the plan with trtkit validate; a wrong engine's speed means nothing.",
                {"relative_l2": error, "limit": limit, "agreement": share},
            )
        )
    if check.get("run_matches") is False:
        error = check.get("run_relative_l2")
        size = "is not defined" if error is None else f"is {error:.1e}"
        found.append(
            Finding(
                "timed-path",
                "The timed path gives other outputs than a plain run of the same engine on the same inputs: the "
                f"relative L2 error {size} (limit {check.get('run_limit'):.1e}).",
                "Report this: it is a bug in trtkit.",
                {"run_relative_l2": error, "run_limit": check.get("run_limit")},
            )
        )
    return found


REASONS: tuple[Callable[[BenchResult], list[Finding]], ...] = (
    throttled,
    foreign_process,
    wrong_provider,
    above_peak,
    above_link,
    not_finite,
    wrong_output,
)
"""Every rule that can invalidate."""


def link_bytes_per_s(link: str | None) -> float | None:
    """``gen5 x16`` → 63 GB/s each way; ``None`` for what is unknown."""
    match = re.fullmatch(r"gen(\d) x(\d+)", link or "")
    if match is None or int(match[1]) not in _LANE:
        return None
    return _LANE[int(match[1])] * int(match[2])
