"""What is prepared before the clock runs: shapes, input sets, pinning, and the check of the timed path."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.measurement.scripted import Clock
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.artifacts.model import TensorSpec
from trtkit.backends import bench_inputs, bench_setup
from trtkit.backends.null_timed import NullScript, NullTimed
from trtkit.backends.repeated import Repeated
from trtkit.errors import RunError, UsageError

IMAGE = TensorSpec("x", "float32", ("N", 3, 4, 4))
CPU = Device("cpu")


def settings(batch: int = 4, **changes: Any) -> BenchSettings:
    return BenchSettings("compute", batch, **changes)


def shaped(batch: int = 4, **changes: Any) -> BenchSettings:
    return settings(batch, shapes={"x": (batch, 3, 4, 4)}, **changes)


def test_the_batch_goes_where_the_first_axis_is_dynamic() -> None:
    fixed = TensorSpec("scale", "float32", (1, 8))
    assert bench_setup.with_shapes((IMAGE, fixed), settings(6)).shapes == {"x": (6, 3, 4, 4), "scale": (1, 8)}


def test_a_shape_that_was_given_is_kept() -> None:
    wide = TensorSpec("x", "float32", ("N", 3, "H", "W"))
    chosen = settings(2, shapes={"x": (2, 3, 9, 9)})
    assert bench_setup.with_shapes((wide,), chosen).shapes == {"x": (2, 3, 9, 9)}


def test_other_dynamic_axes_need_a_shape() -> None:
    with pytest.raises(UsageError, match="x float32 N×3×H×W has dynamic axes other than the batch"):
        bench_setup.with_shapes((TensorSpec("x", "float32", ("N", 3, "H", "W")),), settings(2))


def test_a_fixed_batch_is_no_other_batch() -> None:
    with pytest.raises(UsageError, match="Batch 4 is not what the inputs have: x 1×3×4×4"):
        bench_setup.with_shapes((TensorSpec("x", "float32", (1, 3, 4, 4)),), settings(4))


def test_synthetic_sets_are_seeded_random_and_not_zero() -> None:
    made = bench_setup.input_sets((IMAGE,), shaped(buffers=3), 2.0, None, CPU)
    again = bench_setup.input_sets((IMAGE,), shaped(buffers=3), 2.0, None, CPU)
    other = bench_setup.input_sets((IMAGE,), shaped(buffers=3, seed=1), 2.0, None, CPU)
    assert len(made) == 3
    for index in range(3):
        np.testing.assert_array_equal(made[index]["x"], again[index]["x"])
        assert not np.array_equal(made[index]["x"], other[index]["x"])
        assert (made[index]["x"] != 0).all()
    assert not np.array_equal(made[0]["x"], made[1]["x"])
    assert np.std([entry["x"] for entry in made]) == pytest.approx(2.0, rel=0.1)


def test_types_are_the_runners() -> None:
    specs = (TensorSpec("x", "float16", ("N", 2)), TensorSpec("i", "int64", ("N",)), TensorSpec("u", "uint8", ("N", 9)))
    chosen = settings(shapes={"x": (4, 2), "i": (4,), "u": (4, 9)}, buffers=1)
    (made,) = bench_setup.input_sets(specs, chosen, 1.0, None, CPU)
    assert {name: str(array.dtype) for name, array in made.items()} == {"x": "float16", "i": "int64", "u": "uint8"}


def test_a_large_batch_repeats_what_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_inputs, "_DRAWN_BYTES", 3 * 3 * 4 * 4 * 4 + 1)  # three images
    first, second = (made["x"] for made in bench_setup.input_sets((IMAGE,), shaped(5, buffers=2), 1.0, None, CPU))
    assert first.shape == second.shape == (5, 3, 4, 4)
    np.testing.assert_array_equal(first[[3, 4]], first[[0, 1]])
    np.testing.assert_array_equal(second, first[[2, 0, 1, 2, 0]])
    assert len({row.tobytes() for row in first}) == 3
    assert first.flags.c_contiguous


@pytest.mark.parametrize("batch", [3, 4, 5, 8, 100])
def test_on_a_gpu_a_large_batch_is_not_written_out(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_inputs, "_DRAWN_BYTES", 3 * 3 * 4 * 4 * 4 + 1)  # three images
    written = bench_setup.input_sets((IMAGE,), shaped(batch, buffers=2), 1.0, None, CPU)
    repeated = bench_setup.input_sets((IMAGE,), shaped(batch, buffers=2), 1.0, None, Device("cuda", 0))
    for want, got in zip(written, repeated, strict=True):
        kind = Repeated if batch > 3 else np.ndarray
        assert type(got["x"]) is kind
        assert got["x"].shape == want["x"].shape and got["x"].nbytes == want["x"].nbytes
        np.testing.assert_array_equal(np.asarray(got["x"]), want["x"])
        np.testing.assert_array_equal(got["x"][[0, batch - 1, 1]], want["x"][[0, batch - 1, 1]])


def test_an_input_without_axes_gets_a_number() -> None:
    specs = (IMAGE, TensorSpec("scale", "float32", ()))
    chosen = settings(2, shapes={"x": (2, 3, 4, 4), "scale": ()}, buffers=3)
    made = bench_setup.input_sets(specs, chosen, 1.0, None, CPU)
    assert [entry["scale"].shape for entry in made] == [()] * 3
    assert [entry["x"].shape for entry in made] == [(2, 3, 4, 4)] * 3


@pytest.mark.parametrize(("batch", "expected"), [(1, 8), (10, 6), (100, 1)])
def test_sets_exceed_four_caches_or_are_eight(batch: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = 3 * 4 * 4 * 4
    monkeypatch.setattr(bench_inputs, "_last_cache_bytes", lambda: 15 * image)  # four of them: 60 images
    assert len(bench_setup.input_sets((IMAGE,), shaped(batch), 1.0, None, CPU)) == expected


def test_data_is_fed_in_order_and_from_its_start_again(tmp_path: Path) -> None:
    samples = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) * np.ones((5, 3, 4, 4), np.uint8)
    for file in (tmp_path / "a.npz", tmp_path / "a.npy"):
        if file.suffix == ".npz":
            np.savez(file, x=samples)
        else:
            np.save(file, samples)
        made = bench_setup.input_sets((IMAGE,), shaped(3, buffers=2), 1.0, file, CPU)
        assert [entry["x"][:, 0, 0, 0].tolist() for entry in made] == [[0, 1, 2], [3, 4, 0]]
        assert made[0]["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"y": np.ones((2, 3, 4, 4))}, "no array for input x; it has y"),
        ({"x": np.ones((2, 3, 5, 5))}, r"samples of shape \(3, 5, 5\); input x takes \(3, 4, 4\)"),
        ({"x": np.ones((0, 3, 4, 4))}, "samples of shape"),
    ],
)
def test_data_that_does_not_fit_is_refused(arrays: dict[str, np.ndarray], match: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=match):
        bench_setup.input_sets((IMAGE,), shaped(buffers=1), 1.0, tmp_path / "a.npz", CPU)


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("hello")
    for file in (tmp_path / "a.npz", tmp_path / "missing.npy"):
        with pytest.raises(UsageError, match="cannot be read as NumPy data"):
            bench_setup.input_sets((IMAGE,), shaped(buffers=1), 1.0, file, CPU)


def test_threads_are_pinned_where_each_has_a_processor() -> None:
    def options(**changes: Any) -> tuple[int | None, tuple[int, ...]]:
        made = bench_setup.load_options(settings(**changes), CPU, None, False)
        return made.threads, made.affinity

    assert options(threads=2, affinity=(0, 1)) == (2, (0, 1))
    assert options(threads=2, affinity=(0, 1, 2)) == (2, ())
    gpu = bench_setup.load_options(settings(threads=2, affinity=(0, 1)), Device("cuda"), None, True)
    assert (gpu.threads, gpu.affinity, gpu.on_cpu, gpu.host_code) == (None, (), False, True)
    assert bench_setup.load_options(settings(spinning=False), CPU, None, False).spinning is False
    assert bench_setup.load_options(settings(), CPU, None, False).optimize == "all"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_a_process_is_pinned_and_impossible_processors_are_refused() -> None:
    one = min(os.sched_getaffinity(0))
    code = (
        "import os; from trtkit.backends.bench_setup import pin; "
        f"pin(()); before = os.sched_getaffinity(0); pin(({one},)); print(len(before) > 0, os.sched_getaffinity(0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(" ", 1) == ["True", f"{{{one}}}\n"]
    with pytest.raises(UsageError, match="cannot pin a benchmark to processors 4000"):
        bench_setup.pin((4000,))
    code = f"from trtkit.backends.bench_setup import pin; pin(({one}, 1000))"
    mixed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "no processor 1000" in mixed.stderr, "the system takes the rest without a word"


class Doubler:
    """A plan that doubles, and takes no fewer rows than it is told."""

    inputs = (IMAGE,)
    outputs = (TensorSpec("y", "float32", ("N", 3, 4, 4)),)
    where = "here"

    def __init__(self, least: int = 1, factor: float = 2.0) -> None:
        self.least, self.factor = least, factor
        self.seen: list[int] = []

    def __enter__(self) -> Doubler:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.seen.append(len(feeds["x"]))
        if len(feeds["x"]) < self.least:
            raise RunError("Too few rows for the profile.", hint="Feed more.")
        return {"y": feeds["x"] * np.float32(self.factor)}


def checked(runner: Doubler, batch: int = 4, *, outputs: str = "zeros", factor: float = 2.0) -> Any:
    """``zeros`` is the null device's word for what its own run gives."""
    chosen = replace(shaped(batch), buffers=2)
    sets = bench_setup.input_sets(runner.inputs, chosen, 1.0, None, CPU)
    clock = Clock()
    path = Doubler(factor=factor)
    timed = NullTimed(sets, chosen, path.run, NullScript(outputs=outputs), clock, clock.sleep)
    return bench_setup.check_outputs(timed, runner, sets, chosen, 1e-3)  # type: ignore[arg-type]


def test_equal_outputs_pass_and_are_handed_on() -> None:
    check, arrays = checked(Doubler())
    assert check == {
        "finite": True,
        "not_finite": {},
        "rows": "all",
        "run_matches": True,
        "run_relative_l2": 0.0,
        "run_limit": 1e-3,
    }
    np.testing.assert_array_equal(arrays["out/y"], 2 * arrays["in/x"])


@pytest.mark.parametrize(("factor", "passes"), [(2.001, True), (2.01, False)])
def test_the_limit_is_relative(factor: float, passes: bool) -> None:
    check, _ = checked(Doubler(), factor=factor)
    assert check["run_relative_l2"] == pytest.approx(factor / 2 - 1, rel=1e-2)
    assert check["run_matches"] is passes


def test_nan_is_counted_and_matches_nothing() -> None:
    check, _ = checked(Doubler(), outputs="nan")
    assert check["finite"] is False
    assert check["not_finite"] == {"y": 4 * 48}
    assert check["run_matches"] is False
    assert check["run_relative_l2"] is None


def test_of_a_large_batch_both_ends_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_setup, "_WHOLE_CHECK_BYTES", 1)
    runner = Doubler()
    check, arrays = checked(runner, 10)
    assert check["rows"] == [0, 1, 8, 9]
    assert runner.seen == [4]
    assert arrays["in/x"].shape == arrays["out/y"].shape == (4, 3, 4, 4)
    assert check["run_matches"] is True


def test_a_plan_that_takes_no_so_few_rows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_setup, "_WHOLE_CHECK_BYTES", 1)
    check, arrays = checked(Doubler(least=8), 10)
    assert check["run_matches"] is None
    assert check["run_problem"] == "Too few rows for the profile."
    assert set(arrays) == {"in/x", "out/y"}


def test_a_fixed_batch_is_compared_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_setup, "_WHOLE_CHECK_BYTES", 1)
    runner = Doubler()
    runner.inputs = (TensorSpec("x", "float32", (10, 3, 4, 4)),)
    check, arrays = checked(runner, 10)
    assert runner.seen == [10] and check["run_matches"] is True
    # The reference need not compute as many.
    assert check["rows"] == [0, 1, 8, 9] and arrays["in/x"].shape == arrays["out/y"].shape == (4, 3, 4, 4)


def test_a_large_fixed_batch_is_not_run_whole_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_setup, "_WHOLE_CHECK_BYTES", 1)
    monkeypatch.setattr(bench_setup, "_SECOND_COPY_BYTES", 2 * 10 * 3 * 4 * 4 * 4 - 1)
    runner = Doubler()
    runner.inputs = (TensorSpec("x", "float32", (10, 3, 4, 4)),)
    check, arrays = checked(runner, 10)
    assert runner.seen == [] and check["run_matches"] is None
    assert check["run_problem"] == "the engine takes all 10 samples or none, 3.8 KiB once more beside those timed"
    assert check["rows"] == [0, 1, 8, 9] and arrays["in/x"].shape == arrays["out/y"].shape == (4, 3, 4, 4)


@pytest.mark.parametrize(("batch", "rows"), [(10, [0, 9]), (4, [0, 3]), (2, "all"), (1, "all")])
def test_of_large_rows_one_at_an_end_has_to_do(batch: int, rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_WHOLE_CHECK_BYTES", "_MANY_BYTES"):
        monkeypatch.setattr(bench_setup, name, 2 * 3 * 4 * 4 * 4)  # a row in, a row out
    runner = Doubler()
    check, arrays = checked(runner, batch)
    assert check["rows"] == rows and check["run_matches"] is True
    assert runner.seen == [len(arrays["in/x"])] == [min(batch, 2)]


def test_large_outputs_count_as_large_inputs_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_setup, "_WHOLE_CHECK_BYTES", 10 * 3 * 4 * 4 * 4)  # the inputs alone would pass
    assert checked(Doubler(), 10)[0]["rows"] == [0, 1, 8, 9]


def test_a_check_that_memory_is_too_small_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Doubler):
        def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            raise MemoryError

    check, arrays = checked(Full(), 4)
    assert check["run_matches"] is None and set(arrays) == {"in/x", "out/y"}
    assert check["run_problem"] == "1.5 KiB once more do not fit into this machine's memory"


class Product(Doubler):
    """``y = x @ b``, where b's first axis is no batch."""

    inputs = (TensorSpec("x", "float32", ("N", 10)), TensorSpec("b", "float32", (10, 3)))
    outputs = (TensorSpec("y", "float32", ("N", 3)),)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.seen.append(len(feeds["x"]))
        return {"y": feeds["x"] @ feeds["b"]}


class Centred(Doubler):
    """Takes the mean of the batch away: no sample of it can be computed alone."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.seen.append(len(feeds["x"]))
        return {"y": feeds["x"] - feeds["x"].mean(axis=0)}


@pytest.mark.parametrize(
    ("kind", "seen", "rows"), [(Product, [4], [0, 1, 8, 9]), (Centred, [4, 10], "all")], ids=["product", "centred"]
)
def test_rows_are_those_of_the_batch_and_a_batch_that_mixes_is_compared_whole(
    kind: type[Doubler], seen: list[int], rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_setup, "_WHOLE_CHECK_BYTES", 1)
    runner, path = kind(), kind()
    shapes = {spec.name: (10, *spec.shape[1:]) for spec in runner.inputs}
    chosen = replace(shaped(10), shapes=shapes, buffers=1)
    sets = bench_setup.input_sets(runner.inputs, chosen, 1.0, None, CPU)
    clock = Clock()
    timed = NullTimed(sets, chosen, path.run, NullScript(outputs="zeros"), clock, clock.sleep)
    check, arrays = bench_setup.check_outputs(timed, runner, sets, chosen, 1e-3)  # type: ignore[arg-type]
    assert check["run_matches"] is True and check["rows"] == rows and runner.seen == seen
    assert len(arrays["in/x"]) == len(arrays["out/y"]) == (10 if rows == "all" else 4)
    assert all(len(arrays[f"in/{spec.name}"]) == 10 for spec in runner.inputs[1:])


@pytest.mark.parametrize(
    ("samples", "dtype", "words"),
    [
        (np.full((4, 2), 0.5), "uint8", "another kind of number"),
        (np.full((4, 2), 300), "uint8", "values outside of 0 to 255"),
        (np.full((4, 2), -1), "uint8", "values outside of 0 to 255"),
        (np.full((4, 2), 1j), "float32", "another kind of number"),
        (np.full((4, 2), "a"), "float32", "another kind of number"),
        (np.full((4, 2), 200), "uint8", None),
        (np.full((4, 2), 2.5), "float32", None),
        (np.full((4, 2), 3, np.uint8), "float32", None),
        (np.full((4, 2), True), "int64", None),
    ],
)
def test_data_of_another_type_is_not_bent(samples: np.ndarray, dtype: str, words: str | None, tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", samples)
    inputs, chosen = (TensorSpec("x", dtype, ("N", 2)),), replace(shaped(4), shapes={"x": (4, 2)}, buffers=1)
    if words is None:
        (made,) = bench_setup.input_sets(inputs, chosen, 1.0, tmp_path / "d.npy", CPU)
        np.testing.assert_array_equal(made["x"], samples.astype(dtype))
    else:
        with pytest.raises(UsageError, match=words):
            bench_setup.input_sets(inputs, chosen, 1.0, tmp_path / "d.npy", CPU)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off"], ids=["empty", "half a zip"])
def test_damaged_data_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read as NumPy data"):
        bench_setup.input_sets((IMAGE,), shaped(2), 1.0, tmp_path / "d.npz", CPU)
