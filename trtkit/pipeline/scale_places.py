"""Which devices a rank takes: its own GPU by its place on its machine, or its part of the cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtkit.artifacts.device import Device
from trtkit.errors import TrtkitError, UsageError, from_wire
from trtkit.pipeline.scale_agreement import refuse_differences
from trtkit.ranks import Alone, Lost, Meeting, Place

__all__ = ["OwnPlace", "devices_of_rank", "find_own_place"]

_MEETING_S = 120.0


@dataclass(frozen=True)
class OwnPlace:
    """A rank among those of its machine.

    Attributes:
        local_rank, local_size: its number and how many there are on this machine.
        cores: processors that the ranks of this machine may use together.
        bound: whether the launcher has given each rank processors of its own.
        hosts: every rank's machine, by rank; on rank 0 alone, which speaks.
    """

    local_rank: int
    local_size: int
    cores: int
    bound: bool
    hosts: tuple[str, ...] = ()


def find_own_place(meeting: Meeting | Alone, place: Place, terms: Mapping[str, Any]) -> OwnPlace:
    """Compare hosts, processors and what was asked for with the other ranks; every rank calls it.

    Raises:
        UsageError: a rank is lost before it began, or was started with other options than rank 0.
    """
    mine = {"host": place.host, "cores": sorted(_usable()), "terms": dict(terms)}
    hosts: list[str] = []

    def decide(said: list[Any]) -> list[Any]:
        hosts.extend("" if isinstance(entry, Lost) else entry["host"] for entry in said)
        try:
            return _places(said)
        except TrtkitError as error:
            return [{"error": error.to_wire()}] * meeting.size

    answer = meeting.consult(mine, decide, timeout_s=_MEETING_S)
    if isinstance(answer, Lost):
        raise _not_begun(answer)
    if "error" in answer:
        raise from_wire(answer["error"])
    return OwnPlace(**answer, hosts=tuple(hosts))


def _places(said: Sequence[Any]) -> list[dict[str, Any]]:
    """Each rank's :class:`OwnPlace` as JSON, without the hosts.

    Raises:
        UsageError: a rank is lost, or was started with other options than rank 0.
    """
    for entry in said:
        if isinstance(entry, Lost):
            raise _not_begun(entry)
    refuse_differences([entry["terms"] for entry in said], [entry["host"] for entry in said])
    machines: dict[str, list[int]] = {}
    for rank, entry in enumerate(said):
        machines.setdefault(entry["host"], []).append(rank)
    found: list[dict[str, Any]] = [{} for _ in said]
    for ranks in machines.values():
        together = {core for rank in ranks for core in said[rank]["cores"]}
        bound = len(ranks) > 1 and sum(len(said[rank]["cores"]) for rank in ranks) == len(together)
        for number, rank in enumerate(ranks):
            found[rank] = {"local_rank": number, "local_size": len(ranks), "cores": len(together), "bound": bound}
    return found


def _not_begun(lost: Lost) -> UsageError:
    return UsageError(
        f"Rank {lost.rank} did not begin: {lost.why}.", hint="See what it says, and start every rank alike."
    )


def devices_of_rank(asked: str | None, own: OwnPlace, *, gpus: Callable[[], int], per_device: int = 1) -> str:
    """What ``--device`` means to one rank of several, as :func:`trtkit.artifacts.device.parse_devices` reads it.

    Args:
        asked: ``cpu``; ``all``, ``cuda`` or ``None`` for a GPU each; or a list, of which each rank takes its entry.
        own: the rank's place.
        gpus: counts the GPUs that this rank can see.
        per_device: ranks that may share a GPU.

    Raises:
        UsageError: there are more ranks than cores, GPUs or entries, or parts of a CPU were to be shared.
    """
    words = [word.strip().lower() for word in (asked or "all").split(",") if word.strip()]
    if words in (["all"], ["cuda"], ["gpu"]):
        seen = gpus()
        if seen == 0 and asked is None:
            words = ["cpu"]
        else:
            return _gpu(own, seen, per_device)
    if words == ["cpu"]:
        if per_device > 1:
            raise UsageError(
                f"--ranks-per-device {per_device} is about GPUs; on a CPU each rank takes its part of the cores.",
                hint="Leave it out, or name GPUs with --devices.",
            )
        return _part_of_cpu(own)
    if len(words) * per_device < own.local_size:
        raise UsageError(
            f"{own.local_size} ranks on this machine, and --device names {len(words)}: {','.join(words)}.",
            hint="Start as many ranks as devices, or allow sharing with --ranks-per-device.",
        )
    return words[own.local_rank // per_device]


def _part_of_cpu(own: OwnPlace) -> str:
    if own.local_size > own.cores:
        raise UsageError(
            f"{own.local_size} ranks on {own.cores} cores: they would take turns, and the numbers would mean nothing.",
            hint=f"Start at most {own.cores} ranks on this machine.",
        )
    # A launcher that binds its ranks has divided the cores already.
    return "cpu" if own.bound else str(Device("cpu", own.local_rank, own.local_size))


def _gpu(own: OwnPlace, seen: int, per_device: int) -> str:
    index = own.local_rank // per_device
    if index < seen:
        return f"cuda:{index}"
    if seen == 1 and "CUDA_VISIBLE_DEVICES" in os.environ:
        return "cuda:0"  # each rank was given its own; whether it is, their UUIDs tell
    raise UsageError(
        f"{own.local_size} ranks on this machine, and {seen} GPU{'s' * (seen != 1)} that they can see.",
        hint=f"Start {seen * per_device or 1} ranks, or allow sharing with --ranks-per-device, or give --device cpu.",
    )


def _usable() -> set[int]:
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
