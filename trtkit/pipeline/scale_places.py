"""Which devices a rank takes: its own GPU by its place on its machine, or its part of the cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trtkit.artifacts.device import Device
from trtkit.errors import TrtkitError, UsageError, from_wire
from trtkit.pipeline.scale_agreement import refuse_differences
from trtkit.pipeline.scale_cores import Claim, claimed, refuse_shared_cores
from trtkit.ranks import Alone, Lost, Meeting, Place
from trtkit.ranks.clock import machine

__all__ = ["OwnPlace", "devices_of_rank", "find_own_place"]

_MEETING_S = 120.0


@dataclass(frozen=True)
class OwnPlace:
    """A rank among those of its machine.

    Attributes:
        local_rank, local_size: its number and how many there are on this machine.
        cores: processors that the ranks of this machine may use together.
        part, parts: its number among the ranks that may use exactly the same processors, and how many these are: 1
            where the launcher has given each rank processors of its own.
        host: this machine's name, numbered where several machines have the same.
        hosts: every rank's machine, by rank; on rank 0 alone, which speaks.
    """

    local_rank: int
    local_size: int
    cores: int
    part: int
    parts: int
    host: str = ""
    hosts: tuple[str, ...] = ()

    @property
    def part_of_cpu(self) -> str:
        """The CPU device of this rank: all its processors where they are its own, else its part of them."""
        return str(Device("cpu", self.part, self.parts))


def find_own_place(
    meeting: Meeting | Alone, place: Place, terms: Mapping[str, Any], *, wanted: str = "", affinity: Sequence[int] = ()
) -> OwnPlace:
    """Compare hosts, processors and what was asked for with the other ranks; every rank calls it.

    Args:
        meeting: with the other ranks.
        place: of this one.
        terms: what must be equal on all ranks.
        wanted: what ``--device`` says; ``cpu`` where it says nothing and there is no GPU.
        affinity: what ``--affinity`` says.

    Raises:
        UsageError: a rank is lost before it began, was started with other options than rank 0, or would work on another
            one's processors.
    """
    mine = {"host": place.host, "machine": machine(), "cores": sorted(_usable()), "terms": dict(terms)}
    mine |= {"wanted": _words(wanted), "affinity": list(affinity)}
    hosts: list[str] = []

    def decide(said: list[Any]) -> list[Any]:
        hosts.extend(_hosts(said))
        try:
            return _places(said, hosts)
        except TrtkitError as error:
            return [{"error": error.to_wire()}] * meeting.size

    answer = meeting.consult(mine, decide, timeout_s=_MEETING_S)
    if isinstance(answer, Lost):
        raise _not_begun(answer)
    if "error" in answer:
        raise from_wire(answer["error"])
    return OwnPlace(**answer, hosts=tuple(hosts))


def _hosts(said: Sequence[Any]) -> list[str]:
    """Each rank's host; machines of one name (containers that are all called localhost) are numbered."""
    found = [("", "") if isinstance(entry, Lost) else (entry["host"], entry["machine"]) for entry in said]
    machines: dict[str, list[str]] = {}
    for host, one in dict.fromkeys(found):
        machines.setdefault(host, []).append(one)
    return [host if len(machines[host]) == 1 else f"{host}#{machines[host].index(one) + 1}" for host, one in found]


def _places(said: Sequence[Any], hosts: Sequence[str]) -> list[dict[str, Any]]:
    """Each rank's :class:`OwnPlace` as JSON, without the hosts.

    Raises:
        UsageError: a rank is lost, was started with other options than rank 0, or claims another one's processors.
    """
    for entry in said:
        if isinstance(entry, Lost):
            raise _not_begun(entry)
    refuse_differences([entry["terms"] for entry in said], hosts)
    machines: dict[str, list[int]] = {}
    for rank, host in enumerate(hosts):
        machines.setdefault(host, []).append(rank)
    found: list[dict[str, Any]] = [{} for _ in said]
    claims: list[Claim] = []
    for host, ranks in machines.items():
        cores = len({core for rank in ranks for core in said[rank]["cores"]})
        for number, rank in enumerate(ranks):
            alike = [other for other in ranks if said[other]["cores"] == said[rank]["cores"]]
            own = OwnPlace(number, len(ranks), cores, alike.index(rank), len(alike), host)
            word = _cpu_word(said[rank], own)
            used = claimed(word, said[rank]["cores"], said[rank]["affinity"])
            claims.append(Claim(f"rank {rank} on {host} ({word})", said[rank]["machine"], used))
            found[rank] = {name: value for name, value in asdict(own).items() if name != "hosts"}
            if said[rank]["wanted"] == ["cpu"]:
                _enough_cores(own)
    refuse_shared_cores(claims, ranks=True)
    return found


def _cpu_word(entry: Mapping[str, Any], own: OwnPlace) -> str:
    """The CPU device that a rank will take, empty for another; as :func:`devices_of_rank`."""
    words, per_device = entry["wanted"], entry["terms"].get("--ranks-per-device", 1)
    if words == ["cpu"]:
        return own.part_of_cpu
    index = own.local_rank // per_device
    return words[index] if index < len(words) and words[index].startswith("cpu") else ""


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
    words = _words(asked or "all")
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
        _enough_cores(own)
        return own.part_of_cpu
    if len(words) * per_device < own.local_size:
        raise UsageError(
            f"{own.local_size} ranks on this machine, and --device names {len(words)}: {','.join(words)}.",
            hint="Start as many ranks as devices, or allow sharing with --ranks-per-device.",
        )
    return words[own.local_rank // per_device]


def _enough_cores(own: OwnPlace) -> None:
    if own.local_size > own.cores:
        raise UsageError(
            f"{own.local_size} ranks on {own.cores} cores: they would take turns, and the numbers would mean nothing.",
            hint=f"Start at most {own.cores} ranks on this machine.",
        )


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


def _words(asked: str) -> list[str]:
    return [word.strip().lower() for word in asked.split(",") if word.strip()]


def _usable() -> set[int]:
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
