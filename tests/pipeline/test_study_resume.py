"""Going on with a study: other content is another study, lost samples are measured anew, what was set aside returns."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.pipeline.test_bench_rows import Notes
from tests.pipeline.test_study import Scripted, request_for, small_model
from trtkit.artifacts.files import read_json, write_json
from trtkit.artifacts.study import RESULTS, Study
from trtkit.errors import UsageError
from trtkit.pipeline.study import left_of, study
from trtkit.pipeline.study_identity import data_content, source_sha256
from trtkit.pipeline.study_request import plan_of


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "small.onnx")


def change(path: Path) -> None:
    """Another weight in the same file."""
    loaded = onnx.load(path)
    weights = numpy_helper.to_array(loaded.graph.initializer[0]) + np.float32(1)
    loaded.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    onnx.save(loaded, path)


def test_a_model_file_that_was_replaced_is_another_study(model: Path, tmp_path: Path) -> None:
    study(request_for(model, tmp_path, batches=(1,)), run=Scripted())
    change(model)
    run = Scripted()
    for batches in ((1,), (1, 2)):
        with pytest.raises(UsageError, match=r"whose file .*small\.onnx was of SHA-256 [0-9a-f]{12}…, and now") as told:
            study(request_for(model, tmp_path, batches=batches), run=run)
        assert "another folder with -o" in told.value.hint and "--force" in told.value.hint
    assert run.asked == []
    study(request_for(model, tmp_path, batches=(1,), force=True), run=run)
    assert len(run.asked) == 1 and study(request_for(model, tmp_path, batches=(1,)), run=run).study.cells[0].valid


def test_an_older_study_is_known_by_what_it_measured(model: Path, tmp_path: Path) -> None:
    study(request_for(model, tmp_path, batches=(1,)), run=Scripted())
    file = tmp_path / "study" / RESULTS
    value = read_json(file)
    del value["plan"]["sources"], value["plan"]["data_content"], value["aside"]
    write_json(file, value)
    with pytest.raises(UsageError, match="was of SHA-256 aaaaaaaaaaaa…"):  # what the made-up run says
        study(request_for(model, tmp_path, batches=(1,)), run=Scripted())


@pytest.mark.parametrize("other", ["Other GPU, null 1", "Test CPU, null 2"])
def test_another_device_or_engine_is_another_study(other: str, model: Path, tmp_path: Path) -> None:
    request, run = request_for(model, tmp_path, batches=(1,)), Scripted()
    study(request, run=run)
    file = tmp_path / "study" / RESULTS
    value = read_json(file)
    (device,) = value["plan"]["machines"]
    now = value["plan"]["machines"][device]
    value["plan"]["machines"][device] = other
    write_json(file, value)
    with pytest.raises(UsageError, match=f"whose device {device} was {other}, and now it is") as told:
        study(request, run=run)
    assert now in told.value.message and "another folder with -o" in told.value.hint and len(run.asked) == 1
    del value["plan"]["machines"]  # as an older version wrote it
    write_json(file, value)
    assert study(request, run=run).study.plan.machines == {device: now}


def test_external_data_is_part_of_the_file(tmp_path: Path) -> None:
    path = small_model(tmp_path / "small.onnx")
    plain = source_sha256(str(path))
    onnx.save(onnx.load(path), tmp_path / "ext.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    before = source_sha256(str(tmp_path / "ext.onnx"))
    weights = bytearray((tmp_path / "w.bin").read_bytes())
    weights[0] ^= 1
    (tmp_path / "w.bin").write_bytes(weights)
    assert len({plain, before, source_sha256(str(tmp_path / "ext.onnx"))}) == 3


def test_data_of_another_content_at_the_same_path_is_another_study(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    np.save(data / "a.npy", np.zeros(4))
    study(request_for(model, tmp_path, batches=(1,), data=data), run=Scripted())
    study(request_for(model, tmp_path, batches=(1,), data=data), run=Scripted())
    np.save(data / "a.npy", np.ones(4))
    with pytest.raises(UsageError, match=r"whose content of .*data was 1 file, digest [0-9a-f]{12}…, and now it is 1"):
        study(request_for(model, tmp_path, batches=(1,), data=data), run=Scripted())
    with pytest.raises(UsageError, match=r"whose data was .*/data, and now it is synthetic samples\."):
        study(request_for(model, tmp_path, batches=(1,)), run=Scripted())


def test_what_identifies_data(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    one = data_content(tmp_path)
    (tmp_path / "x").touch()
    assert data_content(tmp_path) == one, "small data is read"
    told_by_time = data_content(tmp_path, read_bytes=0)
    os.utime(tmp_path / "x", (1, 1))
    assert data_content(tmp_path, read_bytes=0) != told_by_time and data_content(tmp_path) == one
    (tmp_path / "x").rename(tmp_path / "y")
    assert data_content(tmp_path) != one
    assert data_content(None) is None and data_content(Path("module:function")) is None


def test_other_settings_are_told_in_words(model: Path, tmp_path: Path) -> None:
    study(request_for(model, tmp_path, batches=(1,)), run=Scripted())
    with pytest.raises(UsageError) as told:
        study(request_for(model, tmp_path, batches=(1,), settings={"duration_s": 9.0}), run=Scripted())
    assert "setting duration_s was 0.05, and now it is 9." in told.value.message
    assert not set(told.value.message.replace(str(tmp_path), "")) & set("{}'")


@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_lost_samples_are_measured_again(model: Path, tmp_path: Path, damage: str) -> None:
    found = study(request_for(model, tmp_path), run=Scripted()).study
    assert found.cells[0].run is not None
    file = tmp_path / "study" / found.cells[0].run.file
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-200])
    else:
        write_json(file, {**json.loads(file.read_text()), "created": "2020-01-01T00:00:00+00:00"})
    wanted = request_for(model, tmp_path)
    assert left_of(wanted, plan_of(wanted)[0]) == 1
    told, run = Notes(), Scripted()
    again = study(wanted, told, run=run).study
    assert [request.batches for request in run.asked] == [(1,)]
    assert [cell.verdict for cell in again.cells] == ["valid", "valid"]
    assert any("1 of them are measured again" in note for note in told.notes)


def test_a_ladder_whose_step_was_lost_is_climbed_again(model: Path, tmp_path: Path) -> None:
    wanted = request_for(model, tmp_path, batches=(None,))
    found = study(wanted, run=Scripted()).study
    step = next(cell.run for cell in found.cells if cell.spec.batch == 2)
    assert step is not None
    (tmp_path / "study" / step.file).unlink()
    run = Scripted()
    study(wanted, run=run)
    assert [request.ladder for request in run.asked] == [True]


def test_a_larger_matrix_takes_back_what_a_smaller_one_left_out(model: Path, tmp_path: Path) -> None:
    whole = request_for(model, tmp_path, precisions=("fp32", "fp16"), batches=(1, 2, None))
    before = study(whole, run=Scripted()).study
    told = Notes()
    small = study(request_for(model, tmp_path, batches=(1,)), told, run=Scripted()).study
    assert len(small.cells) == 1 and [p.precision for p in small.prepared] == ["fp32"]
    assert any("leave the page; a matrix that has them takes them back" in note for note in told.notes)
    assert Study.read(tmp_path / "study") == small, "what is set aside is saved"
    assert study(request_for(model, tmp_path, batches=(1,)), told, run=Scripted()).study.aside == small.aside
    run, told = Scripted(), Notes()
    after = study(whole, told, run=run).study
    failed = [cell for cell in before.cells if cell.status == "failed"]
    assert failed and run.asked == [], "nothing is measured a second time"
    assert {cell.spec.id: cell for cell in after.cells}.items() >= {
        cell.spec.id: cell for cell in before.cells if cell.status == "done"
    }.items()
    assert {p.precision for p in after.prepared} == {"fp32", "fp16"} and after.aside.cells == ()
    assert any("runs that a smaller matrix had set aside are taken back" in note for note in told.notes)


def test_a_model_set_aside_that_changed_is_measured_anew(model: Path, tmp_path: Path) -> None:
    other = small_model(tmp_path / "other.onnx")
    both = request_for(model, tmp_path, models=(str(model), str(other)), batches=(1,))
    study(both, run=Scripted())
    study(request_for(model, tmp_path, batches=(1,)), run=Scripted())
    change(other)
    run, told = Scripted(), Notes()
    done = study(replace(both), told, run=run).study
    assert len(run.asked) == 1 and any("changed since, so measured anew" in note for note in told.notes)
    assert [cell.verdict for cell in done.cells] == ["valid", "valid"] and done.plan.sources[str(other)]
