"""Seeded inputs: the same in every process, of the right type and spread."""

from __future__ import annotations

import json

import numpy as np
import pytest

from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.samples import DIFFERENT_ROWS, SampleCase, SamplePlan

TYPES = ("float32", "float16", "float64", "int64", "int32", "uint8", "bool")
INPUTS = tuple(TensorSpec(f"x{dtype}", dtype, ("N", 1000)) for dtype in TYPES)


def plan(seed: int = 0, std: float = 2.0, batches: tuple[int, ...] = (1, 7)) -> SamplePlan:
    cases = (SampleCase(f"batch {size}", {spec.name: (size, 1000) for spec in INPUTS}) for size in batches)
    return SamplePlan(seed, INPUTS, std, tuple(cases))


def drawn(made: SamplePlan) -> dict[str, np.ndarray]:
    return {f"{case.label}/{name}": array for case in made.cases for name, array in made.feeds(case).items()}


def test_types_and_shapes_are_those_asked() -> None:
    for case, size in zip(plan().cases, (1, 7), strict=True):
        feeds = plan().feeds(case)
        assert {name: (str(array.dtype), array.shape) for name, array in feeds.items()} == {
            f"x{dtype}": (dtype, (size, 1000)) for dtype in TYPES
        }


def test_values_are_spread_as_described() -> None:
    feeds = plan().feeds(plan().cases[1])
    for dtype in ("float32", "float16", "float64"):
        values = feeds[f"x{dtype}"].astype(np.float64)
        assert abs(values.mean()) < 0.1 and values.std() == pytest.approx(2.0, rel=0.05)
    for dtype in ("int64", "int32", "uint8"):
        assert set(feeds[f"x{dtype}"].flat) == set(range(16))
    assert 0.45 < feeds["xbool"].mean() < 0.55


def test_a_plan_that_travelled_as_json_draws_the_same() -> None:
    back = SamplePlan.from_json(json.loads(json.dumps(plan().to_json())))
    assert back == plan()
    first, again = drawn(plan()), drawn(back)
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_the_stream_is_pinned() -> None:
    """A report names its seed: the inputs behind it must be the same in a year."""
    rng = np.random.default_rng([5, 0, 1])  # seed, position of the input, position of the case
    expected = rng.standard_normal((7, 1000), dtype=np.float32) * np.float32(2.0)
    made = plan(seed=5)
    np.testing.assert_array_equal(made.feeds(made.cases[1])["xfloat32"], expected)


def test_seeds_cases_and_inputs_have_streams_of_their_own() -> None:
    made, other = plan(batches=(7, 3)), plan(seed=1, batches=(7, 3))
    values = [
        made.feeds(made.cases[0])["xfloat32"][:3],
        made.feeds(made.cases[1])["xfloat32"],
        other.feeds(other.cases[1])["xfloat32"],
        made.feeds(made.cases[1])["xfloat64"],
    ]
    for index, one in enumerate(values):
        for another in values[index + 1 :]:
            assert abs(np.corrcoef(one.ravel(), another.ravel())[0, 1]) < 0.1


def test_one_input_alone_is_the_same_as_among_the_others() -> None:
    made = plan()
    case = made.cases[1]
    alone = made.feeds(case, only="xint64")
    assert list(alone) == ["xint64"]
    np.testing.assert_array_equal(alone["xint64"], made.feeds(case)["xint64"])


def test_a_scalar_and_an_empty_shape() -> None:
    spec = TensorSpec("threshold", "float32", ())
    case = SampleCase("fixed shape", {"threshold": ()})
    (value,) = SamplePlan(0, (spec,), 1.0, (case,)).feeds(case).values()
    assert np.asarray(value).shape == () and np.asarray(value).dtype == np.float32


def test_samples_of_a_large_batch_repeat_and_the_different_ones_are_its_first() -> None:
    inputs = (TensorSpec("x", "float32", ("N", 5)), TensorSpec("k", "int64", (3,)))
    cases = tuple(SampleCase(f"batch {size}", {"x": (size, 5), "k": (3,)}, ("x",)) for size in (2, 100))
    made = SamplePlan(0, inputs, 1.0, cases)
    large = made.feeds(cases[1])
    assert large["x"].shape == (100, 5) and len(np.unique(large["x"], axis=0)) == DIFFERENT_ROWS
    np.testing.assert_array_equal(large["x"], large["x"][np.arange(100) % DIFFERENT_ROWS])
    few = made.different()
    assert [case.batch for case in few.cases] == [2, DIFFERENT_ROWS] and few.different() == few
    np.testing.assert_array_equal(few.feeds(few.cases[1])["x"], large["x"][:DIFFERENT_ROWS])
    np.testing.assert_array_equal(few.feeds(few.cases[1])["k"], large["k"])
    np.testing.assert_array_equal(few.feeds(few.cases[0])["x"], made.feeds(cases[0])["x"])
    assert SamplePlan.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_inputs_of_different_batches_are_drawn_whole() -> None:
    case = SampleCase("minimum", {"x": (40, 2), "y": (50, 2)}, ("x", "y"))
    made = SamplePlan(0, tuple(TensorSpec(name, "float32", ("N", 2)) for name in "xy"), 1.0, (case,))
    assert made.different() == made
    assert {name: len(np.unique(array, axis=0)) for name, array in made.feeds(case).items()} == {"x": 40, "y": 50}
