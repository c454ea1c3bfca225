"""The batch ladder against a machine that runs every batch up to a secret one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtkit.artifacts.sweep import Attempt
from trtkit.measurement import failure
from trtkit.measurement.ladder import REASONS, ending, foothold, next_step, with_memory

TOTAL = 80 * 2**30


def climb(
    top: int,
    *,
    reason: str = "device_memory",
    smallest: int = 1,
    limit: int | None = None,
    skip: bool = False,
    within: float = 0.0,
    known: tuple[Attempt, ...] = (),
    uses: Callable[[int], int] | None = None,
) -> list[Attempt]:
    """All attempts of a ladder on a machine on which ``top`` is the largest batch that runs."""
    attempts: list[Attempt] = list(known)
    climbs = not any(not attempt.ran for attempt in known)
    while (step := next_step(attempts, smallest=smallest, limit=limit, within=within, climb=climbs)) is not None:
        if step.batch <= top:
            used = {"device_bytes": uses(step.batch), "device_total_bytes": TOTAL} if uses else {}
            attempts.append(Attempt(step.batch, "measured" if step.full else "probed", **used))
        else:
            attempts.append(Attempt(step.batch, "skipped" if skip else "failed", reason, "words"))
        assert len(attempts) < 200
    return attempts


def test_reasons_are_those_that_failures_are_told_apart_by() -> None:
    assert set(REASONS) == set(failure.REASONS)


def test_powers_of_two_then_bisection_then_the_largest_in_full() -> None:
    attempts = climb(22)
    assert [a.batch for a in attempts] == [1, 2, 4, 8, 16, 32, 24, 20, 22, 23, 22]
    assert [a.outcome for a in attempts[-2:]] == ["failed", "measured"]


@given(st.integers(0, 5000), st.integers(1, 40), st.booleans())
def test_the_largest_that_runs_is_found_and_measured(top: int, smallest: int, skip: bool) -> None:
    attempts = climb(top, smallest=smallest, skip=skip)
    assert all(attempt.batch >= smallest for attempt in attempts)
    if top < smallest:
        assert [attempt.batch for attempt in attempts] == [smallest]
        assert ending(attempts).startswith("no batch ran")
    else:
        assert attempts[-1] == Attempt(top, "measured") or Attempt(top, "measured") in attempts
        assert ending(attempts).startswith(f"batch {top:,} is the largest that ran; {top + 1:,} ")
    assert len(attempts) <= 2 * max(top, 2).bit_length() + 4


@given(st.integers(1, 3000), st.integers(1, 2000))
def test_a_limit_is_tried_itself_and_never_passed(top: int, limit: int) -> None:
    attempts = climb(top, limit=limit)
    assert max(attempt.batch for attempt in attempts) <= limit
    assert max(attempt.batch for attempt in attempts if attempt.ran) == min(top, limit)
    assert (Attempt(limit, "measured") in attempts) == (top >= limit)


def test_a_limit_is_the_end_that_is_named() -> None:
    assert ending(climb(100, limit=12), limit=12, limit_because="--sweep-limit") == (
        "batch 12 is the largest that was to be tried (--sweep-limit)"
    )


def test_patience_has_no_edge_to_be_bisected() -> None:
    attempts = climb(8, reason="timeout", skip=True)
    assert [a.batch for a in attempts] == [1, 2, 4, 8, 16]
    assert ending(attempts) == (
        "batch 8 is the largest that ran; 16 was not tried: one attempt would take longer than it may (words)"
    )


def test_a_batch_that_ran_once_and_failed_in_full_counts_as_failed() -> None:
    attempts = [Attempt(1, "measured"), Attempt(2, "measured"), Attempt(4, "failed", "other")]
    attempts += [Attempt(3, "probed"), Attempt(3, "failed", "other")]
    assert next_step(attempts) is None
    assert ending(attempts).startswith("batch 2 is the largest that ran; 3 failed: the runtime failed")


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_reason_has_its_words(reason: str) -> None:
    attempts = [Attempt(1, "measured"), Attempt(2, "failed", reason, "said")]
    assert ending(attempts).endswith(f"2 failed: {REASONS[reason]} (said)")


@given(st.integers(1, 5000), st.integers(1, 40), st.sampled_from([0.01, 0.05, 0.3, 0.99]))
def test_within_a_share_the_edge_is_as_close_as_that(top: int, smallest: int, within: float) -> None:
    attempts = climb(top, smallest=smallest, within=within)
    assert len(attempts) <= len(climb(top, smallest=smallest))
    if top < smallest:
        return
    found = max(attempt.batch for attempt in attempts if attempt.ran)
    wall = min(attempt.batch for attempt in attempts if not attempt.ran)
    assert wall - found <= max(1, within * found) and found <= top < wall
    assert Attempt(found, "measured") in attempts
    said = "ran" if wall - found == 1 else "was seen to run"
    assert ending(attempts, within=within).startswith(f"batch {found:,} is the largest that {said}; {wall:,} failed")


def test_an_edge_that_was_not_looked_for_exactly_says_so() -> None:
    attempts = [Attempt(15360, "measured"), Attempt(15872, "failed", "device_memory")]
    assert next_step(attempts, smallest=15360, within=0.05, climb=False) is None
    assert ending(attempts, within=0.05) == (
        "batch 15,360 is the largest that was seen to run; 15,872 failed: the device's memory is too small "
        "(looked for within 5 %)"
    )
    because = [attempts[0], Attempt(15872, "failed", "device_memory", "out of memory")]
    assert ending(because, within=0.05).endswith("too small (looked for within 5 %; out of memory)")
    patience = [Attempt(8, "measured"), Attempt(16, "skipped", "timeout")]
    assert "within" not in ending(patience, within=0.05)


def test_what_is_known_is_not_tried_again() -> None:
    known = [Attempt(64, "measured"), Attempt(1, "measured"), Attempt(512, "failed", "other"), Attempt(8, "failed")]
    assert foothold(known) == (known[0], known[2])
    assert foothold(known, limit=300) == (known[0],)
    assert foothold(known, limit=63) == (known[1], known[3])
    assert foothold(known[2:]) == foothold([]) == ()


def test_from_the_largest_that_is_known_to_run() -> None:
    attempts = climb(1500, smallest=512, known=(Attempt(512, "measured"),))
    assert [attempt.batch for attempt in attempts[:4]] == [512, 1024, 2048, 1536]
    assert attempts[-1] == Attempt(1500, "measured")
    odd = climb(300, smallest=100, known=(Attempt(100, "measured"),))
    assert [attempt.batch for attempt in odd[:5]] == [100, 128, 256, 512, 384]


@given(st.integers(1, 600), st.integers(0, 600), st.integers(1, 200))
def test_below_a_failure_that_is_known_there_is_only_bisection(low: int, more: int, beyond: int) -> None:
    top, wall = low + more, low + more + beyond
    attempts = climb(top, smallest=low, known=(Attempt(low, "measured"), Attempt(wall, "failed", "device_memory")))
    assert all(low < attempt.batch < wall for attempt in attempts[2:])
    assert Attempt(top, "measured") in attempts
    assert ending(attempts).startswith(f"batch {top:,} is the largest that ran; {top + 1:,} failed")
    assert len(attempts) <= 2 + (wall - low).bit_length() + 1


def test_what_was_known_and_is_lost_is_measured_again() -> None:
    attempts = climb(70, smallest=64, known=(Attempt(100, "failed", "device_memory"),))
    assert [attempt.batch for attempt in attempts[:3]] == [100, 64, 82]
    assert attempts[-1] == Attempt(70, "measured")


def batches(attempts: list[Attempt], outcome: str = "measured") -> set[int]:
    return {attempt.batch for attempt in attempts if attempt.outcome == outcome}


@given(st.integers(300_000, 40_000_000), st.integers(0, 2**33))
def test_on_a_device_that_behaves_linearly_an_exact_edge_takes_half_the_attempts(each: int, base: int) -> None:
    top = (TOTAL - base) // each
    guided, plain = climb(top, uses=lambda batch: base + each * batch), climb(top)
    assert batches(guided) == batches(plain)
    climbed = top.bit_length() + 1  # the powers of two and the first failure; the largest in full comes at the end
    probes, halvings = len(guided) - climbed - 1, len(plain) - climbed - 1
    assert halvings < 10 or probes <= halvings / 2 + 2


def test_a_real_number_of_attempts() -> None:
    # 5,500,000 bytes an image and 2 GB: 15,254 images fit into 80 GiB.
    guided = climb(15254, uses=lambda batch: 2_000_000_000 + 5_500_000 * batch)
    assert [attempt.batch for attempt in guided[14:17]] == [16384, 15240, 15268]
    assert (len(guided), len(climb(15254))) == (22, 29)


@given(st.integers(1, 20000), st.integers(1, 20000), st.sampled_from([1, 3, 40, 2000]), st.sampled_from([0.0, 0.05]))
def test_memory_that_misleads_costs_two_attempts_at_most(top: int, said: int, jump: int, within: float) -> None:
    """The line says ``said``; in steps of ``jump`` images, so that its slope is wrong too."""
    plain = climb(top)
    for uses in (
        lambda batch: TOTAL * (batch // jump * jump) // said + 1,
        lambda batch: TOTAL - 2**20 * max(said - batch, 0),
        lambda batch: TOTAL // 2 + batch * batch,
        lambda batch: TOTAL // (1 + batch),
    ):
        guided = climb(top, uses=uses)
        assert batches(guided) == batches(plain) and len(guided) <= len(plain) + 2
        near = climb(top, uses=uses, within=within)
        wall = min(attempt.batch for attempt in near if not attempt.ran)
        assert wall - max(batches(near)) <= max(1, within * max(batches(near))) and max(batches(near)) <= top < wall


def test_only_the_device_s_memory_is_predicted() -> None:
    for reason in ("element_limit", "other"):
        assert climb(1500, reason=reason, uses=lambda batch: 2**25 * batch) == [
            replace(a, device_bytes=2**25 * a.batch, device_total_bytes=TOTAL) if a.ran else a
            for a in climb(1500, reason=reason)
        ]


def test_memory_is_what_the_measurement_says() -> None:
    attempt = Attempt(8, "probed")
    assert with_memory(attempt, {"device_bytes": 5}, 80) == replace(attempt, device_bytes=5, device_total_bytes=80)
    assert with_memory(attempt, {}, 80) == with_memory(attempt, {"device_bytes": 5}, None) == attempt
