"""Which rank this process is, of how many, and who started it: read from the launcher's environment variables."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from trtkit.errors import UsageError

__all__ = ["Place", "find"]


@dataclass(frozen=True)
class Place:
    """Where a process stands in a run of several.

    Attributes:
        rank, size: this process's number from 0, and how many there are.
        local_rank, local_size: the same among the processes of this host; ``None`` where the launcher does not say.
        launcher: ``mpirun`` (any MPI's), ``srun``, ``torchrun``, ``rendezvous``; ``local`` for a process of its own.
        host: name of this machine.
        address: where rank 0 listens, ``(host, port)``; ``None`` where MPI carries the messages.
    """

    rank: int = 0
    size: int = 1
    local_rank: int | None = None
    local_size: int | None = None
    launcher: str = "local"
    host: str = ""
    address: tuple[str, int] | None = None


_MPI = (
    # rank, size, local rank, local size
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),  # MPICH, Intel MPI
)
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE")
_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]*:[^\[\]]*)\]|(?P<host>[^\s\[\]:]+)):(?P<port>[0-9]{1,5})")
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def find(rendezvous: str | None = None, env: Mapping[str, str] | None = None) -> Place:
    """This process's place.

    Args:
        rendezvous: ``HOST:PORT`` where rank 0 listens, with rank and size from the launcher's environment, or
            ``HOST:PORT,RANK,SIZE`` for a launcher that trtkit does not know.
        env: environment variables; this process's own if not given.

    Raises:
        UsageError: the rendezvous is malformed, or rank and size are not to be found or contradict each other.
    """
    env = os.environ if env is None else env
    place = _from_launcher(env)
    if rendezvous is not None:
        return _with_rendezvous(place, rendezvous)
    if place.launcher == "torchrun":
        port = env.get("MASTER_PORT", "")
        if "MASTER_ADDR" not in env or not (port.isascii() and port.isdigit() and 0 < int(port) < 65535):
            raise UsageError(
                "RANK and WORLD_SIZE are set, but not MASTER_ADDR and MASTER_PORT (a port below 65535).",
                hint="Start with torchrun, or give --rendezvous HOST:PORT.",
            )
        # torchrun's own agent listens on MASTER_PORT; the next one is taken for the benchmark's messages.
        return _replace(place, address=(env["MASTER_ADDR"], int(env["MASTER_PORT"]) + 1))
    return place


def _from_launcher(env: Mapping[str, str]) -> Place:
    host = socket.gethostname()
    if all(name in env for name in ("TORCHELASTIC_RUN_ID", *_TORCHRUN[:2])):
        return _place(env, _TORCHRUN, "torchrun", host)  # inside a step of srun or mpirun, which started its agent
    for names in _MPI:
        if names[0] in env and names[1] in env:
            return _place(env, names, "mpirun", host)
    # A batch script of Slurm has SLURM_PROCID too, though it is one process: only a step started by srun has an id.
    if all(name in env for name in ("SLURM_STEP_ID", *_SRUN[:2])):
        return _place(env, _SRUN, "srun", host)
    if all(name in env for name in _TORCHRUN[:2]):
        return _place(env, _TORCHRUN, "torchrun", host)
    return Place(host=host)


def _place(env: Mapping[str, str], names: tuple[str, str, str, str], launcher: str, host: str) -> Place:
    rank, size, local_rank, local_size = (_number(env, name) for name in names)
    if rank is None or size is None or not 0 <= rank < size:
        raise UsageError(
            f"{names[0]}={env.get(names[0])} and {names[1]}={env.get(names[1])} are no rank and size.",
            hint=f"Unset them, or start every process through {launcher}.",
        )
    return Place(rank, size, local_rank, local_size, launcher, host)


def _number(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name, "")
    text = text.partition("(")[0]  # Slurm writes 4(x2) for two nodes of four tasks
    return int(text) if text.isascii() and text.isdigit() else None


def _with_rendezvous(place: Place, text: str) -> Place:
    address, *numbers = text.split(",")
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 65536 or len(numbers) not in (0, 2):
        raise UsageError(
            f"--rendezvous {text!r} is not understood.",
            hint="Give HOST:PORT, or HOST:PORT,RANK,SIZE; rank 0 listens. IPv6 stands in brackets: [::1]:5000.",
        )
    if numbers:
        if not all(number.isascii() and number.isdigit() for number in numbers) or int(numbers[0]) >= int(numbers[1]):
            raise UsageError(
                f"--rendezvous {text!r}: {numbers[0]} of {numbers[1]} is no rank and size.",
                hint="Ranks count from 0, so that the last of 4 is HOST:PORT,3,4.",
            )
        place = Place(int(numbers[0]), int(numbers[1]), launcher="rendezvous", host=place.host)
    elif place.launcher == "local":
        raise UsageError(
            "--rendezvous HOST:PORT takes rank and size from the launcher's environment, and none was found.",
            hint="Give --rendezvous HOST:PORT,RANK,SIZE in each process.",
        )
    return _replace(place, address=(found["v6"] or found["host"], int(found["port"])))


def _replace(place: Place, *, address: tuple[str, int]) -> Place:
    return Place(
        place.rank, place.size, place.local_rank, place.local_size, place.launcher, place.host, address=address
    )
