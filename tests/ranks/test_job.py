"""Two jobs on one port: who is refused, and what both sides are told."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.ranks.test_meeting import free_port
from trtkit.errors import RunError, UsageError
from trtkit.ranks import Place
from trtkit.ranks.job import job_of
from trtkit.ranks.tcp import TcpLink

SLURM = {"SLURM_JOB_ID": "16"}


def objection(mine: dict[str, str], theirs: dict[str, str], *batches: int) -> str | None:
    batch = batches or (8, 8)
    one, other = (job_of({"--batch": [n], "--mode": []}, env) for n, env in zip(batch, (mine, theirs), strict=True))
    return one.objection(other.to_json())


@pytest.mark.parametrize(
    ("mine", "theirs", "batches", "said"),
    [
        ({}, {}, (8, 8), None),
        ({}, {}, (8, 16), "it was started with --batch 16, and rank 0 with 8"),
        (SLURM, SLURM, (8, 8), None),
        (SLURM, SLURM, (8, 16), None),  # its own: all ranks compare, and all end
        (SLURM, {"SLURM_JOB_ID": "17"}, (8, 8), "it belongs to another job: SLURM_JOB_ID is 17, and rank 0's 16"),
        (SLURM, {}, (8, 8), None),  # started by ssh, without the variables
        (SLURM, {}, (8, 16), "it was started with --batch 16, and rank 0 with 8"),
        ({**SLURM, "SLURM_HET_JOB_ID": "15"}, {"SLURM_JOB_ID": "17", "SLURM_HET_JOB_ID": "15"}, (8, 8), None),
        ({"TORCHELASTIC_RUN_ID": "a"}, {"TORCHELASTIC_RUN_ID": "b"}, (8, 8), "TORCHELASTIC_RUN_ID is b"),
        ({"PMIX_NAMESPACE": "a@1"}, {"PMIX_NAMESPACE": "b@1"}, (8, 8), "PMIX_NAMESPACE is b@1"),
        ({"TRTKIT_RENDEZVOUS_TOKEN": "t"}, {}, (8, 8), "TRTKIT_RENDEZVOUS_TOKEN differs"),
        # One token joins two jobs.
        (
            {**SLURM, "TRTKIT_RENDEZVOUS_TOKEN": "t"},
            {"SLURM_JOB_ID": "17", "TRTKIT_RENDEZVOUS_TOKEN": "t"},
            (8, 16),
            None,
        ),
    ],
)
def test_who_belongs_to_a_job(
    mine: dict[str, str], theirs: dict[str, str], batches: tuple[int, int], said: str | None
) -> None:
    found = objection(mine, theirs, *batches)
    assert (found is None) if said is None else (said in str(found))


def test_long_terms_are_short_on_the_wire_and_still_differ() -> None:
    long = [f"x{n}=1x3x224x224" for n in range(50)]
    one, same, other = (job_of({"--shapes": value}, {}) for value in (long, list(long), [*long, "y"]))
    assert len(one.terms["--shapes"]) <= 60
    assert one.objection(same.to_json()) is None
    assert "it was started with --shapes" in str(one.objection(other.to_json()))


def test_a_rank_of_another_job_is_told_so_and_so_is_rank_0() -> None:
    address, said = ("127.0.0.1", free_port()), list[str]()
    found: list[Any] = []

    def first() -> None:
        try:
            TcpLink(Place(0, 2, address=address), patience_s=1.0, say=said.append, terms={"--batch": [8]})
        except RunError as error:
            found.append(error)

    listener = threading.Thread(target=first)
    listener.start()
    time.sleep(0.2)
    text = "it was started with --batch 16, and rank 0 with 8"
    with pytest.raises(UsageError, match=f"refused rank 1: {text}") as caught:
        TcpLink(Place(1, 2, address=address), terms={"--batch": [16]})
    assert "its own port" in caught.value.hint
    listener.join(timeout=10)
    assert said[1:] == [f"rank 1 at 127.0.0.1 was refused: {text}"]
    assert f"did not come within 1.0 s: 1. Rank 1 at 127.0.0.1 was refused: {text}." in found[0].message
