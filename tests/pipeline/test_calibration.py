"""Calibration as a whole on a small network: files, counts, choice, labels, resume, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from calibration.job_data import JobData
from calibration.source import DataSpec
from tests.calibration.images import write_folder
from tests.graph.models import tensor
from tests.graph.qdq_models import inception
from tests.pipeline.small_calibration import Notes, int8, request, write_net
from trtkit.artifacts.calibration_report import CalibrationReport
from trtkit.artifacts.calibration_table import CalibrationTable, TensorRange
from trtkit.artifacts.model import TensorSpec
from trtkit.errors import CalibrationError, UsageError
from trtkit.pipeline.calibration import CalibrationRequest, CalibrationResult, calibrate, explain
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.listener import Silence
from trtkit.pipeline.quantization import Quantization, checkpoint_path
from trtkit.stages.export import SourceRequest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_net(tmp_path_factory.mktemp("calibration"))


@pytest.fixture(scope="module")
def done(folder: Path) -> CalibrationResult:
    return calibrate(request(folder, "done", method="minmax,percentile:99,entropy,mse"))


def test_table_one_onnx_and_report_appear(folder: Path, done: CalibrationResult) -> None:
    names = ["net.calibration-report.json", "net.calibration.json", "net.int8.onnx"]
    assert sorted(path.name for path in (folder / "done").iterdir()) == names
    assert CalibrationTable.read(done.table_path) == done.table
    assert CalibrationReport.from_json(json.loads(done.report_path.read_text())) == done.report
    assert done.table.samples == done.report.samples == 32
    assert done.table.held_out == done.report.held_out == 8
    assert not done.table.synthetic
    onnx.checker.check_model(str(done.onnx.path), full_check=True)


def test_the_method_that_is_best_on_held_out_samples_is_taken(done: CalibrationResult) -> None:
    assert done.report is not None
    found = {result.method: result.sqnr_db for result in done.report.methods}
    assert list(found) == ["minmax", "percentile:99", "entropy", "mse"]
    assert done.table.method == max(found, key=lambda method: found[method] or 0.0)
    assert done.table.amax == done.report.best.amax
    assert len({tuple(result.amax.values()) for result in done.report.methods}) > 1


def test_scales_in_the_model_are_those_of_the_table(done: CalibrationResult) -> None:
    model = onnx.load(done.onnx.path)
    values = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    scales = {n.input[0]: values[n.input[1]] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert set(scales) == set(done.table.tensors)
    for name, scale in scales.items():
        assert scale == pytest.approx(done.table.amax[name] / 127, rel=1e-6)


def test_resume_after_an_interruption_gives_the_same_files_to_the_byte(folder: Path, done: CalibrationResult) -> None:
    wanted = request(folder, "resumed", method="minmax,percentile:99,entropy,mse", resume=True)
    notes = Notes()
    calibrate(replace(wanted, output=folder / "fresh"), notes)
    assert any("no checkpoint is there" in text for text in notes.texts)
    _leave_a_checkpoint(wanted)
    notes = Notes()
    again = calibrate(wanted, notes)
    (told,) = [text for text in notes.texts if text.startswith("continued after")]
    assert 8 <= int(told.split()[2]) <= 32
    assert again.table_path.read_bytes() == done.table_path.read_bytes()
    assert again.onnx.path.read_bytes() == done.onnx.path.read_bytes()
    assert not checkpoint_path(folder / "resumed", "net").exists()


def _leave_a_checkpoint(wanted: CalibrationRequest) -> None:
    """What a run leaves that is ended after its second batch, with a checkpoint after each."""
    from calibration import runs

    run = runs.worker.run

    class StopError(Exception):
        pass

    class Stops(Silence):
        def event(self, event: object) -> None:
            if getattr(event, "phase", "") == "Collecting statistics" and getattr(event, "step", 0) >= 8:
                raise StopError

    def eager(function: str, arguments: dict[str, object], **options: object) -> object:
        often = {"checkpoint_s": 0.0} if function.startswith("calibration.") else {}
        return run(function, {**arguments, **often}, **options)  # type: ignore[arg-type]

    told: list[str] = []
    stops = Stops()
    stops.note = told.append  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr(runs.worker, "run", eager)
        calibrate(wanted, stops)
    assert any("the same command with --resume continues from it" in text for text in told)
    assert [path.name for path in wanted.output.iterdir()] == [checkpoint_path(wanted.output, "net").name]


def test_synthetic_samples_are_labelled_in_table_and_conversion(folder: Path) -> None:
    made = calibrate(request(folder, "synthetic", data=DataSpec(synthetic=12)))
    assert made.table.synthetic
    assert json.loads(made.table_path.read_text())["synthetic"] is True
    notes = Notes()
    convert(int8(folder, "synthetic", Quantization(table=made.table_path)), notes)
    assert any("synthetic samples" in text for text in notes.texts)


@pytest.mark.parametrize("how", ["array", "generator", "function"])
def test_python_objects_are_data_like_their_file(folder: Path, done: CalibrationResult, how: str) -> None:
    values = np.load(folder / "data.npy")
    made = {"array": values, "generator": (row for row in values), "function": lambda: iter(values)}[how]
    table = calibrate(request(folder, f"python-{how}", data=DataSpec(made), method="minmax")).table
    minmax = next(result for result in done.report.methods if result.method == "minmax")
    assert table.amax == minmax.amax
    assert table.data["identity"] == done.table.data["identity"]
    assert table.data["identity"][:12] in table.data["source"]


@pytest.mark.slow
def test_a_conversion_takes_an_array(folder: Path) -> None:
    values = np.load(folder / "data.npy")
    result = convert(int8(folder, "python-plan", Quantization(data=DataSpec(values), batch=4)))
    assert result.manifest.precision == "int8"
    assert not convert(int8(folder, "python-plan", Quantization(data=DataSpec(values), batch=4))).reused


def test_data_or_a_cache_is_needed(folder: Path, done: CalibrationResult) -> None:
    with pytest.raises(UsageError, match="neither was given"):
        calibrate(request(folder, "none", data=None))
    assert not (folder / "none").exists()


def test_what_would_be_quantized_needs_no_data(folder: Path) -> None:
    found = explain(SourceRequest(str(folder / "net.onnx")), Quantization(exclude=("last",)), "int8")
    assert {d.node: d.rule for d in found.decisions}["last"] == "F5-excluded"
    assert "F5-excluded" in found.explain()


def test_methods_that_nothing_compares_are_told(folder: Path) -> None:
    notes = Notes()
    made = calibrate(request(folder, "uncompared", method="mse,minmax", holdout=0.0), notes)
    assert made.table.method == "minmax"
    assert any("the 2 methods are not compared, and minmax is taken because" in text for text in notes.texts)
    assert any("not compared" in text for text in made.report.warnings)


@pytest.mark.slow
def test_damaged_held_out_samples_are_counted_alike_everywhere(folder: Path) -> None:
    """Table, report, manifest and notes after all passes, whichever of them found the damage."""
    write_folder(folder / "photos", 24)
    for index in range(0, 24, 4):
        path = folder / "photos" / f"{index:03}.png"
        path.write_bytes(path.read_bytes()[:-40])
    (folder / "p.json").write_text(
        '{"resize": 16, "crop": 16, "channel_order": "RGB", "mean": [127, 127, 127], "std": [57, 57, 57]}'
    )
    how = {"data": DataSpec(folder / "photos"), "preprocess": str(folder / "p.json"), "method": "minmax,search"}
    made = calibrate(request(folder, "damaged", **how))
    table, report = made.table, made.report
    assert table.samples + table.held_out == 18 == table.data["samples"]
    assert table.data["skipped"] == report.data["skipped"] == {"damaged or cut short": 6}
    assert (table.samples, table.held_out) == (report.samples, report.held_out)
    assert table.held_out == report.methods[0].accuracy["samples"]  # type: ignore[index]
    assert table.preprocessing is not None and table.preprocessing["layout"] == "NCHW"
    assert any("the search looks at" in text for text in report.warnings)
    notes = Notes()
    plan = convert(int8(folder, "damaged_plan", Quantization(batch=4, **how)), notes)  # type: ignore[arg-type]
    said = (
        f"calibrated by {table.method} on {table.samples} samples, {table.held_out} held out; 6 samples were left out"
    )
    assert any(warning.startswith(said) for warning in plan.manifest.warnings)
    assert any(text.startswith("6 samples were left out: 6 × damaged or cut short (") for text in notes.texts)


def test_a_tensor_that_is_always_zero_is_named(folder: Path) -> None:
    dead = inception()
    for name, value in (("reduce_w", np.zeros((16, 16, 1, 1))), ("reduce_b", np.full(16, -1.0))):
        (found,) = [each for each in dead.graph.initializer if each.name == name]
        found.CopyFrom(tensor(name, value.astype(np.float32)))
    onnx.save(dead, folder / "dead.onnx")
    notes = Notes()
    wanted = replace(request(folder, "dead"), source=SourceRequest(str(folder / "dead.onnx")))
    made = calibrate(wanted, notes)
    assert made.report is not None
    assert made.report.dead == ("reduce_relu",)
    assert made.table.amax["reduce_relu"] == 0
    assert any("reduce_relu was zero in every sample" in text for text in notes.texts)
    onnx.checker.check_model(str(made.onnx.path), full_check=True)


def test_a_checkpoint_that_cannot_be_used_is_not_recommended(folder: Path) -> None:
    wanted = request(folder, "damaged-checkpoint", resume=True)
    wanted.output.mkdir()
    checkpoint_path(wanted.output, "net").write_bytes(b"no checkpoint")
    (wanted.output / ".net.calibration.partial.0a1b2c3d.part.npz").write_bytes(b"cut sh")  # of a killed worker
    notes = Notes()
    with pytest.raises(CalibrationError, match="is damaged"):
        calibrate(wanted, notes)
    assert not any("continues from it" in text for text in notes.texts)
    assert [path.name for path in wanted.output.iterdir()] == [checkpoint_path(wanted.output, "net").name]


def test_ranges_of_a_table_are_named_by_method(done: CalibrationResult) -> None:
    assert done.table.tensors == {
        name: TensorRange(amax, "minmax" if name == "x" else done.table.method)
        for name, amax in done.table.amax.items()
    }


def test_channels_last_are_fed_as_the_model_takes_them(folder: Path) -> None:
    """The same pictures, through a model and through the model with a Transpose in front: the same thresholds."""
    first = inception()
    last = inception()
    last.graph.node.insert(0, onnx.helper.make_node("Transpose", ["image"], ["x"], name="turn", perm=[0, 3, 1, 2]))
    last.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 16, 16, 3]))
    for name, model in (("first", first), ("last", last)):
        onnx.save(model, folder / f"{name}.onnx")
    write_folder(folder / "pictures", 16)
    how = {"data": DataSpec(folder / "pictures"), "preprocess": "imagenet", "method": "minmax"}
    made = {
        name: calibrate(replace(request(folder, name, **how), source=SourceRequest(str(folder / f"{name}.onnx"))))
        for name in ("first", "last")
    }
    layouts = {name: result.table.preprocessing["layout"] for name, result in made.items()}  # type: ignore[index]
    assert layouts == {"first": "NCHW", "last": "NHWC"}
    amax = {name: result.table.amax for name, result in made.items()}
    shared = set(amax["first"]) & set(amax["last"])
    assert len(shared) > 3
    assert {name: amax["first"][name] for name in shared} == {name: amax["last"][name] for name in shared}


def test_a_holdout_that_is_neither_share_nor_number_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"holdout is 1\.5"):
        calibrate(request(folder, "none", holdout=1.5))
    assert not (folder / "none").exists()


def test_a_mean_that_the_model_subtracts_itself_is_held_against_the_preprocessing(folder: Path) -> None:
    model = inception()
    model.graph.initializer.append(tensor("means", np.array([103.53, 116.28, 123.675], np.float32).reshape(1, 3, 1, 1)))
    model.graph.node.insert(0, onnx.helper.make_node("Sub", ["pixels", "means"], ["x"], name="subtract"))
    model.graph.input[0].name = "pixels"
    onnx.save(model, folder / "pixels.onnx")
    notes = Notes()
    how = {"data": DataSpec(write_folder(folder / "some", 10)), "preprocess": "imagenet"}
    wanted = replace(request(folder, "pixels", **how), source=SourceRequest(str(folder / "pixels.onnx")))
    made = calibrate(wanted, notes)
    told = [text for text in notes.texts if text.startswith("the model itself subtracts")]
    assert len(told) == 2  # the range, and the order of the channels
    assert made.report.warnings[:2] == tuple(told)


def test_arguments_of_a_wrong_type_are_named(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"Quantization: exclude is a tuple of str, not str 'Gemm'") as caught:
        Quantization(exclude="Gemm")  # type: ignore[arg-type]
    assert "exclude=('Gemm',)" in caught.value.hint
    with pytest.raises(UsageError, match="Quantization: data is DataSpec or None, not PosixPath"):
        Quantization(data=folder)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="CalibrationRequest: source is SourceRequest, not str"):
        CalibrationRequest("googlenet", Quantization())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="calibrate: request is CalibrationRequest, not str"):
        calibrate("googlenet")  # type: ignore[arg-type]


def test_a_quantization_that_ruins_the_model_is_told(folder: Path) -> None:
    values = np.load(folder / "data.npy")
    for row in range(len(values)):  # one sample ten thousand times as large as the rest, and seen by calibration
        odd = values.copy()
        odd[row] *= 1e4
        np.save(folder / "odd.npy", odd)
        data = JobData(DataSpec(folder / "odd.npy"), (TensorSpec("x", "float32", ("N", 3, 16, 16)),), None, 0.2, 0, 4)
        if row in data.open()[1]:
            break
    notes = Notes()
    made = calibrate(request(folder, "ruined", data=DataSpec(folder / "odd.npy"), method="minmax"), notes)
    assert made.report.best.sqnr_db is not None and made.report.best.sqnr_db < 10
    (told,) = [text for text in notes.texts if "dB on held-out samples" in text]
    assert "--exclude" in told
    assert told in made.report.warnings
