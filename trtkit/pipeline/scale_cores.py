"""Which processors each CPU device of a scaling run would have, so that no two have the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtkit.artifacts.device import Device, parse_devices, processors, share
from trtkit.errors import UsageError
from trtkit.pipeline.bench_family import Target

__all__ = ["Claim", "claimed", "refuse_shared_cores", "refuse_shared_parts"]

_SHOWN = 8


@dataclass(frozen=True)
class Claim:
    """The processors that one device would work on.

    Attributes:
        who: ``rank 1 (cpu:1/2)``, ``cpu:1/2``.
        machine: processors of other machines are others.
        cores: their numbers; none for a GPU.
    """

    who: str
    machine: str
    cores: tuple[int, ...]


def claimed(word: str, usable: Sequence[int], affinity: Sequence[int] = ()) -> tuple[int, ...]:
    """The processors of a device as it is named on the command line; none for a GPU, or for what is no device.

    Args:
        word: ``cpu``, ``cpu:0/2``, ``cuda:1``.
        usable: processors that its process may use.
        affinity: those that were asked for with ``--affinity``.
    """
    try:
        device = parse_devices(word, gpus=0)[0] if word.startswith("cpu") else Device("cuda")
    except UsageError:
        return ()  # refused where it is understood
    return () if device.kind != "cpu" else tuple(affinity) or share(device, usable)


def refuse_shared_cores(claims: Iterable[Claim], *, ranks: bool) -> None:
    """Refuse CPU devices that would take turns on a processor, before anything is started.

    Raises:
        UsageError: naming two devices and what they share.
    """
    owners: dict[tuple[str, int], Claim] = {}
    for claim in claims:
        taken = [core for core in claim.cores if (claim.machine, core) in owners]
        if taken:
            other = owners[claim.machine, taken[0]]
            both = [core for core in taken if owners[claim.machine, core] is other]
            numbers = ", ".join(map(str, both[:_SHOWN])) + " …" * (len(both) > _SHOWN)
            who = f"R{other.who[1:]}" if ranks else other.who
            raise UsageError(
                f"{who} and {claim.who} would work on the same processor{'s' * (len(both) > 1)} {numbers}: they would "
                "take turns, and the numbers would mean nothing.",
                hint="Let the launcher give each rank processors of its own, or all of a machine the same ones, to be "
                "divided (mpirun --bind-to core, or none), and start no more ranks than processors."
                if ranks
                else "Divide the CPU into parts that do not overlap, no more than it has processors (cpu*2), and leave "
                "--affinity out.",
            )
        owners |= {(claim.machine, core): claim for core in claim.cores}


def refuse_shared_parts(targets: Sequence[Target], settings: Mapping[str, Any]) -> None:
    """The same for the devices of one process.

    Raises:
        UsageError: as :func:`refuse_shared_cores`.
    """
    if targets[0].can.device == "nothing":
        return  # a family that computes nothing needs no processors
    usable, affinity = processors(Device("cpu")), settings.get("affinity") or ()
    names = [str(target.device) for target in targets]
    refuse_shared_cores([Claim(name, "", claimed(name, usable, affinity)) for name in names], ranks=False)
