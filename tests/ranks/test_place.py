from __future__ import annotations

import socket

import pytest

from trtkit.errors import UsageError
from trtkit.ranks import Place, find

HOST = socket.gethostname()
TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "29500",
}


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ({}, Place(host=HOST)),
        (
            {
                "OMPI_COMM_WORLD_RANK": "3",
                "OMPI_COMM_WORLD_SIZE": "8",
                "OMPI_COMM_WORLD_LOCAL_RANK": "1",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
            },
            Place(3, 8, 1, 2, "mpirun", HOST),
        ),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, Place(0, 2, None, None, "mpirun", HOST)),
        (
            {
                "SLURM_STEP_ID": "0",
                "SLURM_PROCID": "5",
                "SLURM_STEP_NUM_TASKS": "8",
                "SLURM_LOCALID": "1",
                "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
            },
            Place(5, 8, 1, 4, "srun", HOST),
        ),
        # A batch script is one process, whatever the job was given.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}, Place(host=HOST)),
        (TORCHRUN, Place(1, 2, 1, 2, "torchrun", HOST, ("a", 29501))),
        # One agent of torchrun a node, started by srun: the agent's processes are the ranks.
        (
            {
                "SLURM_STEP_ID": "0",
                "SLURM_PROCID": "0",
                "SLURM_STEP_NUM_TASKS": "1",
                "TORCHELASTIC_RUN_ID": "7",
                **TORCHRUN,
            },
            Place(1, 2, 1, 2, "torchrun", HOST, ("a", 29501)),
        ),
    ],
    ids=["alone", "openmpi", "pmi", "srun", "sbatch", "torchrun", "torchrun in srun"],
)
def test_the_place_is_read_from_each_launchers_variables(env: dict[str, str], place: Place) -> None:
    assert find(env=env) == place


def test_a_rendezvous_with_numbers_needs_no_launcher() -> None:
    assert find("node0:5000,3,4", env={}) == Place(3, 4, launcher="rendezvous", host=HOST, address=("node0", 5000))


def test_a_rendezvous_without_numbers_takes_them_from_the_launcher() -> None:
    env = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}
    assert find("[::1]:5000", env=env) == Place(1, 2, None, None, "srun", HOST, ("::1", 5000))


@pytest.mark.parametrize(
    ("rendezvous", "env", "said"),
    [
        ("node0", {}, "--rendezvous 'node0' is not understood"),
        ("node0:99999,0,2", {}, "is not understood"),
        ("node0:²,0,2", {}, "is not understood"),
        ("fe80::1:5000,0,2", {}, "is not understood"),
        ("[node0]:5000,0,2", {}, "is not understood"),
        ("node0:5000,2,2", {}, "2 of 2 is no rank and size"),
        ("node0:5000", {}, "none was found"),
        (None, {"OMPI_COMM_WORLD_RANK": "x", "OMPI_COMM_WORLD_SIZE": "2"}, "are no rank and size"),
        (None, {"RANK": "0", "WORLD_SIZE": "2"}, "but not MASTER_ADDR"),
    ],
)
def test_what_is_no_place_is_refused(rendezvous: str | None, env: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        find(rendezvous, env=env)
    assert caught.value.hint


def test_torchruns_port_leaves_room_for_the_next() -> None:
    env = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "65535"}
    with pytest.raises(UsageError, match="a port below 65535"):
        find(env=env)
