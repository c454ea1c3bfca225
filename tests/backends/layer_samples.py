"""The recorded ``Layers:`` messages under ``tests/data/layers``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "data" / "layers"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


@dataclass(frozen=True)
class Sample:
    asked: str
    nodes: list[tuple[str, str]]
    message: str


def sample(name: str) -> Sample:
    value = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return Sample(value["asked"], [(node, op) for node, op in value["nodes"]], value["message"])
