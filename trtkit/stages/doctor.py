"""The state of this machine: every family probed in a worker of its own, and the traps that are known to cost hours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from trtkit import environment
from trtkit.backends.base import Capabilities
from trtkit.backends.probing import probe
from trtkit.backends.registry import PREFERENCE
from trtkit.environment import Environment
from trtkit.errors import TrtkitError

__all__ = ["Examination", "examine"]


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        environment: machine and packages.
        families: capabilities in the order of preference.
        chosen: the family that ``auto`` takes; ``None`` if none can build.
        chosen_because: why, or why none.
        problems: what is wrong and how to mend it, a sentence each.
    """

    environment: Environment
    families: tuple[Capabilities, ...]
    chosen: str | None
    chosen_because: str
    problems: tuple[str, ...]

    @property
    def gpu_text(self) -> str:
        """The GPUs for people, or why there is none."""
        first = self.families[0]
        if not first.gpus:
            return first.cannot_run if first.version and first.cannot_run else "no CUDA device"
        listed = ", ".join(f"{gpu.name} (compute capability {gpu.compute_capability})" for gpu in first.gpus)
        return f"{listed}; driver {first.driver or 'unknown'}, CUDA up to {first.cuda}"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "environment": self.environment.to_json(),
            "families": [can.to_json() for can in self.families],
            "chosen": self.chosen,
            "chosen_because": self.chosen_because,
            "problems": list(self.problems),
        }


def examine() -> Examination:
    """Probe every family, at the same time, and judge."""
    with ThreadPoolExecutor(len(PREFERENCE)) as pool:
        families = tuple(pool.map(_probe, PREFERENCE))
    able = [can for can in families if can.cannot_build is None]
    if able:
        passed = [f"{can.family}: {can.cannot_build}" for can in families[: families.index(able[0])]]
        because = "; ".join([*passed, f"{able[0].family} {able[0].version} can build here"])
    else:
        because = "no family can build here"
    here = environment.describe()
    return Examination(here, families, able[0].family if able else None, because, _problems(here, families))


def _probe(family: str) -> Capabilities:
    try:
        return probe(family)
    except TrtkitError as error:  # a library that crashes when it is looked at is a finding, not the end
        return Capabilities(family, None, cannot_build=error.message, cannot_run=error.message, way_out=error.hint)


def _problems(here: Environment, families: tuple[Capabilities, ...]) -> tuple[str, ...]:
    found: list[str] = []
    if {"onnxruntime", "onnxruntime-gpu"} <= here.packages.keys():
        found.append(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other. "
            "Run: pip uninstall -y onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu."
        )
    for can in families:
        if can.gpus and can.version is not None and can.cannot_run is not None:
            found.append(f"{can.cannot_run}. {can.way_out or ''}".rstrip())
        found.extend(f"ONNX Runtime: {note}." for note in can.notes if note.startswith("runs on the CPU although"))
        if can.gpus and can.cuda is not None and can.family == "tensorrt-rtx" and int(can.cuda.split(".")[0]) < 13:
            found.append(
                f"The driver {can.driver} supports CUDA up to {can.cuda}, and tensorrt-rtx-cu13 needs CUDA 13: "
                "update the NVIDIA driver to 580 or newer."
            )
    return tuple(dict.fromkeys(found))
