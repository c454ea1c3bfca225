"""Which engine family executes on which device: asked for, or the first that can, with the reasons why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from trtkit.artifacts.device import Device, parse_devices
from trtkit.backends import registry
from trtkit.backends.base import Capabilities
from trtkit.backends.probing import probe
from trtkit.errors import BackendUnavailableError, UsageError

__all__ = ["Target", "targets"]

_NOWHERE = "Run trtkit doctor for the way out of each; --device cpu always works."


@dataclass(frozen=True)
class Target:
    """A device, and the family that executes on it.

    Attributes:
        device: where.
        can: what the family can do on this machine.
        why: why this family, a clause.
    """

    device: Device
    can: Capabilities
    why: str

    @property
    def device_name(self) -> str:
        """``NVIDIA H200``, or the processor's name."""
        from trtkit import environment

        if self.device.kind == "cpu":
            return environment.cpu_name()
        return next((gpu.name for gpu in self.can.gpus if gpu.index == self.device.index), str(self.device))


def targets(
    family: str, devices: str | None, *, look: Callable[[str], Capabilities] = probe
) -> tuple[tuple[Target, ...], str]:
    """The devices that were named, each with a family that can execute there, and why, as a sentence.

    Args:
        family: a family's name, or ``auto``: for each device the first of :data:`registry.PREFERENCE` that can run.
        devices: as :func:`trtkit.artifacts.device.parse_devices` reads them; ``None`` for the first GPU on which a
            family can run, or else the CPU.
        look: answers what a family can do here.

    Raises:
        UsageError: unknown family or device, or the family does not execute on such a device.
        BackendUnavailableError: the family (or every family) cannot run here.
    """
    names: tuple[str, ...] = registry.PREFERENCE if family == "auto" else (family,)
    if family == "auto" and devices is not None and set(devices.replace(" ", "").lower().split(",")) == {"cpu"}:
        names = tuple(name for name in names if name in registry.ON_CPU)
    known: dict[str, Capabilities] = {}
    broken: dict[str, str] = {}
    for name in names:
        try:
            known[name] = look(name)
        except BackendUnavailableError as error:  # a library that crashes when it is looked at
            if family != "auto":
                raise
            broken[name] = error.message
    gpus = max((len(can.gpus) for can in known.values()), default=0)
    if devices is None:
        found = _default(names, known, broken, gpus, family)
    else:
        found = tuple(_on(device, names, known, broken, family) for device in parse_devices(devices, gpus=gpus))
    return found, "; ".join(dict.fromkeys(target.why for target in found))


def _default(
    names: tuple[str, ...], known: dict[str, Capabilities], broken: dict[str, str], gpus: int, family: str
) -> tuple[Target, ...]:
    if not gpus:
        return (_on(Device("cpu"), names, known, broken, family),)
    try:
        return (_on(Device("cuda"), names, known, broken, family),)
    except BackendUnavailableError as error:
        if not any(can.on_cpu for can in known.values()):
            raise
        found = _on(Device("cpu"), names, known, broken, family)
        return (replace(found, why=f"{error.message.rstrip('.')}; so it is the CPU: {found.why}"),)


def _on(
    device: Device, names: tuple[str, ...], known: dict[str, Capabilities], broken: dict[str, str], family: str
) -> Target:
    """The first of the families that executes on a device."""
    reasons: list[str] = []
    for name in names:
        if name in broken:
            reasons.append(f"{name}: {broken[name]}")
            continue
        can = known[name]
        if device.kind == "cpu" and not can.on_cpu:
            continue  # an engine builder; that it needs a GPU needs no saying
        reason = _why_not(can, device)
        if reason is None:
            word = "asked for" if family != "auto" else f"{name} {can.version} can run on {device}"
            return Target(device, can, "; ".join([*reasons, word]))
        reasons.append(f"{name}: {reason}")
    if family == "auto":
        raise BackendUnavailableError(f"No engine family can run on {device}: {'; '.join(reasons)}.", hint=_NOWHERE)
    can = known[family]
    if device.kind == "cpu" and not can.on_cpu and can.cannot_run is None:
        raise UsageError(
            f"The {family} family executes on GPUs only, not on the {device}.",
            hint="Give --device cuda:0, or --family onnxruntime.",
        )
    reason = _why_not(can, device) or "it executes on GPUs only"
    raise BackendUnavailableError(
        f"The {family} family cannot run here: {reason}.",
        hint=can.way_out or "Run trtkit doctor, or give --family onnxruntime --device cpu.",
    )


def _why_not(can: Capabilities, device: Device) -> str | None:
    if can.cannot_run is not None:
        return can.cannot_run
    if device.kind == "cuda" and can.on_cpu and can.device == "CPU":
        return next((note for note in can.notes if "runs on the CPU" in note), "its CUDA provider does not start")
    return None
