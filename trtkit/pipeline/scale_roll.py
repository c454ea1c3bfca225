"""The roll of a scaling run: what every rank said of itself when it was ready, and what follows from it."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from trtkit.artifacts.scale import Share
from trtkit.ranks import Lost

__all__ = ["lost_shares", "problem_of", "shared_gpu", "turns"]


def turns(roll: Sequence[Any]) -> tuple[list[int], int]:
    """When each rank's first device measures alone, and how many turns there are.

    One device of each machine after the other; machines do not wait for each other's devices.

    Args:
        roll: by rank, ``{"machine", "devices"}`` or :class:`~trtkit.ranks.Lost`. Containers of one machine, whatever
            they are called, take turns too.
    """
    rows: dict[str, int] = collections.defaultdict(int)
    first = []
    for entry in roll:
        machine, count = ("", 0) if isinstance(entry, Lost) else (entry["machine"], len(entry["devices"]))
        first.append(rows[machine])
        rows[machine] += count
    return first, max(rows.values(), default=0)


def shared_gpu(roll: Mapping[int, Any], per_device: int) -> str | None:
    """GPUs that more ranks use than may, by what the driver calls them; ``None`` where there are none."""
    users: dict[str, list[str]] = collections.defaultdict(list)
    for rank, said in roll.items():
        if not isinstance(said, Lost):
            for entry in said["devices"]:
                if entry["uuid"]:
                    users[entry["uuid"]].append(f"rank {rank} ({said['host']} {entry['device']})")
    for uuid, found in users.items():
        if len(found) > per_device:
            return f"{' and '.join(found)} are one GPU, {uuid}: give --ranks-per-device {len(found)} to allow it"
    return None


def lost_shares(said: Any, lost: Lost) -> list[Share]:
    """The devices of a rank that is gone, as far as it had named them.

    Args:
        said: its entry of the roll; ``None`` if it was lost before.
        lost: why.
    """
    if not isinstance(said, dict):
        return [Share("unknown", None, "unknown", lost.rank, problem=lost.why)]
    return [
        Share(entry["device"], entry["name"], said["host"], lost.rank, problem=lost.why) for entry in said["devices"]
    ]


def problem_of(roll: Mapping[int, Any], rank: int, said: Any, *, several: bool) -> str | None:
    """What is wrong with a rank, with its name where there are several; ``None`` if nothing is.

    Args:
        roll: by rank, as far as it is known.
        rank: whose problem.
        said: ``{"problem", "host"}`` or :class:`~trtkit.ranks.Lost`.
        several: whether there are other ranks.
    """
    known = roll.get(rank)
    host = known["host"] if isinstance(known, dict) else None
    if isinstance(said, Lost):
        where = f"rank {rank}{f' on {host}' if host else ''}" if several else "the rank"
        return f"{where} is lost: {said.why}"
    if not said or not said.get("problem"):
        return None
    host = said.get("host") or host
    where = f"rank {rank}{f' on {host}' if host else ''}: " if several else ""
    return f"{where}{said['problem']}"
