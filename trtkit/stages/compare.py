"""Two result sets → pairs of like runs, their ratios with intervals, and a verdict; unlike pairs are refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trtkit import stats
from trtkit.artifacts import comparison
from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.comparison import Comparison, Outcome, Pair, Refusal, median_rate
from trtkit.artifacts.files import read_json
from trtkit.artifacts.likeness import Key, key_of, key_text, shown, unlike
from trtkit.artifacts.study import RESULTS, Study
from trtkit.errors import PlanError, UsageError
from trtkit.stats import Interval

__all__ = ["NOISE_FLOOR", "compare", "noise_of", "outcome_of", "periods_ms"]

NOISE_FLOOR = 0.01
"""No change below this share counts, however narrow the interval: repeated runs on quiet machines differ by as much."""

_PARTS = 10
_ENOUGH = 5  # a bootstrap of fewer draws intervals of no width out of luck


@dataclass(frozen=True)
class _Entry:
    """One run and its file."""

    result: BenchResult
    file: Path
    device: str


_MAY_DIFFER: tuple[tuple[str, Callable[[BenchResult], Any]], ...] = (
    ("device", lambda r: r.device.name),
    ("family", lambda r: f"{r.subject.family} {r.subject.version}"),
    ("driver", lambda r: r.device.driver),
    ("artifact", lambda r: r.subject.sha256[:12]),
    ("rewrites", lambda r: ", ".join(r.subject.rewrites) or "none"),
    ("threads", lambda r: r.device.threads),
    ("processors", lambda r: list(r.device.affinity)),
    ("auxiliary streams", lambda r: r.settings.aux_streams),
    ("power limit in W", lambda r: r.device.power_limit_w),
    ("trtkit", lambda r: r.environment.get("trtkit")),
    ("platform", lambda r: r.environment.get("platform")),
)


def compare(first: Path, second: Path, *, noise_floor: float = NOISE_FLOOR, limit: float | None = None) -> Comparison:
    """Compare two folders (studies, or any with ``….bench.json`` files) or two such files.

    Runs belong together by model name, precision asked, batch and mode; by device too where a set has several.

    Args:
        first, second: the two sets.
        noise_floor: no change below this share counts.
        limit: the share by which a second run may be slower, where that is the question: an interval that lies wholly
            beyond is slower, however noisy the runs, and one that is too wide to answer is told.

    Raises:
        UsageError: the noise floor or the limit is no share.
        PlanError: a set is empty or cannot be read, or the two have no run in common.
    """
    if not 0 <= noise_floor < 1:
        raise UsageError(
            f"The noise floor is {noise_floor}, and it is a share from 0 to 1.", hint="Write 0.01 for 1 %."
        )
    if limit is not None and not 0 <= limit < 1:
        raise UsageError(f"The limit is {limit}, and it is a share from 0 to 1.", hint="Write 0.03 for 3 %.")
    notes: list[str] = []
    before, after = _load(first, notes), _load(second, notes)
    one_device = len({entry.device for entry in before}) == 1 and len({entry.device for entry in after}) == 1
    left, right = _keyed(before, one_device, first, notes), _keyed(after, one_device, second, notes)
    if not set(left) & set(right):
        raise PlanError(
            f"{first} and {second} have no run in common: they share no model, precision, batch and mode.",
            hint="Run the same study on both sides.",
        )
    pairs: list[Pair] = []
    refusals: list[Refusal] = []
    for key, entry in left.items():
        other = right.get(key)
        if other is None:
            refusals.append(Refusal(key_text(key), (f"{second} has no such run.",), "missing"))
            continue
        reasons = _unlike(entry.result, other.result)
        if reasons:
            refusals.append(Refusal(key_text(key), reasons, "unlike"))
        else:
            pairs.append(_pair(key_text(key), entry, other, noise_floor, limit))
    refusals += [Refusal(key_text(key), (f"{first} has no such run.",), "new") for key in right if key not in left]
    notes += _cannot_tell(pairs)
    return Comparison(str(first), str(second), tuple(pairs), tuple(refusals), tuple(notes))


def _cannot_tell(pairs: list[Pair]) -> list[str]:
    """What to do about pairs without an answer."""
    found = [pair for pair in pairs if pair.verdict == "cannot tell"]
    if not found:
        return []
    most = max(abs(pair.speedup - 1) for pair in found)
    return [
        f"In {len(found)} of {len(pairs)} pairs it cannot be told: they differ by up to {most:.0%}, and were disturbed "
        f"by as much, are too uncertain, or have fewer than {_ENOUGH} times to judge by. Measure both sides longer "
        "(--duration), on a quiet machine."
    ]


def _load(path: Path, notes: list[str]) -> list[_Entry]:
    if path.is_file() and path.name == RESULTS:
        path = path.parent
    if path.is_file():
        files: Iterable[Path] = [path]
    elif (path / RESULTS).exists():
        cells = Study.read(path).cells
        files = dict.fromkeys(path / cell.run.file for cell in cells if cell.run is not None)
    elif path.is_dir():
        files = sorted(path.rglob("*.bench.json"))
    else:
        raise PlanError(f"{path} does not exist.", hint="Give a study's folder, or a ….bench.json file.")
    entries = []
    for file in files:
        if not file.exists():
            notes.append(f"{file} is named in {path / RESULTS} and is missing: raw samples are needed to compare.")
            continue
        result = BenchResult.from_json(read_json(file))
        entries.append(_Entry(result, file, result.device.device))
    if not entries:
        raise PlanError(f"{path} holds no benchmark.", hint="Give a study's folder, or one of ….bench.json files.")
    return entries


def _keyed(entries: list[_Entry], one_device: bool, where: Path, notes: list[str]) -> dict[Key, _Entry]:
    found: dict[Key, _Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.result.created):
        key = key_of(entry.result, "" if one_device else entry.device)
        if key in found:
            notes.append(f"{where} has several runs of {key_text(key)}: the newest counts.")
            del found[key]
        found[key] = entry
    return found


def _unlike(first: BenchResult, second: BenchResult) -> tuple[str, ...]:
    """Why two runs must not be compared; empty if they may."""
    reasons = list(unlike(first, second))
    for which, result in (("first", first), ("second", second)):
        if result.verdict.valid and (result.throughput_images_per_s is None or len(result.timeline) < 2):
            reasons.append(f"The {which} has {len(result.timeline)} samples; two are needed.")
    return tuple(reasons)


def periods_ms(result: BenchResult) -> np.ndarray:
    """Times between the ends of successive batches; see :func:`trtkit.artifacts.comparison.periods_ms`."""
    return comparison.periods_ms(result.timeline)


def noise_of(periods: np.ndarray) -> float:
    """How far the medians of ten successive parts of a run lie apart: their standard deviation over their mean.

    The interval holds what drift does to a median; this is how far a run moves, which another may do as a whole between
    two runs. 0 below twenty samples.
    """
    if len(periods) < 2 * _PARTS:
        return 0.0
    medians = np.array([np.median(part) for part in np.array_split(periods, _PARTS)])
    return float(medians.std() / medians.mean())


def outcome_of(
    speedup: float, interval: Interval, *, noise: float, floor: float, enough: bool, limit: float | None
) -> Outcome:
    """The verdict on a pair.

    Args:
        speedup, interval: the second rate over the first, and its 95 % interval.
        noise: smallest change that the runs' own unrest lets through, at least ``floor``.
        floor: smallest change that counts.
        enough: whether there are samples enough for an interval.
        limit: the share by which the second may be slower, where that is the question.
    """
    low, high = interval
    if enough and (abs(speedup - 1) > noise and not low <= 1 <= high):
        return "faster" if speedup > 1 else "slower"
    if enough and limit is not None and high < 1 - max(limit, floor):
        return "slower"
    hidden = abs(speedup - 1) > floor and not low <= 1 <= high
    wide = limit is not None and low < 1 - limit < high and high - low > limit
    return "cannot tell" if hidden or wide or not enough else "no difference"


def _pair(what: str, first: _Entry, second: _Entry, floor: float, limit: float | None) -> Pair:
    before, after = periods_ms(first.result), periods_ms(second.result)
    speedup, interval = stats.ratio_interval(before.tolist(), after.tolist())
    latency, latency_interval = stats.ratio_interval(
        second.result.timeline.column("latency_ms").tolist(), first.result.timeline.column("latency_ms").tolist()
    )
    # What other processes took of the processors may come and go, so no change below it says anything.
    shared = [entry.result.conditions.foreign_cpu or 0.0 for entry in (first, second)]
    noise = max(floor, *shared, 2 * math.hypot(noise_of(before), noise_of(after)))
    enough = min(len(before), len(after)) >= _ENOUGH
    verdict = outcome_of(speedup, interval, noise=noise, floor=floor, enough=enough, limit=limit)
    differs = []
    for name, of in _MAY_DIFFER:
        old, new = of(first.result), of(second.result)
        if old != new:
            differs.append(f"{name}: {shown(old)} → {shown(new)}")
    return Pair(
        what,
        median_rate(first.result.timeline) or 0.0,
        median_rate(second.result.timeline) or 0.0,
        speedup,
        interval,
        latency,
        latency_interval,
        noise,
        verdict,
        tuple(differs),
        str(first.file),
        str(second.file),
    )
