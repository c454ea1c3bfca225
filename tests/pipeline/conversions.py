"""What the tests of convert share: a request, files in a folder, a plan that is there already."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import onnx

from trtkit.artifacts.plan import PlanManifest
from trtkit.pipeline import conversion
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.request import ConvertRequest, ConvertResult
from trtkit.stages.export import SourceRequest

__all__ = ["Copy", "as_text", "asked", "contents", "everything", "saved", "the_choice"]

the_choice = functools.cache(conversion.choose)
"""The look at a family gives the same each time: one worker is enough."""


def asked(source: Path | str, output: Path, **changes: Any) -> ConvertRequest:
    origin = SourceRequest(str(source), seed=changes.pop("seed", 0))
    return ConvertRequest(**{"source": origin, "family": "null", "output": output, **changes})


def saved(made: onnx.ModelProto, folder: Path, name: str = "net.onnx") -> Path:
    folder.mkdir(exist_ok=True)
    onnx.save(made, folder / name)
    return folder / name


def everything(folder: Path) -> set[str]:
    """Names of all that lies in a folder, hidden ones included."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def as_text(manifest: PlanManifest) -> str:
    return json.dumps(manifest.to_json(), sort_keys=True)


class Copy:
    """The first plan in a folder of its own, and the request that made it."""

    def __init__(self, first: ConvertResult, folder: Path) -> None:
        shutil.copytree(first.plan.parent, folder)
        self.source = Path(str(first.manifest.source.path))
        self.plan = folder / first.plan.name
        self.onnx = folder / first.manifest.onnx.path.name

    def again(self, **changes: Any) -> ConvertResult:
        return convert(asked(self.source, self.plan.parent, **changes))
