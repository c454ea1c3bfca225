"""Every note fires for its cause and for nothing else; none invalidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.measurement.scripted import CHECK, clean, timeline
from tests.measurement.test_verdict import whole_sentences
from trtkit.artifacts.bench import BenchResult
from trtkit.measurement.notes import RULES, notes
from trtkit.measurement.verdict import judge

STEADY = [10.0] * 100
NOISY = (10 * (1 + 0.03 * np.random.default_rng(1).standard_normal(100))).tolist()


def conditions(**fields: Any) -> BenchResult:
    return clean(conditions=fields)


def warmup(**fields: Any) -> BenchResult:
    return conditions(
        warmup={"iterations": 9, "seconds": 120.5, "first_ms": 11.0, "last_ms": 10.0, "steady": True, **fields}
    )


CASES: dict[str, tuple[BenchResult, str, str]] = {
    "spread": (clean(timeline=timeline(NOISY)), "unstable", "CoV; limit 2.5 %"),
    "time ran out": (
        clean(
            timeline=timeline([9.9, 10.1] * 20),
            conditions={"stopped": "max-duration"},
            settings={"max_duration_s": 30.0},
        ),
        "not-confident",
        "After 30.0 s the median's 95 % interval is 2.02% wide; 1.00% was asked",
    ),
    "five samples": (
        clean(timeline=timeline([10.0] * 5), conditions={"stopped": "max-duration"}),
        "few-samples",
        "5 iterations fitted into 30.0 s; 10 were asked for",
    ),
    "clock": (conditions(sm_clock_mhz=(1980, 1800, 1850)), "clock-moved", "between 1800 and 1980 MHz (median 1850"),
    "power": (
        clean(conditions={"throttle_reasons": {"sw_power_cap": 0.8}}, device={"power_limit_w": 700.0}),
        "power-capped",
        "limit of 700 W in 80% of the samples",
    ),
    "launches": (
        clean(timeline=timeline(STEADY, enqueue_ms=8.1)),
        "enqueue-bound",
        "8.100 ms to start what takes 10.000",
    ),
    "copies in": (
        clean(timeline=timeline(STEADY, h2d_ms=12.0), settings={"mode": "overlapped"}),
        "copy-bound",
        "Copying in takes 12.000 ms, the computation 10.000 ms",
    ),
    "copies out": (
        clean(timeline=timeline(STEADY, d2h_ms=10.5), settings={"mode": "transfers"}),
        "copy-bound",
        "Copying out takes 10.500 ms",
    ),
    "compiler": (warmup(first_ms=5200.0), "compiled-first", "took 5.2 s, later ones 10.001 ms"),
    "cut off": (warmup(steady=False), "warm-up-cut", "After 2 min 0 s of warm-up"),
    "no graph": (
        conditions(facts={"graph": False, "graph_problem": "the engine synchronizes."}),
        "graph-not-captured",
        "the engine synchronizes",
    ),
    "range": (
        conditions(facts={"profile_ranges": {"data": [[1, 3], [32, 3], [128, 3]]}}),
        "range-of-shapes",
        "built for data 1x3 to 128x3; one for the shape measured",
    ),
    "no reference": (conditions(check={**CHECK, "matches": None}), "unchecked", "were not compared with a reference."),
    "reference failed": (
        conditions(check={**CHECK, "matches": None, "problem": "Host memory ran out."}),
        "unchecked",
        "reference: Host memory ran out.",
    ),
    "no check": (conditions(check=None), "unchecked", "were not compared"),
    "shared": (conditions(foreign_cpu=0.43), "shared-cpu", "43% of the processors' time"),
    "tf32": (
        clean(subject={"precision": "fp32", "observed": "tf32", "proof": "the error is 7e-3"}),
        "other-precision",
        "Asked was fp32, observed is tf32: the error is 7e-3.",
    ),
    "faster than its gemm": (
        clean(device={"device": "cpu"}, peak_ops_per_s=1e12, peak_source="measured GEMM"),
        "above-measured-peak",
        "160% of the matrix product",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_note_fires_alone_gives_its_numbers_and_does_not_invalidate(name: str) -> None:
    result, expected, text = CASES[name]
    verdict = judge(result)
    assert verdict.valid
    fired = [finding.id for finding in verdict.notes]
    # Five samples are never confident either: both are said.
    assert fired == (["not-confident", "few-samples"] if name == "five samples" else [expected])
    finding = next(finding for finding in verdict.notes if finding.id == expected)
    assert text in finding.text
    assert whole_sentences(finding) and finding.values


def test_every_rule_is_proved_here() -> None:
    proved = {expected for _, expected, _ in CASES.values()}
    fired = {finding.id for rule in RULES for result, _, _ in CASES.values() if (finding := rule(result)) is not None}
    assert fired == proved
    assert len(proved) == len(RULES)


HARMLESS: dict[str, BenchResult] = {
    "a little spread": clean(timeline=timeline([10.0, 10.2] * 50)),
    "confident at the very end": conditions(stopped="max-duration"),
    "a fixed window of few": clean(timeline=timeline([10.0] * 5), conditions={"stopped": "fixed"}),
    "an engine for one shape": conditions(facts={"profile_ranges": {"data": [[8, 3], [8, 3], [8, 3]]}}),
    "no profile": conditions(facts={"profile_ranges": {}}),
    "a steady clock": conditions(sm_clock_mhz=(1980, 1890)),
    "launches well below": clean(timeline=timeline(STEADY, enqueue_ms=7.9)),
    "a call that is the computation": clean(
        device={"device": "cpu"}, timeline=timeline(STEADY, enqueue_ms=10.0), peak_ops_per_s=None
    ),
    "copies shorter than the computation": clean(timeline=timeline(STEADY, h2d_ms=9.9, d2h_ms=9.9)),
    "a slow first iteration of a fast net": warmup(first_ms=150.0),
    "a long first iteration of a slow net": clean(
        timeline=timeline([1000.0] * 20), conditions={"warmup": {"first_ms": 2000.0, "steady": True}}
    ),
    "a graph": conditions(facts={"graph": True, "graph_problem": None}),
    "a quiet machine": conditions(foreign_cpu=0.04),
    "unknown load": conditions(foreign_cpu=None),
    "mixed precision": clean(subject={"precision": "fp16", "observed": "fp16 + fp32"}),
    "no observation": clean(subject={"precision": "fp16", "observed": None}),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_no_note_fires_without_a_cause(name: str) -> None:
    assert notes(HARMLESS[name]) == ()


def test_an_empty_timeline_breaks_no_rule() -> None:
    assert [finding.id for finding in notes(clean(timeline=timeline([])))] == ["few-samples"]
