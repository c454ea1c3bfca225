"""Rewrites inside a conversion: on by default, checked, recorded, replayed behind a table, and never the reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from calibration.source import DataSpec
from tests.graph.rewrites.oracle import net, node, normal, ops
from tests.pipeline.conversions import asked, everything, saved
from tests.pipeline.small_calibration import Notes, int8
from trtkit.artifacts.calibration_table import CalibrationTable
from trtkit.artifacts.plan import PlanManifest
from trtkit.backends import comparing, executing
from trtkit.backends.probing import probe
from trtkit.errors import CalibrationError, RunError, UsageError
from trtkit.graph import io
from trtkit.graph.rewrites import ALL, remembered
from trtkit.graph.rewrites.remembered import Remembered, regions_of
from trtkit.pipeline import rewriting
from trtkit.pipeline.calibration import CalibrationRequest, calibrate, explain
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.quantization import Quantization
from trtkit.pipeline.rewriting import named_rewrites
from trtkit.pipeline.validation import validate_plan
from trtkit.stages import validate as stage
from trtkit.stages.export import SourceRequest

STEM = "conv1/stem_space_to_depth_16/space_to_depth"


def small():
    """A stem, an LRN and a second convolution: something for two rewrites on a GPU, for one on a CPU."""
    weights = {"w": normal(16, 3, 5, 5, scale=0.1), "v": normal(16, 16, 3, 3, scale=0.1)}
    nodes = [
        node("Conv", ["x", "w"], "c1", "conv1", strides=[2, 2], pads=[2, 2, 2, 2]),
        node("Relu", ["c1"], "r1", "relu1"),
        node("LRN", ["r1"], "n1", "norm1", size=5),
        node("Conv", ["n1", "v"], "y", "conv2", pads=[1, 1, 1, 1]),
    ]
    return net(nodes, {"x": ("N", 3, 16, 16)}, weights)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(small(), tmp_path / "source")


def test_safe_is_the_default_and_the_source_stays_the_reference(model, tmp_path):
    done = convert(asked(model, tmp_path / "out", family="onnxruntime"))
    report = done.manifest.rewrites
    assert report.asked == "safe" and report.names == ("lrn_band",) and report.kept[0].difference < 1e-5
    assert "onnxruntime:cpu" in report.chosen_because
    assert "LRN" not in ops(onnx.load(done.manifest.onnx.path)) and "lrn_band" in done.manifest.onnx.transforms
    assert done.manifest.source.sha256 == io.sha256_of(model)
    # It was executed against the source: the file differs from it, and so there is something to compare.
    assert done.manifest.validation.status == "passed" and "relative L2" in done.manifest.validation.sentence
    again = PlanManifest.read(done.plan)
    assert again.rewrites == report
    assert validate_plan(done.plan).status == "passed"


def test_none_gives_the_base_and_another_choice_another_plan(model, tmp_path):
    base = convert(asked(model, tmp_path / "out", rewrite="none"))
    assert base.manifest.rewrites is None and ops(onnx.load(base.manifest.onnx.path)) == ops(small())
    assert base.manifest.onnx.transforms == ()
    assert convert(asked(model, tmp_path / "out", rewrite="none")).reused
    listed = convert(asked(model, tmp_path / "out", rewrite="stem_space_to_depth, lrn_band"))
    assert not listed.reused and listed.manifest.rewrites.names == ("lrn_band", "stem_space_to_depth")


def count_executions(monkeypatch):
    """Names of the files that a validation runs from now on."""
    ran = []

    def counted(family, file, *others):
        ran.append(f"{family} {file.name}")
        return executing.execute(family, file, *others)

    def counted_reference(*others, **more):
        ran.append("reference")
        return executing.execute_reference(*others, **more)

    monkeypatch.setattr(stage, "execute", counted)
    monkeypatch.setattr(comparing, "execute_reference", counted_reference)
    return ran


@pytest.mark.parametrize(("precision", "ran"), [("fp32", []), ("fp16", ["onnxruntime {}.fp16.onnx"])])
def test_what_the_check_computed_is_not_computed_again(model, tmp_path, monkeypatch, precision, ran):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    if probe("tensorrt-rtx").cannot_run is None:
        pytest.skip("here the plan itself is run")
    executed = count_executions(monkeypatch)
    done = convert(asked(model, tmp_path / "out", family="tensorrt-rtx", precision=precision, batch="1:4:8"))
    assert executed == [name.format(model.stem) for name in ran], "the check ran the source and the rewritten model"
    report = done.manifest.validation
    assert report.subject == "onnx" and len(report.checks) == 2 and 0 < report.needed_relative_l2 < 1e-2
    assert "CPUExecutionProvider" in report.reference


def test_a_definition_keeps_its_reference(tmp_path, monkeypatch):
    how = {"family": "onnxruntime", "batch": "1:1:1"}
    executed = count_executions(monkeypatch)
    done = convert(asked("squeezenet1_1", tmp_path / "out", rewrite="stem_space_to_depth", **how))
    assert executed == [f"onnxruntime {done.plan.name}"], "the reference was run by the check"
    base = convert(asked("squeezenet1_1", tmp_path / "base", rewrite="none", **how))
    assert done.manifest.rewrites.kept and done.manifest.onnx.sha256 != base.manifest.onnx.sha256
    assert done.manifest.source == base.manifest.source  # hash included: that of the model as it was
    assert everything(tmp_path / "out") == {done.plan.name, done.manifest.onnx.path.name, f"{done.plan.name}.json"}
    assert validate_plan(done.plan).status == "passed"


def test_float16_squares_are_scaled(model, tmp_path):
    done = convert(asked(model, tmp_path / "out", family="onnxruntime", precision="fp16"))
    made = onnx.load(done.manifest.onnx.path)
    assert "norm1/lrn_band/square_scaled" in [item.name for item in made.graph.node]
    assert done.manifest.validation.status == "passed"


def test_a_source_that_does_not_run_is_left_as_it_is(model, tmp_path, monkeypatch):
    def refuse(*args: object, **options: object) -> None:
        raise RunError("ONNX Runtime cannot run source.onnx: no such operator.", hint="Mend it.")

    notes = Notes()
    monkeypatch.setattr(rewriting, "rewrite_once", refuse)
    done = convert(asked(model, tmp_path / "out"), notes)
    assert done.manifest.rewrites is None and "LRN" in ops(onnx.load(done.manifest.onnx.path))
    assert any("built as it is, since its rewrites cannot be checked" in text for text in notes.texts)
    with pytest.raises(RunError, match="cannot run"):
        convert(asked(model, tmp_path / "other", rewrite="lrn_band"))


def calibrated(model: Path, folder: Path, **changes: object):
    data = folder / "data.npy"
    np.save(data, np.random.default_rng(1).standard_normal((20, 3, 16, 16), dtype=np.float32))
    how = Quantization(data=DataSpec(data), batch=4, method="entropy")
    return calibrate(CalibrationRequest(SourceRequest(str(model)), how, output=folder / "table", **changes))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The small model calibrated with its rewrites; no test changes these files."""
    folder = tmp_path_factory.mktemp("calibrated")
    return calibrated(saved(small(), folder / "source"), folder)


def test_a_table_records_the_rewrites_and_convert_does_them_again(done, model, tmp_path):
    assert done.table.rewrites == {"lrn_band": ("norm1",), "stem_space_to_depth_16": ("conv1",)}
    assert set(done.table.tensors) == {STEM, "n1"} and done.table.tensors[STEM].method == "minmax"
    assert CalibrationTable.read(done.table_path).rewrites == done.table.rewrites
    # ONNX Runtime's own safe list has no stem: the table decides.
    made = convert(int8(tmp_path, "out", Quantization(table=done.table_path), model))
    assert made.manifest.rewrites.names == ("lrn_band", "stem_space_to_depth_16")
    assert made.manifest.onnx.sha256 == done.onnx.sha256
    assert "table was made behind" in made.manifest.rewrites.chosen_because


def test_a_table_whose_rewrites_cannot_be_done_again_is_refused(done, model, tmp_path):
    elsewhere, table = replace(done.table, rewrites={"lrn_band": ("norm1", "norm9")}), tmp_path / "elsewhere.json"
    elsewhere.write(table)
    with pytest.raises(CalibrationError, match=r"lrn_band at norm1, norm9.*cannot be done again at norm9") as caught:
        convert(int8(tmp_path, "out", Quantization(table=table), model))
    assert "--rewrite none" in caught.value.hint


def test_another_choice_than_the_tables_names_the_difference(done, model, tmp_path):
    request = int8(tmp_path, "out", Quantization(table=done.table_path), model)
    with pytest.raises(CalibrationError, match=r"lacks 1 of 2.*changed by lrn_band, stem_space_to_depth_16 before"):
        convert(replace(request, rewrite="none"))
    # The band keeps every name, so a table made without rewrites goes with it.
    plain = calibrated(model, tmp_path, rewrite="none")
    assert plain.table.rewrites == {} and set(plain.table.tensors) == {"x", "n1"}
    made = convert(replace(request, rewrite="lrn_band", quantization=Quantization(table=plain.table_path)))
    assert made.manifest.rewrites.names == ("lrn_band",)


def test_a_cache_names_the_tensors_of_the_source(model, tmp_path):
    done = calibrated(model, tmp_path, to_trt_cache=tmp_path / "old.cache")
    assert done.table.rewrites == {} and "x: " in (tmp_path / "old.cache").read_text()


def test_explain_speaks_of_the_rewritten_graph(model):
    how = Quantization()
    rules = {d.node: d.rule for d in explain(SourceRequest(str(model)), how, "int8").decisions}
    assert rules["norm1/lrn_band/sum"] == "F13-rewrite" and rules["conv1"] == "Q1-weighted"
    plain = {d.node: d.rule for d in explain(SourceRequest(str(model)), how, "int8", "none").decisions}
    assert plain["norm1"] == "F1-normalizes"


def test_what_can_be_asked_for():
    assert named_rewrites("safe") is None and named_rewrites("NONE") is None
    assert named_rewrites("merge_parallel_1x1,lrn_band") == ("lrn_band", "merge_parallel_1x1")
    for text, message in (("safe,lrn_band", "neither one of"), ("", "neither one of"), ("lrn_bond", "no rewrite")):
        with pytest.raises(UsageError, match=message):
            named_rewrites(text)


def test_a_changed_interface_is_for_optimize(model, tmp_path):
    with pytest.raises(UsageError, match="changes the model's inputs") as caught:
        convert(asked(model, tmp_path / "out", rewrite="uint8_nhwc_input"))
    assert "trtkit optimize" in caught.value.hint and not (tmp_path / "out").exists()


def test_a_safe_rewrite_that_is_remembered_as_slower_is_left_out(model, tmp_path, monkeypatch):
    site = ALL["lrn_band"].find(small())
    known = Remembered(
        "lrn_band", "net", regions_of(site), (), "null", "0", "a device", "fp32", 32, 0.8, (0.7, 0.9), "a test"
    )
    monkeypatch.setattr(remembered, "entries", lambda: (known,))
    notes = Notes()
    done = convert(asked(model, tmp_path / "out"), notes)
    report = done.manifest.rewrites
    assert report.names == () and "LRN" in ops(onnx.load(done.manifest.onnx.path))
    assert "it was slower, 0.80 ×, on net at batch 32, a device" in report.rewrites[-1].reason
    assert any("lrn_band was left out: it was slower" in text for text in notes.texts)
    listed = convert(asked(model, tmp_path / "out", rewrite="lrn_band"))  # who names it gets it
    assert listed.manifest.rewrites.names == ("lrn_band",) and listed.manifest.rewrites.kept[0].gain == 0.8


@pytest.mark.parametrize("high_precision", ["fp32", "fp16"])
def test_int8_on_tensorrt_rtx_keeps_the_band_out_of_the_proof_and_in_the_float_type(model, tmp_path, high_precision):
    if probe("tensorrt-rtx").cannot_build is not None:
        pytest.skip("tensorrt-rtx cannot build here")
    np.save(tmp_path / "data.npy", np.random.default_rng(1).standard_normal((12, 3, 16, 16), dtype=np.float32))
    how = Quantization(data=DataSpec(tmp_path / "data.npy"), method="minmax", high_precision=high_precision)
    asked_for = {"precision": "int8", "quantization": how, "family": "tensorrt-rtx", "batch": "1:4:8"}
    manifest = convert(asked(model, tmp_path / "out", **asked_for)).manifest
    assert manifest.rewrites.names == ("lrn_band", "stem_space_to_depth_16")
    assert manifest.proof.sentence == "2 of 2 Conv in INT8" and manifest.proof.fraction("int8") == 1
    products = [layer for layer in manifest.layers.layers if layer.is_product]
    (band,) = [layer for layer in products if "norm1/lrn_band/sum" in layer.onnx_nodes]
    assert band.dtype == high_precision
