"""Running for the sake of outputs: what repeats is computed once, and cases may go apart; the numbers are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trtkit import judging
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.samples import DIFFERENT_ROWS, SampleCase, SamplePlan
from trtkit.backends import bench_reference, executing
from trtkit.backends.comparing import Comparison
from trtkit.backends.executing import execute, execute_apart, execute_reference
from trtkit.errors import RunError
from trtkit.worker.protocol import Reporter

X = TensorSpec("x", "float32", ("N", 4))
BATCHES = (3, 100)
SAMPLES = SamplePlan(0, (X,), 1.0, tuple(SampleCase(f"batch {n}", {"x": (n, 4)}, ("x",)) for n in BATCHES))
MIXING = helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), helper.make_node("Sub", ["x", "m"], ["y"])
PLAIN = (helper.make_node("Sin", ["x"], ["y"]),)


def save(path: Path, *nodes: onnx.NodeProto, batch: int | str = "N", output: list[Any] | None = None) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output or [batch, 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def silent(event: object) -> None:
    """Hears nothing."""


def plain(file: Path, folder: Path) -> executing.Executed:
    return execute("onnxruntime", file, SAMPLES, folder / "plain.npz", {"on_cpu": True}, silent)


def test_a_reference_computes_equal_samples_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(tmp_path / "sin.onnx", *PLAIN)
    wanted, asked = plain(file, tmp_path), []
    real = executing.execute
    monkeypatch.setattr(
        executing, "execute", lambda f, p, samples, *rest: asked.append(samples) or real(f, p, samples, *rest)
    )
    found = execute_reference(file, SAMPLES, tmp_path / "truth.npz", silent)
    assert [case.batch for case in asked[0].cases] == [3, DIFFERENT_ROWS]
    assert found.outputs.keys() == wanted.outputs.keys() == {"0/y", "1/y"}
    for name, array in wanted.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], array)


def test_an_output_without_a_row_for_each_sample_is_computed_whole(tmp_path: Path) -> None:
    file = save(tmp_path / "sum.onnx", helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1), output=[1, 1])
    found, wanted = execute_reference(file, SAMPLES, tmp_path / "truth.npz", silent), plain(file, tmp_path)
    np.testing.assert_array_equal(found.outputs["1/y"], wanted.outputs["1/y"])


@pytest.mark.parametrize(("offset", "right"), [(0.0, True), (0.1, False)])
def test_a_model_that_mixes_its_batch_is_judged_by_every_row(offset: float, right: bool, tmp_path: Path) -> None:
    file = save(tmp_path / "mean.onnx", *MIXING)
    candidate = {name: array + np.float32(offset) for name, array in plain(file, tmp_path).outputs.items()}
    outputs = (TensorSpec("y", "float32", ("N", 4)),)
    once = execute_reference(file, SAMPLES, tmp_path / "once.npz", silent).outputs["1/y"]
    assert np.abs(once - candidate["1/y"]).max() > 1e-3, "the different rows alone have another mean"
    comparison = Comparison(SAMPLES, outputs, {}, candidate, silent)
    where, checks = comparison.against(file, tmp_path / "truth.npz", (1e-5, None), None)
    assert judging.within(checks, 1e-5, None) is right and "CPUExecutionProvider" in where


def test_cases_apart_give_the_same_and_fall_back_to_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, begun = save(tmp_path / "sin.onnx", *PLAIN), []
    monkeypatch.setattr(executing, "spare_processors", lambda most: min(most, 2))
    real = executing.execute

    def counted(*arguments: Any) -> executing.Executed:
        begun.append(arguments[4].get("only"))
        if arguments[4].get("only") == failing:
            raise RunError("No memory for a second engine.", hint="Go one after the other.")
        return real(*arguments)

    monkeypatch.setattr(executing, "execute", counted)
    wanted = plain(file, tmp_path)
    for failing, expected in ((None, [[0], [1]]), ([1], [[0], [1], None])):
        begun.clear()
        if failing is None:
            failing = ["none fails"]
        found = execute_apart("onnxruntime", file, SAMPLES, tmp_path, {"on_cpu": True}, silent)
        assert sorted(begun, key=str) == sorted(expected, key=str)
        assert found.outputs.keys() == wanted.outputs.keys() and found.provider == wanted.provider
        for name, array in wanted.outputs.items():
            np.testing.assert_array_equal(found.outputs[name], array)


class Quiet(Reporter):
    """Reports to nobody."""

    def __init__(self) -> None:
        return None


@pytest.mark.parametrize("batch", ["N", 10])
def test_the_reference_of_a_benchmark_takes_few_rows_of_a_fixed_batch(batch: int | str, tmp_path: Path) -> None:
    file = save(tmp_path / "sin.onnx", *PLAIN, batch=batch)
    rows = np.random.default_rng(0).standard_normal((4, 4), dtype=np.float32)
    np.savez(tmp_path / "in.npz", **{"in/x": rows})
    bench_reference.reference(
        Quiet(), onnx=str(file), arrays=str(tmp_path / "in.npz"), results=str(tmp_path / "out.npz")
    )
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_allclose(found["out/y"], np.sin(rows), rtol=1e-5, atol=1e-7)
