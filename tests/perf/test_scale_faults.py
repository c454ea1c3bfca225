"""Each kind of fault of a scaling run once, each way of starting it at least once.

All thirteen, many times each, are a command of their own: ``python -m tests.perf.scale_faults``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("signals, /proc and mpirun of Linux", allow_module_level=True)
pytest.importorskip("psutil")

from tests.perf.scale_faults import CASES, MOST_S, Case, make_plan, mpirun, play

HAS_MPI = mpirun() is not None
HERE = ("local worker-killed", "local bad-plan", "tcp rank-killed", "tcp rank-stopped", "mpirun parent-killed")

SLOW = ("tcp rank-stopped", "mpirun parent-killed")


def test_every_kind_and_every_way_is_among_them() -> None:
    here = [case for case in CASES if case.name in HERE]
    assert {case.fault for case in here} == {case.fault for case in CASES}
    assert {case.way for case in here} == {case.way for case in CASES}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_plan(tmp_path_factory.mktemp("plan"))


def chosen() -> Iterator[Any]:
    for case in CASES:
        if case.name in HERE:
            yield pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.name in SLOW else [])


@pytest.mark.parametrize("case", list(chosen()))
def test_it_ends_soon_says_why_keeps_the_rest_and_leaves_nobody(case: Case, plan: Path, tmp_path: Path) -> None:
    if case.way == "mpirun" and not HAS_MPI:
        pytest.skip("mpirun or mpi4py is missing: pip install 'trtkit[mpi]'")
    found = play(case, plan, tmp_path)
    assert found.wrong == (), found.output
    assert found.seconds <= MOST_S
