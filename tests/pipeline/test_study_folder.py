"""A study's folder: one process at a time, and other weights are another study."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.test_study import Scripted, request_for, small_model
from trtkit.artifacts.study import Study
from trtkit.artifacts.study_cell import Prepared
from trtkit.artifacts.study_plan import CellSpec
from trtkit.cli.study import _weights
from trtkit.errors import UsageError
from trtkit.pipeline import study_prepare
from trtkit.pipeline.bench_request import BenchmarkRequest, BenchmarkResult
from trtkit.pipeline.conversion import ConvertRequest
from trtkit.pipeline.listener import Listener, Silence
from trtkit.pipeline.study import study
from trtkit.pipeline.study_cells import measure
from trtkit.pipeline.study_request import StudyRequest, plan_of


class Nested(Scripted):
    """Starts the same study once more while it measures."""

    said = ""

    def __call__(self, request: BenchmarkRequest, listener: Listener) -> BenchmarkResult:
        with pytest.raises(UsageError) as refused:
            study(self.again, run=Scripted())
        self.said = f"{refused.value.message} {refused.value.hint}"
        assert refused.value.exit_code == 2
        return super().__call__(request, listener)

    again: StudyRequest


def test_a_second_study_in_a_folder_is_told_who_is_there(tmp_path: Path) -> None:
    request = request_for(small_model(tmp_path / "small.onnx"), tmp_path, batches=(1,))
    run = Nested()
    run.again = request
    result = study(request, run=run)
    assert f"Another study is at work in {tmp_path / 'study'}: process {os.getpid()} on " in run.said
    assert "(trtkit study)" in run.said and "another folder with -o" in run.said
    assert result.study.cells[0].valid
    assert study(request, run=Scripted()).study.cells[0].valid, "it is given back"


def test_weights_and_seed_are_part_of_the_plan_and_of_every_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    np.savez(one, a=np.zeros(1))
    np.savez(two, a=np.ones(1))
    base = request_for(Path("squeezenet1_1"), tmp_path, batches=(1,))
    changed = [request_for(Path("squeezenet1_1"), tmp_path, batches=(1,), weights={"squeezenet1_1": one}, seed=7)]
    changed.append(request_for(Path("squeezenet1_1"), tmp_path, batches=(1,), weights={"squeezenet1_1": two}, seed=7))
    plans = [plan_of(request)[0] for request in (base, *changed)]
    assert len({plan.key for plan in plans}) == 3 and "one.npz, SHA-256 " in plans[1].weights["squeezenet1_1"]

    asked: list[ConvertRequest] = []

    def convert(request: ConvertRequest, listener: Listener) -> None:
        asked.append(request)
        raise UsageError("stop here", hint="It is a test.")

    monkeypatch.setattr(study_prepare, "convert", convert)
    study_prepare.prepare(changed[0], plans[1], "onnxruntime", "squeezenet1_1", "fp16", Silence(), on_cpu=False)
    assert (asked[0].source.text, asked[0].source.weights, asked[0].source.seed) == ("squeezenet1_1", one, 7)

    made = Prepared("squeezenet1_1", "fp32", "done", file="artifacts/squeezenet1_1.fp32.plan", family="tensorrt-rtx")
    monkeypatch.setattr("trtkit.pipeline.study_cells._model_name", lambda artifact: "squeezenet1_1")
    run = Scripted()
    measure(changed[0], plans[1], CellSpec("squeezenet1_1", "fp32", 1, "compute", "cpu"), made, Silence(), run)
    assert (run.asked[0].source.text, run.asked[0].source.weights, run.asked[0].source.seed) == (
        "squeezenet1_1", one, 7,
    )  # fmt: skip

    Study(plans[1]).write(tmp_path / "study")
    with pytest.raises(UsageError, match="holds a study whose weights of squeezenet1_1 was"):
        study(changed[1], run=run)
    with pytest.raises(UsageError, match="holds a study whose seed was 7"):
        study(base, run=run)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weights": {"alexnet": Path("a.npz")}}, "alexnet, which is none of the models"),
        ({"weights": {"small.onnx": Path("a.npz")}, "models": ("small.onnx",)}, "holds its own weights"),
        ({"weights": {"googlenet": Path("nowhere.npz")}, "models": ("googlenet",)}, "nowhere.npz does not exist"),
        ({"seed": -1}, "counts from 0"),
    ],
)
def test_weights_that_fit_nothing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model = small_model(tmp_path / "small.onnx")
    with pytest.raises(UsageError, match=says):
        study(request_for(model, tmp_path, **changes), run=Scripted())
    assert not (tmp_path / "study").exists()


def test_weights_on_the_command_line() -> None:
    assert _weights(["a=b.npz"], ("x",)) == {"x": Path("a=b.npz")}
    assert _weights(["x=b.npz", "y=c=d.npz"], ("x", "y")) == {"x": Path("b.npz"), "y": Path("c=d.npz")}
    with pytest.raises(UsageError, match="names none of the models"):
        _weights(["b.npz"], ("x", "y"))
    with pytest.raises(UsageError, match="two files"):
        _weights(["x=b.npz", "c.npz"], ("x",))
