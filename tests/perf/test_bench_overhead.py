"""The overhead benchmark's own parts: rows from numbers, and one real pair."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.contract.test_families import conv_net
from tests.perf.bench_overhead import Paired, rows_of
from trtkit import worker


def paired(bare_rate: float, factor: float, count: int = 20) -> Paired:
    """The harness is ``factor`` times as fast, within a thousandth."""
    bare = [bare_rate * (1 + 0.001 * (index % 3)) for index in range(count)]
    cpu = [1 / rate for rate in bare]
    return Paired("net", 2, 1, [rate * factor for rate in bare], bare, [s / factor for s in cpu], cpu)


@pytest.mark.parametrize(("factor", "met"), [(1.0, True), (0.985, True), (0.97, False), (1.03, False)])
def test_both_ends_of_the_interval_are_held_to_two_percent(factor: float, met: bool) -> None:
    wall, cpu, added = rows_of([paired(100.0, factor)])
    assert (wall.met, cpu.met, added.met) == (met, met, None)
    assert wall.judged == pytest.approx(abs(factor - 1), abs=1e-9)
    assert added.measured == pytest.approx(2e6 / 100.0 * (1 / factor - 1), rel=2e-3, abs=1e-9)


def test_microseconds_are_reported_and_not_judged() -> None:
    wall, cpu, added = rows_of([paired(100_000.0, 0.5)])
    assert (wall.met, cpu.met) == (None, None)
    assert added.measured == pytest.approx(20.0, rel=2e-3)


def test_a_pair_is_measured_in_a_worker(tmp_path: Path) -> None:
    onnx.save(conv_net(), tmp_path / "tiny.onnx")
    answer = worker.run(
        "tests.perf.bench_overhead:pairs",
        {"model": str(tmp_path / "tiny.onnx"), "batch": 2, "threads": 1, "rounds": 2, "seconds": 0.05},
        what="a pair",
    )
    found = Paired(**answer.value)
    assert len(found.harness) == len(found.bare) == len(found.harness_cpu_s) == len(found.bare_cpu_s) == 2
    assert all(rate > 10 for rate in (*found.harness, *found.bare))
