"""What is said when a measurement takes the place of another one, of the same name and not of the same thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.files import read_json
from trtkit.artifacts.scale import ScaleResult
from trtkit.errors import PlanError

__all__ = ["replaced", "replaced_scale"]

_SHOWN = 4
_OF_A_DEVICE = ("affinity", "threads", "device")


def replaced(path: Path, result: BenchResult) -> str | None:
    """A sentence about the file that ``result`` is about to replace.

    ``None`` where there is none, or where it holds a measurement of the same engine on the same device with the same
    settings: measuring again is what was asked for.

    Args:
        path: where ``result`` is about to be written.
        result: the new measurement.
    """
    return _said(path, _of_bench, lambda: _of_bench(_document(result)))


def replaced_scale(path: Path, result: ScaleResult) -> str | None:
    """The same about a measurement of several devices; its file is named after neither how many nor which.

    Args:
        path: where ``result`` is about to be written.
        result: the new measurement.
    """
    shares = [
        {
            "device": share.device,
            "host": share.host,
            "phases": {name: {"result": _document(phase.result)} for name, phase in share.phases.items()},
        }
        for share in result.shares
    ]
    return _said(path, _of_scale, lambda: _of_scale({"shares": shares}))


def _said(path: Path, identity: Callable[[Any], dict[str, Any]], new: Callable[[], dict[str, Any]]) -> str | None:
    if not path.exists():
        return None
    try:
        before = identity(read_json(path))
    except (PlanError, KeyError, TypeError, ValueError, AttributeError):
        return f"replaced {path.name}, which could not be read"
    after = new()
    changed = [name for name in after if name in before and before[name] != after[name]]
    if not changed:
        return None
    told = [f"{name} {_text(before[name])}, now {_text(after[name])}" for name in changed[:_SHOWN]]
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return f"replaced {path.name}, which was measured with {'; '.join(told)}{more}; another folder (-o) keeps both"


def _document(result: BenchResult) -> dict[str, Any]:
    """What of a result tells it apart, as its file has it; the samples are long, and left out."""
    settings, subject = result.settings.to_json(), asdict(result.subject)
    return {"settings": settings, "subject": subject, "device": result.device.to_json()}


def _of_bench(document: Mapping[str, Any]) -> dict[str, Any]:
    return _identity(document["settings"], document["subject"], document["device"])


def _of_scale(document: Mapping[str, Any]) -> dict[str, Any]:
    """Devices first, then what the first of them was measured with; its own processors follow from the devices."""
    shares = document["shares"]
    hosts = {share["host"] for share in shares}
    devices = [f"{share['host']} {share['device']}" if len(hosts) > 1 else share["device"] for share in shares]
    phases = [phase for share in shares for phase in share["phases"].values()]
    first = _of_bench(phases[0]["result"]) if phases else {}
    return {"devices": devices} | {name: value for name, value in first.items() if name not in _OF_A_DEVICE}


def _identity(settings: Mapping[str, Any], subject: Mapping[str, Any], device: Mapping[str, Any]) -> dict[str, Any]:
    """Name → value of what tells two measurements apart; lists, as JSON has them."""
    found = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    found |= {"version": subject["version"], "rewrites": list(subject["rewrites"]), "device": device["name"]}
    return found | {"engine": str(subject["sha256"])[:12], "model": str(subject["model_sha256"])[:12]}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None or value == "" else f"{value:g}" if isinstance(value, float) else str(value)
