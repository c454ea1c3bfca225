"""Conversions with a table, with data, and of models that are quantized already: what fits, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from calibration.source import DataSpec
from tests.graph.models import tensor
from tests.graph.qdq_models import inception, residual
from tests.pipeline.small_calibration import Notes, int8, request, write_net
from trtkit.artifacts.calibration_table import CalibrationTable
from trtkit.backends.capabilities import Capabilities
from trtkit.errors import CalibrationError, ModelError, UsageError
from trtkit.graph.qdq_view import without_pairs
from trtkit.pipeline.calibration import CalibrationResult, calibrate
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.quantization import Quantization


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_net(tmp_path_factory.mktemp("calibration"))


@pytest.fixture(scope="module")
def done(folder: Path) -> CalibrationResult:
    return calibrate(request(folder, "done", method="minmax,percentile:99,entropy,mse"))


def test_a_table_and_the_data_that_made_it_give_the_same_model(folder: Path, done: CalibrationResult) -> None:
    method = "minmax,percentile:99,entropy,mse"
    convert(int8(folder, "from_table", Quantization(table=done.table_path)))
    convert(int8(folder, "from_data", Quantization(data=DataSpec(folder / "data.npy"), method=method, batch=4)))
    written = [(folder / name / "net.int8.onnx").read_bytes() for name in ("from_table", "from_data", "done")]
    assert written[0] == written[1] == written[2]
    assert (folder / "from_data" / "net.calibration.json").exists()


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
    other = refused(done.table, folder / "other.onnx")
    assert "the rewrite global_pool at mean" in other and "cannot be done again at mean of other" in other
    assert "stem_relu" in refused(replace(done.table, rewrites={}), folder / "other.onnx")


def test_a_table_of_other_weights_is_refused_unless_asked_for(folder: Path, done: CalibrationResult) -> None:
    other = inception()
    other.graph.initializer[0].CopyFrom(tensor("conv1_w", np.full((16, 3, 3, 3), 0.1, np.float32)))
    onnx.save(other, folder / "retrained.onnx")
    wanted = int8(folder, "retrained", Quantization(table=done.table_path), folder / "retrained.onnx")
    with pytest.raises(CalibrationError, match="made for other weights") as caught:
        convert(wanted)
    assert "--allow-other-weights" in caught.value.hint
    assert not (folder / "retrained").exists()
    notes = Notes()
    allowed = Quantization(table=done.table_path, allow_other_weights=True)
    result = convert(replace(wanted, quantization=allowed), notes)
    assert any("made for other weights" in text for text in notes.texts)
    assert any("made for another model" in warning for warning in result.manifest.warnings)


def test_another_file_with_the_same_weights_is_taken(folder: Path, done: CalibrationResult) -> None:
    same = inception()
    same.doc_string = "exported again"
    onnx.save(same, folder / "again.onnx")
    notes = Notes()
    convert(int8(folder, "same", Quantization(table=done.table_path), folder / "again.onnx"), notes)
    assert any("with the same weights" in text for text in notes.texts)


def test_a_missing_tensor_names_what_was_changed_in_the_model(folder: Path, done: CalibrationResult) -> None:
    fewer = replace(done.table, tensors=dict(list(done.table.tensors.items())[1:]), transforms=("lrn-as-conv",))
    fewer.write(folder / "fewer.json")
    with pytest.raises(CalibrationError, match="changed by lrn-as-conv before it was calibrated, and by global_pool"):
        convert(int8(folder, "fewer", Quantization(table=folder / "fewer.json")))


@pytest.mark.slow
def test_changed_data_are_calibrated_anew(folder: Path) -> None:
    rng = np.random.default_rng(2)
    np.save(folder / "changing.npy", rng.standard_normal((12, 3, 16, 16), dtype=np.float32))
    wanted = int8(folder, "changing", Quantization(data=DataSpec(folder / "changing.npy")))
    assert not convert(wanted).reused
    assert convert(wanted).reused
    np.save(folder / "changing.npy", 2 * rng.standard_normal((12, 3, 16, 16), dtype=np.float32))
    assert not convert(wanted).reused


def test_a_model_that_is_quantized_already_is_taken_as_it_is(folder: Path, done: CalibrationResult) -> None:
    notes = Notes()
    result = convert(int8(folder, "adopted", None, done.onnx.path), notes)
    assert not [text for text in notes.texts if "-" in text.split()[0]]  # our own placement breaks no rule
    theirs, ours = onnx.load(result.manifest.onnx.path), onnx.load(done.onnx.path)
    assert [node.op_type for node in theirs.graph.node] == [node.op_type for node in ours.graph.node]
    weights = {each.name: each.raw_data for each in ours.graph.initializer}
    assert {each.name: each.raw_data for each in theirs.graph.initializer} == weights
    with pytest.raises(ModelError, match="quantized already"):
        convert(replace(int8(folder, "adopted", None, done.onnx.path), precision="fp32"))


def test_what_a_foreign_model_leaves_float_is_said(done: CalibrationResult) -> None:
    model = onnx.load(done.onnx.path)
    makers = {node.output[0]: node for node in model.graph.node}
    by_rewrite = without_pairs(model, ("Conv",))  # the sum of an LRN stays float
    first, second, *others = [n for n in model.graph.node if n.op_type == "Conv" and n.name not in by_rewrite]
    model.graph.initializer.append(tensor("bare", np.zeros((16, 3, 3, 3), np.float32)))
    first.input[0], first.input[1] = "x", "bare"
    second.input[0] = makers[makers[second.input[0]].input[0]].input[0]  # what lies before its pair
    found = without_pairs(model, ("Conv",))
    assert found[first.name] == "the file has no Q/DQ there"
    assert found[second.name] == f"the file has no Q/DQ at its input {second.input[0]!r}"
    assert not {node.name for node in others} & set(found)


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


def test_every_rule_that_a_foreign_model_breaks_is_named_with_its_count(folder: Path, done: CalibrationResult) -> None:
    model = onnx.load(done.onnx.path)
    model.graph.initializer.append(onnx.helper.make_tensor("unsigned", TensorProto.UINT8, [], [128]))
    model.graph.initializer.append(onnx.helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0]))
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    for node in model.graph.node:
        mine = [q for q in quantizers if node is q or node.input[0] == q.output[0]]
        if mine and node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            del node.input[2:]
            node.input.append("unsigned")
    last = quantizers[-1]
    for node in model.graph.node:
        if node is last or node.input[0] == last.output[0]:
            node.input[1] = "nothing"
    del model.graph.value_info[:]
    onnx.save(model, folder / "broken.onnx")
    with pytest.raises(ModelError) as caught:
        convert(int8(folder, "broken", None, folder / "broken.onnx"))
    count = 2 * len(quantizers)
    assert f"X1-zero-point at {count} nodes (" in caught.value.message
    assert f"X2-uint8 at {count} nodes (" in caught.value.message
    assert "X5-scale at 2 nodes (" in caught.value.message
    for rule in ("X1-zero-point: ", "X2-uint8: ", "X5-scale: "):
        assert rule in caught.value.hint


def test_default_targets_without_fp8_are_left_out_and_asked_ones_refused() -> None:
    usual = ("8.0", "8.6", "8.9", "12.0")
    can = Capabilities("rtx", "1.7", lowest_targets={"fp8": "8.9"}, targets=usual, default_targets=usual)
    assert can.targets_for("fp8", ()) == ("8.9", "12.0")
    assert can.targets_for("int8", ()) == ()
    with pytest.raises(UsageError, match=r"rtx 1\.7 has no FP8 for compute capability 8\.6: 8\.9 is the first"):
        can.targets_for("fp8", ("8.6", "8.9"))


def test_int8_is_refused_by_a_version_that_cannot_before_the_model_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Capabilities("tensorrt-rtx", "1.6.1.120", refused_precisions={"int8": "its INT8 convolutions fail"})
    monkeypatch.setattr("trtkit.pipeline.conversion.choose", lambda family: (old, "asked for"))
    with pytest.raises(UsageError, match=r"tensorrt-rtx 1\.6\.1\.120 cannot build int8 plans"):
        convert(int8(folder, "old", Quantization(data=DataSpec(synthetic=8))))
    assert not (folder / "old").exists()


def test_advice_about_a_foreign_model_is_told_once_a_rule_and_stands_in_the_manifest(
    folder: Path, done: CalibrationResult
) -> None:
    model = onnx.load(done.onnx.path)
    for name in ("one_relu", "three_relu"):  # pairs of unequal scales in front of the Concat
        scale, nothing = f"{name}_odd_scale", f"{name}_odd_zero"
        model.graph.initializer.append(onnx.helper.make_tensor(scale, TensorProto.FLOAT, [], [len(name) / 100]))
        model.graph.initializer.append(onnx.helper.make_tensor(nothing, TensorProto.INT8, [], [0]))
        (concat,) = [node for node in model.graph.node if node.op_type == "Concat"]
        place = list(model.graph.node).index(concat)
        concat.input[list(concat.input).index(name)] = f"{name}_dq"
        pair = [
            onnx.helper.make_node("QuantizeLinear", [name, scale, nothing], [f"{name}_q"], name=f"{name}_q"),
            onnx.helper.make_node("DequantizeLinear", [f"{name}_q", scale, nothing], [f"{name}_dq"], name=f"{name}_dq"),
        ]
        for offset, node in enumerate(pair):
            model.graph.node.insert(place + offset, node)
    onnx.save(model, folder / "advised.onnx")
    notes = Notes()
    result = convert(int8(folder, "advised", None, folder / "advised.onnx"), notes)
    (told,) = [text for text in notes.texts if text.startswith("A5-concat-scales")]
    assert told.startswith("A5-concat-scales at joined: Concat joins tensors of unequal scales")
    assert told.endswith("Give all inputs of a Concat one scale, or quantize behind it.")
    assert told in result.manifest.warnings
