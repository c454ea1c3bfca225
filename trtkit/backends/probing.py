"""Which engine family can do the job on this machine, and why the others cannot."""

from __future__ import annotations

import importlib.util

from trtkit import worker
from trtkit.backends import registry
from trtkit.backends.base import Capabilities
from trtkit.errors import BackendUnavailableError

__all__ = ["choose", "probe"]

_MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_TIMEOUT_S = 60.0


def probe(family: str) -> Capabilities:
    """What ``family`` can do here, found in a worker (looking at a broken vendor library may crash it).

    Raises:
        UsageError: unknown family.
        BackendUnavailableError: the worker died; the vendor's library is broken on this machine.
    """
    answer = worker.run(
        "trtkit.backends.jobs:probe",
        {"family": family},
        what=f"the look at the {family} family",
        died=BackendUnavailableError,
        env=registry.worker_env(family),
        timeout_s=_TIMEOUT_S,
    )
    return Capabilities.from_json(answer.value)


def choose(family: str) -> tuple[Capabilities, str]:
    """The family to build with, and why, as a sentence.

    Args:
        family: a family's name, or ``auto`` for the first of :data:`registry.PREFERENCE` that can build here.

    Raises:
        UsageError: unknown family.
        BackendUnavailableError: the family (or every family) cannot build here.
    """
    if family != "auto":
        found = probe(family)
        if found.cannot_build is not None:
            raise BackendUnavailableError(
                f"The {family} family cannot build here: {found.cannot_build}.",
                hint=found.way_out or "Run trtkit doctor.",
            )
        return found, "asked for"
    reasons: list[str] = []
    for name in registry.PREFERENCE:
        module = _MODULES.get(name)
        if module is not None and importlib.util.find_spec(module) is None:
            reasons.append(f"{name} is not installed")
            continue
        try:
            found = probe(name)
        except BackendUnavailableError as error:  # a library that crashes when it is looked at
            reasons.append(f"{name}: {error.message}")
            continue
        if found.cannot_build is None:
            return found, "; ".join([*reasons, f"{name} {found.version} can build here"])
        reasons.append(f"{name}: {found.cannot_build}")
    raise BackendUnavailableError(
        f"No engine family can build here: {'; '.join(reasons)}.", hint="Run trtkit doctor for the way out of each."
    )
