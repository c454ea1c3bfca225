"""The search over sets of rewrites, on a ground where the speed of each set is written down."""

from __future__ import annotations

import itertools

import pytest

from trtkit.measurement.contest import Contest
from trtkit.pipeline.rewrite_search import TimeUpError, search

ORDER = ("remove_identity", "band", "stem", "stem_16", "merge")


class Paper:
    """Speeds by set; a set whose graph equals another's is mapped onto it; so many contests, then the time is up."""

    def __init__(self, speeds, same=None, contests=99, broken=(), width=1):
        self.speeds = {frozenset(names.split()): speed for names, speed in speeds.items()}
        self.same, self.left, self.broken, self.known = same or {}, contests, broken, {}
        self.width, self.asked = width, []

    def prepare(self, sets, against=None):
        self.asked.append((against, list(sets)))

    def graph(self, names):
        found = frozenset(names) - {"remove_identity"}
        return self.same.get(found, found)

    def key(self, names):
        return " ".join(sorted(self.graph(names)))

    def contest(self, first, second):
        pair = self.graph(first), self.graph(second)
        if pair in self.known:
            return self.known[pair]
        if self.left == 0:
            raise TimeUpError
        self.left -= 1
        for name in self.broken:
            if any(name in graph for graph in pair):
                return f"{name} cannot be built"
        gain = self.speeds[pair[1]] / self.speeds[pair[0]]
        found = Contest(gain, (gain - 0.002, gain + 0.002), 10, 1.0, 1 / gain, "decided")
        self.known[pair], self.known[pair[::-1]] = found, found.reversed
        return found


def test_it_climbs_until_no_step_helps():
    ground = Paper({"": 10, "band": 14, "stem": 9, "merge": 11, "band stem": 12, "band merge": 15,
                    "stem merge": 8, "band stem merge": 13}, same={frozenset({"stem_16"}): frozenset()})  # fmt: skip
    found = search(ground, ("remove_identity", "band"), ("remove_identity", "band", "stem", "merge"))
    assert found.names == ("remove_identity", "band", "merge") and found.finished
    assert found.gains["merge"].gain == pytest.approx(15 / 14) and found.gains["band"].gain == pytest.approx(15 / 11)
    assert found.refused["stem"].gain == pytest.approx(13 / 15) and found.total.gain == pytest.approx(1.5)


def test_what_was_refused_is_tried_again_after_every_step():
    """The band pays only once the stem is fixed, as on a GPU."""
    ground = Paper({"": 10, "band": 9, "stem": 14, "band stem": 24})
    found = search(ground, (), ("band", "stem"))
    assert found.names == ("band", "stem") and found.total.gain == pytest.approx(2.4)


def test_a_safe_rewrite_that_costs_speed_here_is_left_out():
    ground = Paper({"": 10, "band": 12, "stem": 7, "band stem": 9})
    found = search(ground, ("band", "stem"), ("band", "stem"))
    assert found.names == ("band",) and found.refused["stem"].gain == pytest.approx(0.75)


def test_an_alternative_takes_the_place_of_the_other():
    """With both named the first one wins, so that adding stem_16 to stem changes nothing: it has to replace it."""
    same = {frozenset({"stem", "stem_16"}): frozenset({"stem"})}
    ground = Paper({"": 10, "stem": 12, "stem_16": 13}, same=same)
    found = search(ground, ("stem",), ("stem", "stem_16"))
    assert found.names == ("stem_16",)
    slower = Paper({"": 10, "stem": 12, "stem_16": 11}, same=same)
    found = search(slower, ("stem",), ("stem", "stem_16"))
    assert found.names == ("stem",) and found.refused["stem_16"].gain == pytest.approx(11 / 12)


def test_what_cannot_be_measured_is_refused_with_its_reason():
    ground = Paper({"": 10, "band": 12}, broken=("merge",))
    found = search(ground, (), ("band", "merge"))
    assert found.names == ("band",) and found.refused["merge"] == "merge cannot be built"


def test_when_time_is_up_the_best_so_far_stays():
    speeds = {"": 10, "band": 14, "stem": 12, "band stem": 20}
    told = []
    found = search(Paper(speeds, contests=1), (), ("band", "stem"), told.append)
    assert found.names == ("band",) and not found.finished and found.gains["band"].gain == pytest.approx(1.4)
    assert told == ["with band", "with stem"]
    nothing = search(Paper(speeds, contests=0), ("stem",), ("band", "stem"))
    assert nothing.names == ("stem",) and not nothing.finished and nothing.total is None


def test_neighbours_are_prepared_by_the_width_and_the_way_is_the_same():
    speeds = {"": 10, "band": 9, "stem": 14, "merge": 9, "band stem": 24, "stem merge": 13, "band merge": 9,
              "band stem merge": 20}  # fmt: skip
    one, two = Paper(speeds), Paper(speeds, width=2)
    steps = [search(ground, (), ("band", "stem", "merge")) for ground in (one, two)]
    assert steps[0] == steps[1] and steps[0].names == ("band", "stem")
    assert all(len(sets) == 1 for _, sets in one.asked)
    # The first step ends with its second candidate: the third was not prepared.
    assert two.asked[0] == ((), [("band",), ("stem",)]) and two.asked[1][0] == ("stem",)
    assert two.asked[-2:] == [
        (("band", "stem"), [("band", "stem", "merge"), ("stem",)]),
        (("band", "stem"), [("band",)]),
    ]


def test_from_anywhere_it_ends_where_no_single_step_is_faster():
    names = ("band", "stem", "merge")
    for seed in range(20):
        speeds = {}
        for index, size in enumerate(itertools.chain.from_iterable(
            itertools.combinations(names, count) for count in range(4)
        )):  # fmt: skip
            speeds[" ".join(size)] = 10 + (seed * 7919 + index * 104729) % 97
        ground = Paper(speeds)
        found = search(ground, ("merge",), names)
        here = ground.speeds[frozenset(found.names)]
        for name in names:
            assert ground.speeds[frozenset({*found.names} ^ {name})] <= 1.012 * here
