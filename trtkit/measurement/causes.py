"""Why a device of several is slower than its fellows, or than itself alone: from what was measured, never guessed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.finding import Finding
from trtkit.artifacts.scale import ALONE, TOGETHER, ScaleResult, Share

__all__ = ["LOSS", "causes"]

LOSS = 0.03
"""A device this much below its fellows or below itself alone is explained."""

_CLOCK = 0.02
_PART = 0.05
_DRIFT = 0.03
_FOREIGN = 0.02
_COPYING = ("transfers", "overlapped")
_LATE = 0.01
_NEARLY_ALWAYS = 0.95
_CLOCKS = 0.01
_LIMITS = {
    "sw_power_cap": "power cap",
    "hw_slowdown": "slowed down by hardware",
    "hw_thermal_slowdown": "too hot (slowed down by hardware)",
    "sw_thermal_slowdown": "too hot",
    "hw_power_brake_slowdown": "power brake",
    "sync_boost": "held back with its group (sync boost)",
}


def causes(result: ScaleResult) -> tuple[Finding, ...]:
    """What is to be said of each slow device, and of the run.

    ``slow-device``: more than :data:`LOSS` below the median of the devices of its name. ``scaling-loss``: as much below
    itself alone. ``drift``: alone it was not the same before and after. ``late``: it did not work throughout a window.
    ``clock``: the machines' clocks are too far apart for the common window, or moved too far meanwhile.
    Devices without a common window are left out.
    """
    findings: list[Finding] = []
    measured = [share for share in result.shares if TOGETHER in share.phases]
    for share in measured:
        label = result.label(share)
        fellows = [other for other in measured if other is not share and other.name == share.name]
        findings += _against_fellows(share, fellows, label)
        findings += _against_itself(share, label)
        findings += _drift(share, label)
        findings += _late(share, label)
    return (*findings, *_clocks(result))


def _clocks(result: ScaleResult) -> list[Finding]:
    """Doubt where the machines' windows may lie apart by more than :data:`_CLOCKS` of the shortest."""
    windows = [share.phases[TOGETHER].seconds for share in result.shares if TOGETHER in share.phases]
    drift, error = result.clock_drift_s, result.clock_error_s + result.clock_drift_error_s
    apart = abs(drift or 0.0) + error
    if not windows or apart <= min(windows) * _CLOCKS:
        return []
    moved = f"moved against each other by {drift * 1e3:.2f} ms during the run" if drift else "did not visibly move"
    text = (
        f"The machines' clocks {moved} and are known within {error * 1e3:.2f} ms: the common window of "
        f"{min(windows):.2f} s is not one for all by up to {apart / min(windows) * 100:.0f} %."
    )
    step = "Measure longer (--duration), or see what sets the clocks of the machines and what slows the network."
    values = {"clock_drift_s": drift, "clock_error_s": error, "window_s": min(windows)}
    return [Finding("clock", text, step, values)]


def _against_fellows(share: Share, fellows: Sequence[Share], label: str) -> list[Finding]:
    rates = [other.together_images_per_s for other in fellows if other.together_images_per_s]
    own = share.together_images_per_s
    if not rates or own is None:
        return []
    usual = statistics.median(rates)
    if own >= usual * (1 - LOSS):
        return []
    slow = 1 - own / usual
    others = [other.phases[TOGETHER].result for other in fellows]
    clauses, step = _explained(share.phases[TOGETHER].result, others)
    values = {"share_slower": slow, "images_per_s": own, "fellows_median_images_per_s": usual}
    return [Finding("slow-device", f"{label} is {slow * 100:.0f} % slow: {clauses}.", step, values)]


def _against_itself(share: Share, label: str) -> list[Finding]:
    efficiency = share.efficiency
    if efficiency is None or efficiency >= 1 - LOSS:
        return []
    alone = [share.phases[name].result for name in ALONE if name in share.phases]
    clauses, step = _explained(share.phases[TOGETHER].result, alone)
    text = f"{label} delivers {efficiency * 100:.0f} % of what it does alone: {clauses}."
    return [Finding("scaling-loss", text, step, {"efficiency": efficiency})]


def _drift(share: Share, label: str) -> list[Finding]:
    if not all(name in share.phases for name in ALONE):
        return []
    before, after = (share.phases[name].images_per_s for name in ALONE)
    change = after / before - 1 if before else 0.0
    if abs(change) <= _DRIFT:
        return []
    text = f"{label} alone gave {before:,.0f} images/s before and {after:,.0f} after ({change * 100:+.0f} %)."
    step = "Something changed meanwhile (clocks, temperature, other work): let it settle and measure again."
    return [Finding("drift", text, step, {"before_images_per_s": before, "after_images_per_s": after})]


def _late(share: Share, label: str) -> list[Finding]:
    for phase in share.phases.values():
        if phase.idle_s > phase.seconds * _LATE:
            text = f"{label} did not work for {phase.idle_s:.2f} s of the {phase.seconds:.2f} s ({phase.name})."
            step = "The host was too busy to start it in time: free processors, or measure longer (--duration)."
            return [Finding("late", text, step, {"phase": phase.name, "idle_s": phase.idle_s})]
    return []


def _explained(own: BenchResult, others: Sequence[BenchResult]) -> tuple[str, str]:
    """The likely causes as clauses, the strongest first, and what to do about the first."""
    found = [cause for rule in _RULES for cause in rule(own, others)]
    # A longer computation is what a lower clock looks like: it is told only where nothing explains it.
    found = found or _longer(own, others, "compute", "the computation takes", _COMPUTING)
    if not found:
        clauses = "no cause is visible in clocks, limits, link, copies or foreign work"
        return clauses, "Measure longer, and watch the machine with nvidia-smi dmon."
    return ", ".join(clause for clause, _ in found), found[0][1]


Cause = tuple[str, str]


def _clock(own: BenchResult, others: Sequence[BenchResult]) -> list[Cause]:
    mine = own.conditions.sm_clock_mhz
    theirs = [statistics.median(other.conditions.sm_clock_mhz) for other in others if other.conditions.sm_clock_mhz]
    if not mine or not theirs:
        return []
    here, there = statistics.median(mine), statistics.median(theirs)
    if here >= there * (1 - _CLOCK):
        return []
    step = "Look at power, temperature and clock limits of this device; compare at locked clocks (nvidia-smi -lgc)."
    return [(f"{here:.0f} MHz against {there:.0f} MHz", step)]


def _limits(own: BenchResult, others: Sequence[BenchResult]) -> list[Cause]:
    """Limits of its clock that the others do not meet; those that they meet too only where its clock is lower."""
    usual = {name for other in others for name in other.conditions.throttle_reasons}
    own_reasons = {name: share for name, share in own.conditions.throttle_reasons.items() if name != "gpu_idle"}
    reasons = sorted(own_reasons.items(), key=lambda entry: -entry[1])
    found = [entry for entry in reasons if entry[0] not in usual] or (reasons[:1] if _clock(own, others) else [])
    step = "Mend cooling or power, or compare devices under equal limits."
    return [(_limit_text(name, share), step) for name, share in found]


def _limit_text(name: str, share: float) -> str:
    words = _LIMITS.get(name, name.replace("_", " "))
    return words if share > _NEARLY_ALWAYS else f"{words} {share * 100:.0f} % of the time"


def _foreign(own: BenchResult, others: Sequence[BenchResult]) -> list[Cause]:
    causes: list[Cause] = []
    if own.conditions.foreign_processes:
        names = ", ".join(own.conditions.foreign_processes[:3])
        causes.append((f"others work on it ({names})", "End these processes, or leave this device out."))
    usual = max((other.conditions.foreign_cpu or 0.0 for other in others), default=0.0)
    foreign = own.conditions.foreign_cpu or 0.0
    if foreign > usual + _FOREIGN:
        text = f"{foreign * 100:.0f} % of its processors' time went to other processes"
        causes.append((text, "Leave the processors to the benchmark."))
    return causes


def _link(own: BenchResult, others: Sequence[BenchResult]) -> list[Cause]:
    if own.settings.mode not in _COPYING:
        return []
    mine, theirs = own.device.pcie, {other.device.pcie for other in others} - {None}
    if mine and theirs and mine not in theirs:
        step = "See that the card sits in a full slot, and that its link does not sleep."
        return [(f"PCIe {mine} against {', '.join(sorted(map(str, theirs)))}", step)]
    return []


def _parts(own: BenchResult, others: Sequence[BenchResult]) -> list[Cause]:
    """Which part around the computation takes longer: copies (a shared switch, host memory), or the host's calls."""
    return [
        *_longer(own, others, "h2d", "copies to the device take", _SHARED),
        *_longer(own, others, "d2h", "copies back take", _SHARED),
        *_longer(own, others, "enqueue", "the host's launches take", _HOST),
    ]


def _longer(own: BenchResult, others: Sequence[BenchResult], part: str, text: str, step: str) -> list[Cause]:
    mine, known = _median(own, part), [value for other in others if (value := _median(other, part))]
    if not mine or not known or mine <= statistics.median(known) * (1 + _PART):
        return []
    return [(f"{text} {mine / statistics.median(known):.2f} × as long", step)]


_HOST = "Give each device processors of its own, or use compute-graph."
_COMPUTING = "If clocks are equal, the devices share memory bandwidth or power."
_SHARED = "The devices share a PCIe switch or the host's memory: see nvidia-smi topo -m, or feed uint8 images."


def _nodes(own: BenchResult, others: Sequence[BenchResult]) -> list[Cause]:
    node = own.device.numa_node
    nodes = {other.device.numa_node for other in others} - {None}
    if own.settings.mode in _COPYING and node is not None and nodes and node not in nodes:
        return [(f"on memory node {node}, the others on {', '.join(map(str, sorted(nodes, key=str)))}", _SHARED)]
    return []


def _median(result: BenchResult, part: str) -> float | None:
    figures = result.timeline.summary()[part]
    return None if figures is None else float(figures["p50_ms"])


_RULES: tuple[Callable[[BenchResult, Sequence[BenchResult]], list[Cause]], ...] = (
    _clock,
    _limits,
    _foreign,
    _link,
    _parts,
    _nodes,
)
