"""Convert as a whole: which files appear, what they hold, and which models go in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.graph.models import model, perceptron, tensor, value
from tests.pipeline.conversions import as_text, asked, everything, saved, the_choice
from trtkit.artifacts.files import sha256_file
from trtkit.artifacts.plan import PlanManifest
from trtkit.errors import ModelError, UsageError
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.request import ConvertResult

pytestmark = pytest.mark.usefixtures("one_probe")


def test_three_files_appear_and_no_other(first: ConvertResult) -> None:
    version = the_choice("null")[0].short_version
    plan = f"net.fp32.null-{version}.plan"
    assert first.plan.name == plan
    assert everything(first.plan.parent) == {plan, f"{plan}.json", "net.fp32.onnx"}
    assert not first.reused
    assert first.chosen_because == "asked for"


def test_the_manifest_reads_back_with_the_hashes_of_the_files(first: ConvertResult) -> None:
    manifest = PlanManifest.read(first.plan)
    assert as_text(manifest) == as_text(first.manifest)
    assert manifest.sha256 == sha256_file(first.plan)
    assert manifest.bytes == first.plan.stat().st_size
    assert manifest.onnx.path == first.plan.with_name("net.fp32.onnx")
    assert manifest.onnx.sha256 == sha256_file(manifest.onnx.path)
    origin = Path(str(manifest.source.path))
    assert manifest.source.sha256 == sha256_file(origin)
    assert manifest.validation.candidate_sha256 == manifest.sha256
    assert manifest.validation.reference_sha256 == manifest.source.sha256


def test_the_manifest_is_json_as_it_stands(first: ConvertResult) -> None:
    """No tuple that JSON would give back as a list."""
    value = first.manifest.to_json()
    assert json.loads(json.dumps(value)) == value
    assert as_text(PlanManifest.from_json(value, first.plan.parent)) == as_text(first.manifest)
    assert json.loads(json.dumps(first.to_json())) == first.to_json()


def test_zeros_are_not_validated(first: ConvertResult) -> None:
    assert first.manifest.validation.status == "failed"
    assert first.manifest.validation.needed_relative_l2 == 1.0
    assert {check.case for check in first.manifest.validation.checks} == {"batch 1", "batch 3"}


def run(plan: Path, **feeds: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(plan), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def evaluated(made: onnx.ModelProto, **feeds: np.ndarray) -> np.ndarray:
    return np.asarray(ReferenceEvaluator(made).run(None, feeds)[0])


def test_fp16_with_fp16_inputs_and_outputs_validates(source: Path, tmp_path: Path) -> None:
    result = convert(asked(source, tmp_path / "plans", family="onnxruntime", precision="fp16", fp16_io=True))
    manifest = result.manifest
    assert result.plan.name == "net.fp16.onnxruntime.onnx"
    assert [spec.dtype for spec in (*manifest.onnx.inputs, *manifest.onnx.outputs)] == ["float16", "float16"]
    assert manifest.validation.status == "passed"
    assert manifest.validation.subject == "plan"
    assert 0 < (manifest.validation.needed_relative_l2 or 0) < 1e-2
    x = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float16)
    want = evaluated(perceptron(hidden=16), x=x.astype(np.float32))
    np.testing.assert_allclose(run(result.plan, x=x), want, rtol=0.05, atol=0.05)


def test_nodes_of_one_name_convert_and_validate(tmp_path: Path) -> None:
    made = perceptron(hidden=16)
    for node in made.graph.node:
        node.name = "same"
    source = saved(made, tmp_path / "source")
    result = convert(asked(source, tmp_path / "plans", family="onnxruntime"))
    assert result.manifest.validation.status == "passed"
    assert "make_node_names_unique" in result.manifest.onnx.transforms
    names = [node.name for node in onnx.load(result.plan).graph.node]
    assert len(set(names)) == len(names) == 3


def test_a_float16_model_does_not_become_an_fp32_plan(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], name="gemm")]
    ends = [value("x", ("N", 4), TensorProto.FLOAT16)], [value("y", ("N", 4), TensorProto.FLOAT16)]
    made = model(nodes, *ends, [tensor("w", np.eye(4, dtype=np.float16))])
    source = saved(made, tmp_path / "source")
    for precision in ("fp32", "tf32"):
        with pytest.raises(ModelError, match="holds float16 weights") as caught:
            convert(asked(source, tmp_path / "plans", precision=precision))
        assert "--precision fp16" in caught.value.hint
    assert everything(tmp_path / "plans") == set()


def test_a_seed_goes_with_random_weights_only(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--seed chooses random weights") as caught:
        convert(asked(source, tmp_path / "plans", seed=1))
    assert "--seed" in caught.value.hint
    assert not (tmp_path / "plans").exists()


def test_external_data_is_taken_in(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    made = perceptron(hidden=300)
    onnx.save_model(
        perceptron(hidden=300),
        folder / "net.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    assert (folder / "weights.bin").stat().st_size > 10_000
    result = convert(asked(folder / "net.onnx", tmp_path / "plans", family="onnxruntime"))
    assert result.manifest.validation.status == "passed"
    shutil.rmtree(folder)
    x = np.random.default_rng(0).standard_normal((3, 8), dtype=np.float32)
    np.testing.assert_allclose(run(result.plan, x=x), evaluated(made, x=x), rtol=1e-4, atol=1e-4)


def two_inputs() -> onnx.ModelProto:
    """y = a · b with a of N×4 and b of 4×M."""
    ends = [value("a", ("N", 4)), value("b", (4, "M"))], [value("y", ("N", "M"))]
    return model([helper.make_node("MatMul", ["a", "b"], ["y"], name="product")], *ends)


def test_two_inputs_with_shapes_of_their_own(tmp_path: Path) -> None:
    source = saved(two_inputs(), tmp_path / "source")
    shapes = ("a=2x4:3x4:6x4", "b=4x1:4x5:4x7")
    result = convert(asked(source, tmp_path / "plans", family="onnxruntime", precision="fp16", shapes=shapes))
    ranges = result.manifest.options["profile"]["ranges"]
    assert ranges["a"] == {"minimum": [2, 4], "optimum": [3, 4], "maximum": [6, 4]}
    assert ranges["b"] == {"minimum": [4, 1], "optimum": [4, 5], "maximum": [4, 7]}
    assert result.manifest.validation.status == "passed"
    assert result.manifest.validation.checks[0].difference.elements == 2 * 5


def test_shapes_of_an_input_that_is_not_there_are_refused(tmp_path: Path) -> None:
    source = saved(two_inputs(), tmp_path / "source")
    with pytest.raises(UsageError, match="'c'"):
        convert(asked(source, tmp_path / "plans", shapes=("a=2x4", "b=4x5", "c=1x1")))
    assert everything(tmp_path / "plans") == set()


def classified() -> onnx.ModelProto:
    """y = argmin of the perceptron's scores, int64."""
    made = perceptron(hidden=16)
    scores = made.graph.output[0].name
    made.graph.node.append(helper.make_node("ArgMin", [scores], ["class"], name="argmin", axis=1, keepdims=0))
    del made.graph.output[:]
    made.graph.output.append(value("class", ("N",), TensorProto.INT64))
    return made


def test_classes_are_judged_by_agreement(tmp_path: Path) -> None:
    source = saved(classified(), tmp_path / "source")
    report = convert(asked(source, tmp_path / "plans", family="onnxruntime", precision="fp16")).manifest.validation
    assert {check.judged_by for check in report.checks} == {"agreement"}
    assert (report.status, report.found_agreement, report.needed_relative_l2) == ("passed", 1.0, None)
    assert "100.00% of the integer outputs equal, at least 95.00% wanted" in report.sentence
    zeros = convert(asked(source, tmp_path / "null")).manifest.validation  # class 0 for everything
    assert zeros.status == "failed"
    assert zeros.found_agreement is not None and zeros.found_agreement < 0.95
    loose = convert(asked(source, tmp_path / "loose", agreement=0.0)).manifest.validation
    assert loose.status == "passed"


def test_an_artifact_that_is_its_source_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    report = convert(asked("squeezenet1_1", tmp_path, family="onnxruntime")).manifest.validation
    if "CPU" not in str(report.where):
        pytest.skip("ONNX Runtime runs on a GPU here, so there is something to compare")
    assert (report.status, report.subject, report.checks) == ("not_judged", "plan", ())
    assert (report.not_finite, report.needed_relative_l2, report.precision_observed) == ({}, None, None)
