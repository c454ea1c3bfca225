"""What is said when a measurement takes the place of another one, of the same name and not of the same thing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.files import read_json
from trtkit.errors import PlanError

__all__ = ["replaced"]

_SHOWN = 4


def replaced(path: Path, result: BenchResult) -> str | None:
    """A sentence about the file that ``result`` is about to replace.

    ``None`` where there is none, or where it holds a measurement of the same engine on the same device with the same
    settings: measuring again is what was asked for.

    Args:
        path: where ``result`` is about to be written.
        result: the new measurement.
    """
    if not path.exists():
        return None
    try:
        old = read_json(path)
        before = _identity(old["settings"], old["subject"], old["device"])
    except (PlanError, KeyError, TypeError, ValueError, AttributeError):
        return f"replaced {path.name}, which could not be read"
    new = result.to_json()
    after = _identity(new["settings"], new["subject"], new["device"])
    changed = [name for name in after if name in before and before[name] != after[name]]
    if not changed:
        return None
    told = [f"{name} {_text(before[name])}, now {_text(after[name])}" for name in changed[:_SHOWN]]
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return f"replaced {path.name}, which was measured with {'; '.join(told)}{more}; another folder (-o) keeps both"


def _identity(settings: Mapping[str, Any], subject: Mapping[str, Any], device: Mapping[str, Any]) -> dict[str, Any]:
    """Name → value of what tells two measurements apart; lists, as JSON has them."""
    found = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    found |= {"version": subject["version"], "rewrites": list(subject["rewrites"]), "device": device["name"]}
    return found | {"engine": str(subject["sha256"])[:12], "model": str(subject["model_sha256"])[:12]}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None or value == "" else f"{value:g}" if isinstance(value, float) else str(value)
