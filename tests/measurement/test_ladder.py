"""The batch ladder against a machine that runs every batch up to a secret one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtkit.artifacts.sweep import Attempt
from trtkit.measurement import failure
from trtkit.measurement.ladder import REASONS, ending, next_step


def climb(
    top: int, *, reason: str = "device_memory", smallest: int = 1, limit: int | None = None, skip: bool = False
) -> list[Attempt]:
    """All attempts of a ladder on a machine on which ``top`` is the largest batch that runs."""
    attempts: list[Attempt] = []
    while (step := next_step(attempts, smallest=smallest, limit=limit)) is not None:
        if step.batch <= top:
            attempts.append(Attempt(step.batch, "measured" if step.full else "probed"))
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
        assert ending(attempts).startswith(f"batch {top} is the largest that ran; {top + 1} ")
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
