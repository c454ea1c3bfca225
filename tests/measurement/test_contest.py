"""Contests on a scripted clock: what disturbs both sides cancels, and measuring ends when the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from trtkit.artifacts.timeline import Iteration
from trtkit.measurement.contest import Contest, ContestRule, alternate


class Clock:
    """Seconds that only pass when someone computes, times a load that both sides feel."""

    def __init__(self, load=lambda now: 1.0):
        self.now, self.load, self.order = 0.0, load, []

    def __call__(self):
        return self.now


class Scripted:
    def __init__(self, name, seconds, clock):
        self.name, self.seconds, self.clock = name, seconds, clock

    def issue(self, slot):
        start = self.clock.now
        self.clock.now += self.seconds() * self.clock.load(start)
        self.clock.order.append(self.name)
        self.row = Iteration(*[start * 1e3] * 5, *[self.clock.now * 1e3] * 3)

    def finish(self, slot):
        return self.row


def contest(first, second, rule=ContestRule(), load=lambda now: 1.0):  # noqa: B008
    clock = Clock(load)
    return alternate(Scripted("A", first, clock), Scripted("B", second, clock), rule, clock), clock


def test_a_clear_gain_is_decided_soon_and_both_begin_equally_often():
    found, clock = contest(lambda: 0.2, lambda: 0.1)
    assert found.gain == pytest.approx(2) and found.rounds == 10 and found.stopped == "confident" and found.faster
    assert (found.first_ms, found.second_ms) == (pytest.approx(200), pytest.approx(100))
    rounds = "".join(clock.order)
    assert rounds.startswith("ABBAABBA") and rounds.count("A") == rounds.count("B") == 10


def test_equal_sides_are_not_called_faster():
    rng = np.random.default_rng(0)
    noisy = lambda: 0.02 * rng.lognormal(0, 0.1)  # noqa: E731
    found, _ = contest(noisy, noisy, ContestRule(burst_s=0.0, max_rounds=60))
    assert not found.faster and not found.reversed.faster
    assert found.interval[0] < 1 < found.interval[1]


def test_a_load_that_grows_all_the_time_cancels():
    """The machine becomes twice as slow meanwhile; whoever always ran second would lose."""
    rng = np.random.default_rng(1)

    def one():
        return 0.1 * rng.lognormal(0, 0.003)

    found, _ = contest(one, one, ContestRule(burst_s=0.0, confidence=0.0), load=lambda now: 1 + now / 12)
    assert found.gain == pytest.approx(1, abs=0.01) and not found.faster and not found.reversed.faster


def test_time_ends_it_with_what_is_known():
    rng = np.random.default_rng(2)
    found, _ = contest(lambda: rng.uniform(1, 3), lambda: rng.uniform(1, 3), ContestRule(limit_s=20, burst_s=0))
    assert found.stopped == "time" and 6 <= found.rounds < 20
    fast, _ = contest(lambda: 50.0, lambda: 1.0, ContestRule(limit_s=1, burst_s=0))
    assert fast.rounds == 6 and fast.faster


def test_a_gain_of_less_than_a_percent_is_not_worth_it():
    found, _ = contest(lambda: 0.1005, lambda: 0.1)
    assert found.interval[0] > 1 and not found.faster


def test_the_other_way_round_and_back_from_a_file():
    found = Contest(2.0, (1.6, 2.5), 10, 20.0, 10.0, "decided")
    turned = found.reversed
    assert (turned.gain, turned.interval, turned.first_ms) == (0.5, (0.4, 0.625), 10.0)
    assert turned.reversed.gain == 2 and Contest.from_json(found.to_json()) == found
    assert Contest.from_json({**found.to_json(), "interval": None}).interval is None
    assert found.text == "2 (1.6…2.5)"
