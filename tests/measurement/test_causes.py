"""Why a device is slow: every cause alone, from scripted measurements, and silence where nothing is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.measurement.scripted import clean, timeline
from trtkit.artifacts.scale import ALONE, TOGETHER, Phase, ScaleResult, Share
from trtkit.measurement.causes import causes

SECONDS = 2.0


def phase(name: str, ms: float, *, h2d_ms: float = 0.0, enqueue_ms: float = 0.01, **changes: Any) -> Phase:
    count = int(3000 / ms)
    line = timeline([ms - h2d_ms] * count, h2d_ms=h2d_ms, enqueue_ms=enqueue_ms)
    return Phase(name, 0.5, SECONDS, clean(timeline=line, **changes))


def share(index: int, ms: float = 10.0, *, alone_ms: float | None = None, name: str = "H100", **changes: Any) -> Share:
    phases = {TOGETHER: phase(TOGETHER, ms, **changes)}
    if alone_ms is not None:
        phases |= {each: phase(each, alone_ms) for each in ALONE}
    return Share(f"cuda:{index}", name, "node1", 0, phases)


def fellows(slow: Share) -> ScaleResult:
    return ScaleResult((share(0), share(1), share(2), slow))


def test_nothing_is_said_of_equal_devices() -> None:
    assert causes(fellows(share(3, 10.2, alone_ms=10.1))) == ()
    assert causes(ScaleResult(())) == ()


def test_the_sentence() -> None:
    capped = {"sm_clock_mhz": (1410, 1410, 1395), "throttle_reasons": {"sw_power_cap": 1.0}}
    others = [share(index, conditions={"sm_clock_mhz": (1755,) * 3}) for index in range(3)]
    (found,) = causes(ScaleResult((*others, share(3, 10.64, conditions=capped))))
    assert found.id == "slow-device"
    assert found.text == "cuda:3 is 6 % slow: 1410 MHz against 1755 MHz, power cap."
    assert found.values["share_slower"] == pytest.approx(0.06, abs=0.001)
    assert found.values["fellows_median_images_per_s"] == pytest.approx(800)
    assert "clock limits" in found.next_step


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"conditions": {"sm_clock_mhz": (1500, 1500)}}, "1500 MHz against 1980 MHz"),
        ({"conditions": {"throttle_reasons": {"sw_thermal_slowdown": 0.4}}}, "too hot 40 % of the time"),
        ({"conditions": {"throttle_reasons": {"new_reason": 1.0, "gpu_idle": 0.1}}}, "new reason"),
        ({"conditions": {"foreign_processes": ("python (7)",)}}, "others work on it (python (7))"),
        ({"conditions": {"foreign_cpu": 0.3}}, "30 % of its processors' time went to other processes"),
        ({"enqueue_ms": 9.0}, "the host's launches take 900.00 × as long"),
    ],
    ids=["clock", "heat", "unknown limit", "foreign process", "foreign cpu", "launches"],
)
def test_each_cause_alone(changes: dict[str, Any], said: str) -> None:
    # 4 % slower is told; 4 % more time in the computation is no cause by itself.
    (found,) = causes(fellows(share(3, 10.42, **changes)))
    assert found.text == f"cuda:3 is 4 % slow: {said}."
    assert found.next_step.endswith(".")


def test_slow_copies_and_a_narrow_link_are_causes_where_there_are_copies() -> None:
    copying = {"settings": {"mode": "overlapped"}, "h2d_ms": 2.0}
    slow = share(3, 12.0, settings={"mode": "overlapped"}, h2d_ms=4.0, device={"pcie": "gen4 x8", "numa_node": 1})
    others = [share(index, 10.0, device={"numa_node": 0}, **copying) for index in range(3)]
    (found,) = causes(ScaleResult((*others, slow)))
    assert found.text == (
        "cuda:3 is 17 % slow: PCIe gen4 x8 against gen5 x16, copies to the device take 2.00 × as long, "
        "on memory node 1, the others on 0."
    )
    (compute,) = causes(fellows(share(3, 12.0, device={"pcie": "gen4 x8", "numa_node": 1})))
    assert "PCIe" not in compute.text and "node" not in compute.text


def test_a_computation_that_takes_longer_for_no_visible_reason_is_told_as_that() -> None:
    (found,) = causes(fellows(share(3, 12.0)))
    assert found.text == "cuda:3 is 17 % slow: the computation takes 1.20 × as long."


def test_what_has_no_visible_cause_is_said_to_have_none() -> None:
    (found,) = causes(fellows(share(3, 10.42)))
    assert "no cause is visible" in found.text


def test_a_limit_that_all_meet_is_no_cause_unless_the_clock_is_lower() -> None:
    limit = {"throttle_reasons": {"sw_power_cap": 1.0}}
    others = [share(index, conditions=limit) for index in range(3)]
    (equal,) = causes(ScaleResult((*others, share(3, 10.42, conditions=limit))))
    assert "power cap" not in equal.text
    (lower,) = causes(ScaleResult((*others, share(3, 10.42, conditions={**limit, "sm_clock_mhz": (1500,)}))))
    assert lower.text.endswith("1500 MHz against 1980 MHz, power cap.")


def test_devices_of_another_name_are_no_fellows() -> None:
    assert causes(ScaleResult((share(0), share(1, 20.0, name="L4")))) == ()


def test_a_loss_against_itself_alone() -> None:
    result = ScaleResult((share(0, 12.5, alone_ms=10.0), share(1, 12.5, alone_ms=10.0)))
    found = causes(result)
    assert [finding.id for finding in found] == ["scaling-loss"] * 2
    assert found[0].text == "cuda:0 delivers 80 % of what it does alone: the computation takes 1.25 × as long."
    assert found[0].values["efficiency"] == pytest.approx(0.8)


def test_drift_between_before_and_after() -> None:
    one = share(0, alone_ms=10.0)
    warm = replace(one, phases={**one.phases, ALONE[1]: phase(ALONE[1], 10.5)})
    (found,) = causes(ScaleResult((warm,)))
    assert (found.id, found.text) == ("drift", "cuda:0 alone gave 800 images/s before and 762 after (-5 %).")


def test_a_device_that_did_not_work_throughout_the_window() -> None:
    late = phase(TOGETHER, 10.0)
    late = replace(late, start_monotonic_s=late.start_monotonic_s - 0.75)
    (found,) = causes(ScaleResult((Share("cuda:0", "H100", "node1", 0, {TOGETHER: late}),)))
    assert (found.id, found.values["idle_s"]) == ("late", pytest.approx(0.25))
    assert found.text == "cuda:0 did not work for 0.25 s of the 2.00 s (together)."


@pytest.mark.parametrize(
    ("error_s", "drift_s", "drift_error_s", "said"),
    [
        (0.0, 0.0, 0.0, None),
        (2e-4, None, 0.0, None),
        (2e-4, 0.015, 4e-4, None),
        (2e-4, -0.03, 4e-4, "moved against each other by -30.00 ms during the run and are known within 0.60 ms"),
        (0.05, None, 0.0, "did not visibly move and are known within 50.00 ms"),
    ],
)
def test_clocks_are_doubted_beyond_a_hundredth_of_the_window(
    error_s: float, drift_s: float | None, drift_error_s: float, said: str | None
) -> None:
    clocks = {"clock_error_s": error_s, "clock_drift_s": drift_s, "clock_drift_error_s": drift_error_s}
    found = causes(replace(fellows(share(3)), **clocks))
    assert [one.id for one in found] == (["clock"] if said else [])
    assert said is None or (said in found[0].text and found[0].values["clock_drift_s"] == drift_s)
