"""Calibration as a whole on a small network: files, choice, labels, resume, TensorRT caches, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from calibration.source import DataSpec
from calibration.trt_cache import read_cache
from tests.graph.models import tensor
from tests.graph.qdq_models import inception, residual
from trtkit.artifacts.calibration_report import CalibrationReport
from trtkit.artifacts.calibration_table import CalibrationTable, TensorRange
from trtkit.backends.capabilities import Capabilities
from trtkit.errors import CalibrationError, ModelError, UsageError
from trtkit.pipeline.calibration import CalibrationRequest, CalibrationResult, calibrate, checkpoint_path
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.listener import Silence
from trtkit.pipeline.quantization import Quantization
from trtkit.pipeline.request import ConvertRequest
from trtkit.stages.export import SourceRequest


class Notes(Silence):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``net.onnx`` and forty samples."""
    folder = tmp_path_factory.mktemp("calibration")
    onnx.save(inception(), folder / "net.onnx")
    np.save(folder / "data.npy", np.random.default_rng(1).standard_normal((40, 3, 16, 16), dtype=np.float32))
    return folder


def request(folder: Path, output: str, **options: object) -> CalibrationRequest:
    how = Quantization(**{"data": DataSpec(folder / "data.npy"), "batch": 4, **options})  # type: ignore[arg-type]
    return CalibrationRequest(SourceRequest(str(folder / "net.onnx")), how, output=folder / output)


@pytest.fixture(scope="module")
def done(folder: Path) -> CalibrationResult:
    return calibrate(request(folder, "done", method="minmax,percentile:99,entropy,mse"))


def int8(folder: Path, output: str, how: Quantization | None, source: Path | None = None) -> ConvertRequest:
    return ConvertRequest(
        SourceRequest(str(source or folder / "net.onnx")),
        precision="int8",
        family="onnxruntime",  # quick to "build", and the model is quantized in the same way for every family
        output=folder / output,
        quantization=how,
    )


def test_table_one_onnx_and_report_appear(folder: Path, done: CalibrationResult) -> None:
    names = ["net.calibration-report.json", "net.calibration.json", "net.int8.onnx"]
    assert sorted(path.name for path in (folder / "done").iterdir()) == names
    assert CalibrationTable.read(done.table_path) == done.table
    assert done.report is not None and done.report_path is not None
    assert CalibrationReport.from_json(json.loads(done.report_path.read_text())) == done.report
    assert done.table.samples == done.report.samples == 32
    assert done.report.held_out == 8
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


def test_resume_after_an_interruption_gives_the_same_table(folder: Path, done: CalibrationResult) -> None:
    wanted = request(folder, "resumed", method="minmax,percentile:99,entropy,mse", resume=True)
    _leave_a_checkpoint(wanted, done)
    notes: list[str] = []

    class Hears(Silence):
        def event(self, event: object) -> None:
            notes.append(getattr(event, "text", ""))

    again = calibrate(wanted, Hears())
    assert "resumed after 8 of 32 samples" in notes
    assert again.table.tensors == done.table.tensors
    assert again.onnx.sha256 == done.onnx.sha256
    assert not checkpoint_path(folder / "resumed", "net").exists()


def _leave_a_checkpoint(wanted: CalibrationRequest, done: CalibrationResult) -> None:
    """What a run that was killed after eight samples leaves."""
    import onnxruntime

    from calibration.checkpoint import Checkpoint, save
    from calibration.collect import Collector
    from calibration.job_data import JobData
    from trtkit.artifacts.model import TensorSpec
    from trtkit.graph.observe import observe
    from trtkit.stages.export import export

    assert wanted.how.data is not None and done.report is not None
    data = JobData(wanted.how.data, (TensorSpec("x", "float32", ("N", 3, 16, 16)),), None, 0.2, 0, 4)
    dataset, calibration, _ = data.open()
    names = list(done.table.tensors)
    observed = observe(export(wanted.source).model, names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(observed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    collector = Collector(names, exact_only=["x"])
    for batch in dataset.batches(calibration[:8], 4):
        outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, batch.feeds), strict=True))
        collector.update({name: {**batch.feeds, **outputs}[name] for name in names}, batch.ids)
    identity = {
        "model": done.table.model_sha256,
        "data": dataset.identity,
        "batch": 4,
        "calibration samples": len(calibration),
    }
    wanted.output.mkdir()
    save(checkpoint_path(wanted.output, "net"), Checkpoint(identity, 8, collector.state()))


def test_synthetic_samples_are_labelled_in_table_and_conversion(folder: Path) -> None:
    made = calibrate(request(folder, "synthetic", data=DataSpec(synthetic=12)))
    assert made.table.synthetic
    assert json.loads(made.table_path.read_text())["synthetic"] is True
    notes = Notes()
    convert(int8(folder, "synthetic", Quantization(table=made.table_path)), notes)
    assert any("synthetic samples" in text for text in notes.texts)


def test_a_table_and_the_data_that_made_it_give_the_same_model(folder: Path, done: CalibrationResult) -> None:
    method = "minmax,percentile:99,entropy,mse"
    convert(int8(folder, "from_table", Quantization(table=done.table_path)))
    convert(int8(folder, "from_data", Quantization(data=DataSpec(folder / "data.npy"), method=method, batch=4)))
    written = [(folder / name / "net.int8.onnx").read_bytes() for name in ("from_table", "from_data", "done")]
    assert written[0] == written[1] == written[2]
    assert (folder / "from_data" / "net.calibration.json").exists()


def test_a_tensorrt_cache_goes_out_and_comes_back(folder: Path, done: CalibrationResult) -> None:
    cache = folder / "net.cache"
    calibrate(replace(request(folder, "out", method=done.table.method), to_trt_cache=cache))
    cache.write_text(cache.read_text() + "(Unnamed Layer* 3) [Convolution]_output: 3c010a14\nstranger: 3c010a14\n")
    assert set(read_cache(cache).scales) > set(done.table.tensors)
    notes = Notes()
    back = calibrate(replace(request(folder, "back", data=None), from_trt_cache=cache), notes)
    assert back.report is None
    assert back.cache is not None
    assert back.cache.unmatched == ("stranger",)
    assert len(back.cache.fused) == 1
    assert any("1 are fused tensors" in text for text in notes.texts)
    for name, amax in done.table.amax.items():
        assert back.table.amax[name] == pytest.approx(amax, rel=1e-6)


def test_a_cache_that_lacks_tensors_is_refused_by_name(folder: Path) -> None:
    cache = folder / "short.cache"
    cache.write_text("TRT-8601-EntropyCalibration2\nx: 3c010a14\n")
    with pytest.raises(CalibrationError, match=r"no scale for \d+ of \d+ tensors; the first: pool1"):
        calibrate(replace(request(folder, "none", data=None), from_trt_cache=cache))


def test_data_or_a_cache_is_needed_and_not_both(folder: Path, done: CalibrationResult) -> None:
    with pytest.raises(UsageError, match="neither was given"):
        calibrate(request(folder, "none", data=None))
    with pytest.raises(UsageError, match="not from both"):
        calibrate(replace(request(folder, "none"), from_trt_cache=folder / "net.cache"))


def test_tables_that_do_not_fit_are_refused(folder: Path, done: CalibrationResult) -> None:
    table = folder / "wrong.json"

    def refused(wrong: CalibrationTable, source: Path | None = None) -> str:
        wrong.write(table)
        with pytest.raises(CalibrationError) as caught:
            convert(int8(folder, "refused", Quantization(table=table), source))
        assert not (folder / "refused").exists() or not list((folder / "refused").iterdir())
        return caught.value.message

    assert "is for fp8" in refused(replace(done.table, dtype="fp8"))
    fewer = dict(list(done.table.tensors.items())[1:])
    assert "lacks 1 of" in refused(replace(done.table, tensors=fewer))
    onnx.save(residual(), folder / "other.onnx")
    assert "stem_relu" in refused(done.table, folder / "other.onnx")


def test_a_table_of_other_weights_is_used_and_the_user_told(folder: Path, done: CalibrationResult) -> None:
    other = inception()
    other.graph.initializer[0].CopyFrom(tensor("conv1_w", np.full((16, 3, 3, 3), 0.1, np.float32)))
    onnx.save(other, folder / "retrained.onnx")
    notes = Notes()
    convert(int8(folder, "retrained", Quantization(table=done.table_path), folder / "retrained.onnx"), notes)
    assert any("made for another net" in text for text in notes.texts)


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


def test_a_model_that_is_quantized_already_is_taken_as_it_is(folder: Path, done: CalibrationResult) -> None:
    result = convert(int8(folder, "adopted", None, done.onnx.path))
    theirs, ours = onnx.load(result.manifest.onnx.path), onnx.load(done.onnx.path)
    assert [node.op_type for node in theirs.graph.node] == [node.op_type for node in ours.graph.node]
    weights = {each.name: each.raw_data for each in ours.graph.initializer}
    assert {each.name: each.raw_data for each in theirs.graph.initializer} == weights
    with pytest.raises(ModelError, match="quantized already"):
        convert(replace(int8(folder, "adopted", None, done.onnx.path), precision="fp32"))


def test_an_unsigned_zero_point_is_refused_by_rule(folder: Path, done: CalibrationResult) -> None:
    model = onnx.load(done.onnx.path)
    quantizes = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    zero = onnx.helper.make_tensor("unsigned", TensorProto.UINT8, [], [128])
    model.graph.initializer.append(zero)
    for node in model.graph.node:
        if node is quantizes or (node.input[0] == quantizes.output[0] and node.op_type == "DequantizeLinear"):
            del node.input[2:]
            node.input.append("unsigned")
    del model.graph.value_info[:]
    onnx.save(model, folder / "unsigned.onnx")
    with pytest.raises(ModelError, match=r"X1-zero-point|X2-uint8"):
        convert(int8(folder, "unsigned", None, folder / "unsigned.onnx"))


def test_default_targets_without_fp8_are_left_out_and_asked_ones_refused() -> None:
    usual = ("8.0", "8.6", "8.9", "12.0")
    can = Capabilities("rtx", "1.7", lowest_targets={"fp8": "8.9"}, targets=usual, default_targets=usual)
    assert can.targets_for("fp8", ()) == ("8.9", "12.0")
    assert can.targets_for("int8", ()) == ()
    with pytest.raises(UsageError, match=r"8\.6 has no FP8 hardware: 8\.9 is the first"):
        can.targets_for("fp8", ("8.6", "8.9"))


def test_int8_is_refused_by_a_version_that_cannot_before_the_model_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Capabilities("tensorrt-rtx", "1.6.1.120", refused_precisions={"int8": "its INT8 convolutions fail"})
    monkeypatch.setattr("trtkit.pipeline.conversion.choose", lambda family: (old, "asked for"))
    with pytest.raises(UsageError, match=r"tensorrt-rtx 1\.6\.1\.120 cannot build int8 plans"):
        convert(int8(folder, "old", Quantization(data=DataSpec(synthetic=8))))
    assert not (folder / "old").exists()


def test_ranges_of_a_table_are_named_by_method(done: CalibrationResult) -> None:
    assert set(done.table.tensors.values()) == {
        TensorRange(amax, done.table.method) for amax in done.table.amax.values()
    }
