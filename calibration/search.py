"""Thresholds improved against what the model says: coordinate descent on the error of the scores.

Every method that looks at one tensor alone (percentile, KL divergence, mean squared error) guesses what an error there
does to the result. Here the result itself is asked: one threshold after the other is moved up or down by a factor, and
a move is kept if the quantized model's scores on calibration samples come closer to the float model's. The idea is that
of loss-aware post-training quantization (Nahshan et al., "Loss Aware Post-training Quantization", 2019,
arXiv:1911.07190), with coordinate descent for Powell's method.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["SearchResult", "search"]

_FACTORS = (1.25, 1.1)
"""Step sizes of the first and the second pass: a coarse one, then a fine one."""
_LONGEST_WALK = 6


@dataclass(frozen=True)
class SearchResult:
    """What the search found.

    Attributes:
        amax: tensor → threshold.
        error_before, error_after: what ``evaluate`` gave at the start and at the end.
        evaluations: how often it was called.
        finished: whether both passes were done; False when the time was up.
        moved: tensors whose threshold changed.
    """

    amax: dict[str, float]
    error_before: float
    error_after: float
    evaluations: int
    finished: bool
    moved: tuple[str, ...]


def search(
    start: Mapping[str, float],
    order: Sequence[str],
    evaluate: Callable[[Mapping[str, float]], float],
    *,
    groups: Sequence[Sequence[str]] = (),
    seconds: float = float("inf"),
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SearchResult:
    """Improve thresholds one after the other.

    Args:
        start: tensor → threshold (amax) to begin with.
        order: the tensors to move, first to last; the graph's order works well.
        evaluate: thresholds → error of the quantized model's scores, lower is better; deterministic.
        groups: tensors that must keep one threshold (they meet in a Concat); they move together.
        seconds: wall time after which the best so far is returned.
        clock: seconds, for the limit.
        progress: is told how many of all coordinates are done.
    """
    best = dict(start)
    error = first = evaluate(best)
    evaluations = 1
    units = _units(order, groups)
    deadline = clock() + seconds
    total = len(units) * len(_FACTORS)
    done = 0
    for factor in _FACTORS:
        for unit in units:
            for step in (1 / factor, factor):
                walked = False
                for _ in range(_LONGEST_WALK):
                    if clock() > deadline:
                        return _result(start, best, first, error, evaluations, finished=False)
                    trial = {**best, **{name: best[name] * step for name in unit}}
                    got = evaluate(trial)
                    evaluations += 1
                    if got >= error:
                        break
                    best, error, walked = trial, got, True
                if walked:
                    break  # the other direction is where it came from
            done += 1
            progress(done, total)
    return _result(start, best, first, error, evaluations, finished=True)


def _units(order: Sequence[str], groups: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    member_of = {name: tuple(group) for group in groups for name in group}
    units = dict.fromkeys(member_of.get(name, (name,)) for name in order)
    return list(units)


def _result(
    start: Mapping[str, float], best: dict[str, float], first: float, error: float, evaluations: int, *, finished: bool
) -> SearchResult:
    moved = tuple(name for name in best if best[name] != start[name])
    return SearchResult(best, first, error, evaluations, finished, moved)
