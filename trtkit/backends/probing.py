"""Which engine family can do the job on this machine, and why the others cannot."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trtkit import worker
from trtkit.backends import registry
from trtkit.backends.base import Capabilities
from trtkit.errors import BackendUnavailableError
from trtkit.worker.launch import answer_of
from trtkit.worker.process import Worker

__all__ = ["choose", "looking", "probe"]

_JOB = "trtkit.backends.jobs:probe"
_early: dict[str, Worker] = {}

_MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_TIMEOUT_S = 60.0


def probe(family: str) -> Capabilities:
    """What ``family`` can do here, found in a worker (looking at a broken vendor library may crash it).

    Raises:
        UsageError: unknown family.
        BackendUnavailableError: the worker died; the vendor's library is broken on this machine.
    """
    early = _early.pop(family, None)
    if early is not None:
        with early:
            return Capabilities.from_json(answer_of(early, timeout_s=_TIMEOUT_S).value)
    answer = worker.run(_JOB, {"family": family}, timeout_s=_TIMEOUT_S, **_how(family))
    return Capabilities.from_json(answer.value)


def _how(family: str) -> dict[str, Any]:
    return {
        "what": f"the look at the {family} family",
        "died": BackendUnavailableError,
        "env": registry.worker_env(family),
    }


@contextmanager
def looking(family: str) -> Iterator[None]:
    """Look at a family in the background while modules are loaded: the next :func:`probe` of it takes that answer.

    Args:
        family: a family's name, or ``auto`` for the one that :func:`choose` tries first.
    """
    first = next((name for name in registry.PREFERENCE if _installed(name)), None) if family == "auto" else family
    if first is not None:
        _early[first] = Worker(_JOB, {"family": first}, **_how(first))
    try:
        yield
    finally:
        if first is not None and (left := _early.pop(first, None)) is not None:
            left.kill()


def _installed(family: str) -> bool:
    module = _MODULES.get(family)
    return module is None or importlib.util.find_spec(module) is not None


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
        if not _installed(name):
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
