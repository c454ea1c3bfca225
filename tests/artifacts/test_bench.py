"""Results of benchmarks: whole through JSON, figures by hand, unknown layouts refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.measurement.scripted import clean, timeline
from trtkit.artifacts.bench import SCHEMA, BenchResult
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.finding import Finding, Verdict
from trtkit.errors import PlanError
from trtkit.measurement.verdict import judge

FINDING = Finding("unstable", "Computing times vary by 3.0%.", "Measure for longer.", {"cov": 0.03})


def whole() -> BenchResult:
    """A result in which no field has its default."""
    made = clean(
        subject={"rewrites": ("lrn",), "observed": "fp16 + fp32", "proof": "layers"},
        conditions={
            "power_w": (600.0, 650.0),
            "temperature_c": (50, 51),
            "memory_clock_mhz": (2619,),
            "foreign_processes": ("python (1)",),
            "throttle_reasons": {"sw_power_cap": 0.5},
            "energy_j": 1500.0,
            "energy_s": 2.4,
            "monitor": {"samples": 2},
            "peak_rss_bytes": 10**9,
        },
        settings={"shapes": {"x": (8, 3, 224, 224)}, "affinity": (0, 1), "buffers": 4, "profile": "x: 1…8"},
        device={"affinity": (0, 1), "power_limit_w": 700.0},
        timeline=timeline([10.0, 10.5, 9.75] * 4, h2d_ms=1.0, d2h_ms=0.5),
        environment={"trtkit": "0"},
        command=("trtkit", "bench"),
        created="2026-01-01T00:00:00+00:00",
    )
    return made.judged(judge(made))


def test_a_result_comes_back_whole_from_json() -> None:
    result = whole()
    assert result.verdict.reasons and result.verdict.notes
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert BenchResult.from_json(document) == result
    assert list(document)[:4] == ["schema", "subject", "verdict", "summary"]


def test_figures_by_hand() -> None:
    result = whole()
    # 12 iterations of 8 images; each 1.0 + 0.5 ms of copies, 121 ms of computation in all
    wall_s = (12 * 1.5 + 4 * (10.0 + 10.5 + 9.75)) / 1e3
    rate = 96 / wall_s
    assert result.throughput_images_per_s == pytest.approx(rate)
    assert result.fraction_of_peak == pytest.approx(rate * 2e9 / 989.5e12)
    assert result.images_per_joule == pytest.approx(rate / 625.0)
    summary = result.to_json()["summary"]
    assert summary["fraction_of_peak"] == result.fraction_of_peak
    assert summary["images_per_joule"] == result.images_per_joule


@pytest.mark.parametrize(
    "changes", [{"peak_ops_per_s": None}, {"subject": {"macs_per_image": None}}, {"timeline": timeline([])}], ids=str
)
def test_an_unknown_makes_the_fraction_unknown(changes: dict[str, Any]) -> None:
    assert clean(**changes).fraction_of_peak is None


def test_power_is_the_counters_else_that_of_readings_which_have_settled() -> None:
    ramp = (100.0,) * 20 + (600.0, 610.0, 590.0, 600.0, 600.0)
    watched = {"monitor": {"interval_s": 0.05}}
    assert clean(conditions={"power_w": ramp, **watched}).conditions.mean_power_w == 600.0
    assert clean(conditions={"power_w": ramp[:24], **watched}).images_per_joule is None, "too few have settled"
    counted = clean(conditions={"power_w": ramp, "energy_j": 650.0, "energy_s": 0.5, **watched})
    assert counted.conditions.mean_power_w == 1300.0
    rate = counted.throughput_images_per_s
    assert rate is not None and counted.images_per_joule == pytest.approx(rate / 1300)
    assert counted.to_json()["summary"]["mean_power_w"] == 1300.0
    assert BenchResult.from_json(counted.to_json()).images_per_joule == pytest.approx(counted.images_per_joule)


def test_without_power_there_are_no_images_per_joule() -> None:
    assert clean().images_per_joule is None
    assert clean(conditions={"power_w": (0.0,)}).images_per_joule is None


@pytest.mark.parametrize("schema", [None, 0, SCHEMA + 1, "1"])
def test_an_unknown_layout_is_refused(schema: object) -> None:
    document = {**whole().to_json(), "schema": schema}
    with pytest.raises(PlanError, match="schema") as caught:
        BenchResult.from_json(document)
    assert caught.value.hint


@pytest.mark.parametrize("part", ["subject", "device", "settings", "conditions", "timeline", "verdict", "command"])
def test_a_missing_or_changed_part_is_refused(part: str) -> None:
    document = json.loads(json.dumps(whole().to_json()))
    for broken in ({k: v for k, v in document.items() if k != part}, {**document, part: 5}):
        with pytest.raises(PlanError, match="incomplete or was changed"):
            BenchResult.from_json(broken)


@pytest.mark.parametrize("mode", MODES)
def test_settings_come_back_from_json(mode: str) -> None:
    settings = BenchSettings(mode, 4, shapes={"x": (4, 3)}, affinity=(1,), threads=1, data="photos")
    assert BenchSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_a_verdict_is_valid_until_there_is_a_reason() -> None:
    assert Verdict().valid and Verdict(notes=(FINDING,)).valid
    invalid = Verdict((FINDING,), (FINDING,))
    assert not invalid.valid
    assert invalid.to_json()["valid"] is False
    assert Verdict.from_json(json.loads(json.dumps(invalid.to_json()))) == invalid


def test_a_verdict_is_added_to_what_was_measured() -> None:
    result = clean()
    judged = result.judged(Verdict((FINDING,)))
    assert judged.verdict.reasons == (FINDING,)
    assert replace(judged, verdict=Verdict()) == result
