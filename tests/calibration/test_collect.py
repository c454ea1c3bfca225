"""The collector: exact extremes, independence of batches, resumption to the bit, and refusals that name the sample."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from calibration.collect import VALUES_PER_SAMPLE, Collector, _step
from calibration.methods import METHODS, method
from trtkit.errors import CalibrationError, UsageError

NAMES = ("input", "conv", "relu", "scores")
ALL_METHODS = (*METHODS, "percentile:99.9")


def _samples(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """One dictionary a sample, without the batch axis; ``conv`` is larger than what is looked at."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        conv = rng.standard_normal((20, 30, 30)).astype(np.float32) * rng.uniform(0.5, 3)
        found.append(
            {
                "input": rng.uniform(-1, 1, (3, 8, 8)).astype(np.float32),
                "conv": conv,
                "relu": np.maximum(conv, 0),
                "scores": rng.standard_normal(10).astype(np.float16),
            }
        )
    return found


def _feed(collector: Collector, samples: list[dict[str, np.ndarray]], sizes: list[int], first: int = 0) -> None:
    for size in sizes:
        batch = samples[first : first + size]
        stacked = {name: np.stack([sample[name] for sample in batch]) for name in batch[0]}
        collector.update(stacked, [f"{i}.jpg" for i in range(first, first + size)])
        first += size


def _same(a: Collector, b: Collector) -> bool:
    left, right = a.state(), b.state()
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


def _collected(sizes: list[int], **options: object) -> Collector:
    collector = Collector(NAMES, exact_only=("input",), **options)  # type: ignore[arg-type]
    _feed(collector, _samples(sum(sizes)), sizes)
    return collector


@pytest.mark.parametrize("sizes", [[12], [1] * 12, [5, 5, 2], [8, 4]])
def test_the_batch_size_does_not_matter(sizes: list[int]) -> None:
    assert _same(_collected(sizes), _collected([4, 4, 4]))
    assert _collected(sizes).samples == 12


def test_extremes_are_exact_even_where_histograms_look_at_a_sample() -> None:
    samples = _samples(6)
    collector = _collected([4, 2])
    assert samples[0]["conv"].size > VALUES_PER_SAMPLE
    for name in NAMES:
        every = np.stack([sample[name] for sample in samples]).astype(np.float64)
        low, high = collector.ranges()[name]
        assert (low, high) == (min(every.min(), 0), max(every.max(), 0))
        assert collector.amax("minmax")[name] == np.abs(every).max()


def test_counting_a_spread_of_values_moves_thresholds_little() -> None:
    sampled, full = _collected([12]), _collected([12], values_per_sample=0)
    assert sampled.histogram("conv").total < full.histogram("conv").total / 2
    for name in ("percentile:99.9", "entropy", "mse"):
        assert sampled.amax(name)["conv"] == pytest.approx(full.amax(name)["conv"], rel=0.15)


def test_the_spread_covers_every_row_column_and_channel() -> None:
    shape = (32, 28, 28)
    size, limit = math.prod(shape), 8192
    step = _step(size, limit)
    seen = np.unravel_index(np.arange(0, size, step), shape)
    assert limit / 2 < len(seen[0]) <= limit
    for axis, length in zip(seen, shape, strict=True):
        counts = np.bincount(axis, minlength=length)
        assert counts.min() > 0.8 * counts.mean()


@pytest.mark.parametrize("name", ALL_METHODS)
@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_every_method_gives_a_threshold_within_the_range(name: str, dtype: str) -> None:
    collector = _collected([6])
    largest = collector.amax("minmax")
    found = collector.amax(name, dtype)
    assert list(found) == list(NAMES)
    assert found["input"] == largest["input"]
    for tensor, amax in found.items():
        assert 0.1 * largest[tensor] < amax <= largest[tensor]


def test_thresholds_scale_with_the_data() -> None:
    """A power of two moves every bin by whole octaves, and so must every threshold, to the bit."""
    samples = _samples(4)
    a, b = Collector(["conv"]), Collector(["conv"])
    for sample in samples:
        a.update({"conv": sample["conv"][None]}, ["s"])
        b.update({"conv": sample["conv"][None] * np.float32(2**-9)}, ["s"])
    for name in ALL_METHODS:
        assert b.amax(name)["conv"] == pytest.approx(a.amax(name)["conv"] * 2**-9, rel=1e-12)


def test_resumed_is_uninterrupted_to_the_bit(tmp_path: Path) -> None:
    samples = _samples(9)
    whole = _collected([3, 3, 3])
    half = Collector(NAMES, exact_only=("input",))
    _feed(half, samples, [3])
    np.savez(tmp_path / "state.npz", **half.state())  # type: ignore[arg-type]
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        resumed = Collector.from_state(dict(file))
    _feed(resumed, samples, [3, 3], first=3)
    assert _same(resumed, whole)
    assert resumed.tensors == whole.tensors
    for name, dtype in itertools.product(ALL_METHODS, ("int8", "fp8")):
        assert resumed.amax(name, dtype) == whole.amax(name, dtype)


def test_a_state_is_a_copy() -> None:
    collector = _collected([2])
    state = collector.state()
    before = {key: value.copy() for key, value in state.items()}
    resumed = Collector.from_state(state)
    _feed(collector, _samples(2), [2])
    _feed(resumed, _samples(2), [2])
    assert all(np.array_equal(state[key], before[key]) for key in state)


def test_states_that_are_not_are_refused() -> None:
    state = _collected([1]).state()
    for broken in ({}, {**state, "counts": state["counts"][:, :5]}, {**state, "low": state["low"][:1]}):
        with pytest.raises(CalibrationError, match="statistics"):
            Collector.from_state(broken)


def test_memory_does_not_grow_with_samples() -> None:
    few, many = _collected([2]), _collected([2] * 10)
    assert sum(a.nbytes for a in few.state().values()) == sum(a.nbytes for a in many.state().values())


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_a_value_that_is_not_finite_names_tensor_and_sample_and_counts_nothing(value: float, kind: str) -> None:
    collector = _collected([4])
    before = collector.state()
    bad = np.zeros((3, 4), np.float32)
    bad[1, 2] = value
    batch = {"input": np.ones((3, 1)), "conv": np.ones((3, 1)), "relu": bad, "scores": np.ones((3, 1))}
    with pytest.raises(CalibrationError, match=kind) as caught:
        collector.update(batch, ["a.jpg", "b.jpg", "c.jpg"])
    assert "'relu'" in caught.value.message
    assert "b.jpg" in caught.value.message
    assert "a.jpg" not in caught.value.message
    assert all(np.array_equal(before[key], value) for key, value in collector.state().items())


def test_what_float32_cannot_hold_is_reported_as_infinite() -> None:
    with pytest.raises(CalibrationError, match="infinity"):
        Collector(["x"]).update({"x": np.array([[1e300]])}, ["a"])


def test_a_missing_or_integer_tensor_is_refused() -> None:
    with pytest.raises(CalibrationError, match="'conv'"):
        Collector(["conv"]).update({"x": np.ones((1, 2))}, ["a"])
    with pytest.raises(CalibrationError, match="int64"):
        Collector(["conv"]).update({"conv": np.ones((1, 2), np.int64)}, ["a"])


def test_dead_tensors_are_named_and_have_no_range() -> None:
    collector = Collector(["zero", "x"])
    for _ in range(3):
        collector.update({"zero": np.zeros((2, 5), np.float32), "x": np.ones((2, 5), np.float32)}, ["a", "b"])
    assert collector.dead == ("zero",)
    for name in ALL_METHODS:
        assert collector.amax(name) == {"zero": 0.0, "x": pytest.approx(1.0)}


def test_shapes_may_change_and_the_first_axis_need_not_be_the_batch() -> None:
    collector = Collector(["x"])
    collector.update({"x": np.full((7, 2, 3), -2.0, np.float32)}, ["a", "b"])
    collector.update({"x": np.float32(3.0)}, ["c"])
    collector.update({"x": np.zeros((0, 4), np.float32)}, [])
    collector.update({"x": np.ones((40_000, 3), np.float32)[:, ::2]}, ["d", "e"])
    assert collector.ranges() == {"x": (-2.0, 3.0)}
    assert collector.samples == 5
    assert collector.histogram("x").total <= 42 + 1 + 2 * VALUES_PER_SAMPLE


@pytest.mark.parametrize("name", ["kl", "percentile:", "percentile:x", "percentile:101", "percentile:nan", "mse:3", ""])
def test_unknown_methods_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match="percent"):
        method(name)
