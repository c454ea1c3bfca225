"""``--rewrite auto``: the rewrites that are fastest on the device at hand, or else what is remembered of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from trtkit.artifacts.device import Device
from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.profile import OptimizationProfile
from trtkit.artifacts.rewrites import AppliedRewrite
from trtkit.backends.base import Capabilities
from trtkit.measurement.contest import Contest
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.rewrite_ground import MeasuringGround
from trtkit.pipeline.rewrite_place import Place
from trtkit.pipeline.rewrite_search import Found, Ground, search
from trtkit.pipeline.rewriting import Rewriting
from trtkit.stages.plan_cache import PlanCache, cache_folder

__all__ = ["tuned"]

_QUANTIZED = ("int8", "fp8")


def tuned(
    exported: ExportedModel,
    how: Rewriting,
    can: Capabilities,
    profile: OptimizationProfile,
    scratch: Path,
    seconds: float,
    listener: Listener,
    *,
    anew: bool = False,
    ground: Callable[[Place], Ground] | None = None,
) -> Rewriting:
    """Choose the rewrites by measuring.

    Args:
        exported: checked and prepared, without rewrites.
        how: what was asked for: target and precision.
        can: the family that will execute.
        profile: the shapes; the optimum is measured.
        scratch: a folder for the candidates.
        seconds: the longest that measuring may take.
        listener: is told of every step.
        anew: whether to look away from what earlier runs remembered.
        ground: makes the place where candidates meet; ``None`` for the real one.

    Returns:
        ``how`` with names, gains and reason. Where the family cannot execute here: the safe ones, and a note says so.

    Raises:
        UsageError: the cache cannot be written.
    """
    from trtkit.graph.rewrites import ALL, safe

    if exported.source.precision not in ("fp32", "fp16"):
        return how
    device = Device("cuda") if can.gpus and can.device != "CPU" and not how.target.endswith(":cpu") else Device("cpu")
    if can.cannot_run is not None or (device.kind == "cpu" and not can.on_cpu and can.family != "null"):
        listener.note(
            f"--rewrite auto cannot measure here ({can.cannot_run or 'no GPU'}): the safe rewrites are taken, and what "
            "is told of their gains is what the table that ships with trtkit remembers"
        )
        return replace(how, because=f"auto could not measure here; these were never slower on {how.target}", names=None)
    place = Place(can, device, _timed_precision(how.precision, device), profile)
    folder = scratch / "contests"
    folder.mkdir(parents=True)
    cache = None if anew else PlanCache(cache_folder())
    here = ground(place) if ground else MeasuringGround(exported, place, folder, cache, seconds, listener)
    listener.stage(f"Choosing the fastest rewrites for {place.text}")
    candidates = [name for name, item in ALL.items() if not item.changes_interface]
    found = search(here, safe(how.target), candidates, lambda what: listener.stage(f"Comparing {what}"))
    if not found.finished:
        listener.note(f"the time for measuring rewrites was up after {seconds:g} s; --rewrite-time gives it more")
    return replace(how, names=found.names, because=_because(here, place, found), gains=_entries(found, place))


def _timed_precision(precision: str, device: Device) -> str:
    """What is timed for a precision: a quantized model would need calibrating, so its float remainder stands for it."""
    return ("fp16" if device.kind == "cuda" else "fp32") if precision in _QUANTIZED else precision


def _because(ground: Ground, place: Place, found: Found) -> str:
    measured, remembered = getattr(ground, "measured", 0), getattr(ground, "remembered", 0)
    counts = [f"{count} {word}" for count, word in ((measured, "measured"), (remembered, "remembered")) if count]
    total = f"; together {found.total.text} × the speed without" if found.total is not None else ""
    return f"fastest of {' and '.join(counts) or 'no'} contests with {place.text}{total}"


def _entries(found: Found, place: Place) -> dict[str, AppliedRewrite]:
    """Rewrite → what was measured of it."""
    entries = {}
    for name, result in found.gains.items():
        entries[name] = AppliedRewrite(name, (), None, None, True, None, result.gain, result.interval, place.text)
    for name, lost in found.refused.items():
        if isinstance(lost, Contest):
            reason = f"no gain: {lost.text} × as fast"
            entry = AppliedRewrite(name, (), None, None, False, reason, lost.gain, lost.interval, place.text)
        else:
            entry = AppliedRewrite(name, (), None, None, False, f"it could not be measured: {lost}")
        entries[name] = entry
    return entries
