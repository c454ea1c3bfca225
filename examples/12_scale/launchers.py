"""One benchmark by two ranks, as launchers start them: each process only needs to know its rank and the size."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

BENCH = [sys.executable, "-m", "trtkit", "bench", "squeezenet1_1", "--device", "cpu", "--batch", "1"]
BENCH += ["--duration", "0.1", "--max-duration", "0.2", "--no-alone"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def torchrun(rank: int, port: int) -> tuple[list[str], dict[str, str]]:
    """torchrun --nproc-per-node 2 -m trtkit …"""
    env = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
    return [], {**env, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port - 1)}


def srun(rank: int, port: int) -> tuple[list[str], dict[str, str]]:
    """srun -n 2 trtkit … --rendezvous HOST:PORT, for a Slurm without MPI."""
    env = {"SLURM_STEP_ID": "0", "SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": str(rank)}
    return ["--rendezvous", f"127.0.0.1:{port}"], env


def indexed_job(rank: int, port: int) -> tuple[list[str], dict[str, str]]:
    """A Kubernetes indexed job: --rendezvous "$JOB-0.$SERVICE:5000,$JOB_COMPLETION_INDEX,2"."""
    return ["--rendezvous", f"127.0.0.1:{port},{rank},2"], {}


for name in sys.argv[1:]:
    launcher = {"torchrun": torchrun, "srun": srun, "indexed_job": indexed_job}[name]
    port, folder = free_port(), Path("ranks") / name
    ranks = []
    for rank in range(2):
        words, env = launcher(rank, port)
        command = [*BENCH, *words, "-o", str(folder), "--json"]
        ranks.append(
            subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )
    said = [rank.communicate()[0] for rank in ranks]
    (result,) = json.loads(said[0])["results"]
    codes = [rank.returncode for rank in ranks]
    print(f"{name}: {result['devices']} devices by {result['launcher']}; exit codes {codes}")
    print(f"  rank 1 wrote {said[1]!r}")
