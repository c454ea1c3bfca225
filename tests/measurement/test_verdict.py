"""Every reason fires for its cause and for nothing else, with its numbers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.measurement.scripted import CHECK, clean, timeline
from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.finding import Finding
from trtkit.measurement.verdict import judge, link_bytes_per_s


def conditions(**fields: Any) -> BenchResult:
    return clean(conditions=fields)


def check(**fields: Any) -> BenchResult:
    return conditions(check={**CHECK, **fields})


def copying(h2d_ms: float, **changes: Any) -> BenchResult:
    return clean(
        **{
            "settings": {"mode": "transfers"},
            "timeline": timeline([10.0] * 50, h2d_ms=h2d_ms),
            "conditions": {"facts": {"input_bytes": 100_000_000}},
            **changes,
        }
    )


def test_nothing_speaks_against_a_clean_measurement() -> None:
    verdict = judge(clean())
    assert verdict.valid
    assert verdict.reasons == ()
    assert verdict.notes == ()


CASES: dict[str, tuple[BenchResult, str, str]] = {
    **{
        name: (conditions(throttle_reasons={name: 0.25}), "throttled", "25% of the samples")
        for name in (
            "sw_thermal_slowdown",
            "hw_thermal_slowdown",
            "hw_slowdown",
            "hw_power_brake_slowdown",
            "sync_boost",
        )
    },
    "power cap far below": (
        conditions(throttle_reasons={"sw_power_cap": 1.0}, sm_clock_mhz=(1000, 1000, 1010)),
        "throttled",
        "1000 MHz, 51% of 1980 MHz",
    ),
    "somebody else": (conditions(foreign_processes=("python (123)",)), "foreign-process", "python (123)"),
    "cpu instead of cuda": (conditions(provider="CPUExecutionProvider"), "wrong-provider", "CUDAExecutionProvider"),
    "a part on the cpu": (
        conditions(provider="CUDAExecutionProvider", facts={"elsewhere": {"MatMul": 2, "Conv": 1}}),
        "wrong-provider",
        "1 Conv, 2 MatMul on the CPU",
    ),
    "cuda instead of cpu": (
        clean(device={"device": "cpu:0/2"}, conditions={"provider": "CUDAExecutionProvider"}),
        "wrong-provider",
        "needs CPUExecutionProvider",
    ),
    "above peak": (clean(peak_ops_per_s=1.0e12), "above-peak", "160% of the theoretical peak (NVIDIA H100 datasheet)"),
    "above the link": (copying(1.0), "above-link", "100.0 GB/s were copied to the device; its link carries 63.0 GB/s"),
    "above the measured bandwidth": (
        copying(2.5, device={"pcie": None}, conditions={"facts": {"input_bytes": 10**8, "h2d_bytes_per_s": 30e9}}),
        "above-link",
        "40.0 GB/s were copied to the device; its link carries 33.0 GB/s",
    ),
    "nan": (check(finite=False, not_finite={"prob": 7}), "not-finite", "prob 7"),
    "another function": (check(matches=False, relative_l2=0.5), "wrong-output", "is 5.0e-01 (limit 1.0e-02)"),
    "another function, not defined": (check(matches=False, relative_l2=None), "wrong-output", "is not defined"),
    "another class": (
        check(matches=False, relative_l2=None, agreement=0.5),
        "wrong-output",
        "50.0% of integers agree (limit 95%)",
    ),
    "another path": (check(run_matches=False, run_relative_l2=0.25), "timed-path", "is 2.5e-01 (limit 1.0e-02)"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_reason_fires_alone_and_gives_its_numbers(name: str) -> None:
    result, expected, text = CASES[name]
    verdict = judge(result)
    assert not verdict.valid
    assert [finding.id for finding in verdict.reasons] == [expected]
    finding = verdict.reasons[0]
    assert text in finding.text
    assert whole_sentences(finding)


HARMLESS: dict[str, BenchResult] = {
    "idle and application clocks": conditions(throttle_reasons={"gpu_idle": 0.5, "applications_clocks_setting": 1.0}),
    "power cap at full load": conditions(throttle_reasons={"sw_power_cap": 1.0}, sm_clock_mhz=(1600, 1590)),
    "power cap, clocks not known": conditions(throttle_reasons={"sw_power_cap": 1.0}, sm_clock_mhz=()),
    "the provider that was asked for": conditions(provider="CUDAExecutionProvider"),
    "no provider at all": conditions(provider=None),
    "below peak": clean(peak_ops_per_s=1.7e12),
    "no peak": clean(peak_ops_per_s=None),
    "no macs": clean(subject={"macs_per_image": None}, peak_ops_per_s=1.0),
    "above a measured peak": clean(
        device={"device": "cpu"}, peak_ops_per_s=1e12, peak_source="measured GEMM", conditions={"provider": None}
    ),
    "as fast as the link": copying(1.6),
    "a fast link that sleeps": copying(1.6, device={"pcie": "gen1 x16", "pcie_max": "gen5 x16"}),
    "an unknown link": copying(0.001, device={"pcie": None, "pcie_max": None}),
    "no copies in this mode": copying(0.001, settings={"mode": "compute"}),
    "an error within the limit": check(relative_l2=9.9e-3),
    "never checked": conditions(check=None),
    "no samples": clean(timeline=timeline([])),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_no_reason_fires_without_a_cause(name: str) -> None:
    assert judge(HARMLESS[name]).reasons == ()


def test_two_causes_are_two_reasons() -> None:
    both = conditions(foreign_processes=("a (1)", "b (2)"), throttle_reasons={"hw_slowdown": 0.1})
    assert [finding.id for finding in judge(both).reasons] == ["throttled", "foreign-process"]


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("gen5 x16", 63.0e9),
        ("gen3 x8", 7.88e9),
        ("gen1 x1", 0.25e9),
        ("gen9 x16", None),
        ("NVLink", None),
        (None, None),
    ],
)
def test_links_in_bytes_per_second(link: str | None, expected: float | None) -> None:
    assert link_bytes_per_s(link) == (pytest.approx(expected, rel=1e-3) if expected else None)


def whole_sentences(finding: Finding) -> bool:
    text, step = finding.text, finding.next_step
    return text[0].isupper() | text[0].isdigit() and text.endswith(".") and step[0].isupper() and step.endswith(".")
