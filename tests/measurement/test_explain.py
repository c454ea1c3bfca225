"""Why modes differ: sentences with the numbers of the results."""

from __future__ import annotations

from tests.measurement.scripted import clean, timeline
from trtkit.artifacts.bench import BenchResult
from trtkit.measurement.explain import explain


def ran(
    mode: str, compute_ms: float, *, batch: int = 8, h2d_ms: float = 0.0, d2h_ms: float = 0.0, enqueue_ms: float = 0.01
) -> BenchResult:
    times = timeline([compute_ms] * 20, h2d_ms=h2d_ms, d2h_ms=d2h_ms, enqueue_ms=enqueue_ms, images=batch)
    return clean(settings={"mode": mode, "batch": batch}, timeline=times)


def test_each_mode_is_held_against_the_bare_computation() -> None:
    sentences = explain(
        [
            ran("compute", 2.0, enqueue_ms=1.5),
            ran("compute-graph", 1.0),
            ran("transfers", 1.0, h2d_ms=2.0, d2h_ms=1.0),
            ran("overlapped", 1.0, h2d_ms=3.0),
        ]
    )
    assert sentences[0] == (
        "At batch 8: compute-graph is 2.00 × compute: one launch replaces an enqueue of 1.5 ms, beside 2 ms of "
        "computing."
    )
    assert "transfers is 0.25 × compute-graph: copies in of 2 ms and out of 1 ms" in sentences[1]
    assert "overlapped is 0.25 × compute-graph: copies in of 3 ms" in sentences[2]
    assert "the copy in, which is the longer one, sets the pace" in sentences[2]
    assert "trtexec 11 reports compute-graph" in sentences[3]
    assert len(sentences) == 4


def test_the_largest_batch_with_several_modes_is_spoken_of() -> None:
    results = [ran(mode, 1.0, batch=batch) for mode in ("compute", "overlapped") for batch in (1, 4)]
    sentences = explain([*results, ran("compute", 9.0, batch=64)])
    assert sentences[0].startswith("At batch 4: overlapped is 1.00 × compute")
    assert "the computation, which is the longer one, sets the pace" in sentences[0]


def test_one_mode_needs_no_explanation() -> None:
    assert explain([ran("compute", 1.0), ran("compute", 1.0, batch=16)]) == []
    assert explain([]) == []
