"""Convert as a whole: which files appear, when they are made again, and that nothing half-made stays."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.graph.models import model, perceptron, tensor, value
from trtkit.artifacts.files import read_json, sha256_file, write_json
from trtkit.artifacts.plan import PlanManifest, manifest_path, validation_path
from trtkit.errors import BuildError, ModelError, UsageError
from trtkit.pipeline import conversion
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.listener import Silence
from trtkit.pipeline.request import ConvertRequest, ConvertResult
from trtkit.stages import build as build_stage
from trtkit.stages.export import SourceRequest
from trtkit.worker import Log, Progress

_choose = functools.cache(conversion.choose)  # the look at a family gives the same each time: one worker is enough


@pytest.fixture(autouse=True)
def _one_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "choose", _choose)


def asked(source: Path | str, output: Path, **changes: Any) -> ConvertRequest:
    origin = SourceRequest(str(source), seed=changes.pop("seed", 0))
    return ConvertRequest(**{"source": origin, "family": "null", "output": output, **changes})


def saved(made: onnx.ModelProto, folder: Path, name: str = "net.onnx") -> Path:
    folder.mkdir(exist_ok=True)
    onnx.save(made, folder / name)
    return folder / name


def everything(folder: Path) -> set[str]:
    """Names of all that lies in a folder, hidden ones included."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def as_text(manifest: PlanManifest) -> str:
    return json.dumps(manifest.to_json(), sort_keys=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return saved(perceptron(hidden=16), tmp_path / "source")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> ConvertResult:
    """A plan of the null family, which tests copy before they touch it."""
    folder = tmp_path_factory.mktemp("first")
    return convert(asked(saved(perceptron(hidden=16), folder / "source"), folder / "plans"))


class Copy:
    """The first plan in a folder of its own, and the request that made it."""

    def __init__(self, first: ConvertResult, folder: Path) -> None:
        shutil.copytree(first.plan.parent, folder)
        self.source = Path(str(first.manifest.source.path))
        self.plan = folder / first.plan.name
        self.onnx = folder / first.manifest.onnx.path.name

    def again(self, **changes: Any) -> ConvertResult:
        return convert(asked(self.source, self.plan.parent, **changes))


@pytest.fixture
def copy(first: ConvertResult, tmp_path: Path) -> Copy:
    return Copy(first, tmp_path / "plans")


@pytest.fixture
def no_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies in each build, which also shows that a build was begun."""

    def die(*args: object, **options: object) -> None:
        raise BuildError("The worker process was killed by SIGKILL.", hint="Free memory.")

    monkeypatch.setattr(build_stage, "worker", SimpleNamespace(run=die))


def test_three_files_appear_and_no_other(first: ConvertResult) -> None:
    version = _choose("null")[0].short_version
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


def test_zeros_are_not_validated(first: ConvertResult) -> None:
    assert first.manifest.validation.status == "failed"
    assert first.manifest.validation.needed_relative_l2 == 1.0
    assert {check.case for check in first.manifest.validation.checks} == {"batch 1", "batch 3"}


@pytest.mark.usefixtures("no_builder")
def test_a_worker_killed_in_the_build_leaves_nothing(source: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="SIGKILL"):
        convert(asked(source, tmp_path / "plans"))
    assert everything(tmp_path / "plans") == set()


@pytest.mark.usefixtures("no_builder")
def test_a_failed_rebuild_leaves_the_older_plan_as_it_was(copy: Copy) -> None:
    before = contents(copy.plan.parent)
    with pytest.raises(BuildError):
        copy.again(force=True)
    assert contents(copy.plan.parent) == before
    assert everything(copy.plan.parent) == set(before)


class Interrupt(Silence):
    """Ctrl-C at the first event of a worker, or at a stage."""

    def __init__(self, stage: str | None) -> None:
        self._stage = stage
        self.happened = False

    def stage(self, title: str) -> None:
        if self._stage is not None and title.startswith(self._stage):
            self.happened = True
            raise KeyboardInterrupt

    def event(self, event: Progress | Log) -> None:
        if self._stage is None:
            self.happened = True
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", [None, "Exporting", "Validating"])
def test_ctrl_c_leaves_nothing(source: Path, tmp_path: Path, stage: str | None) -> None:
    listener = Interrupt(stage)
    with pytest.raises(KeyboardInterrupt):
        convert(asked(source, tmp_path / "plans"), listener)
    assert listener.happened
    assert everything(tmp_path / "plans") == set()


def test_a_folder_in_the_manifests_way_leaves_nothing(first: ConvertResult, tmp_path: Path) -> None:
    name = manifest_path(first.plan).name
    (tmp_path / "plans" / name).mkdir(parents=True)
    with pytest.raises(UsageError, match="is a folder, and a file is to be written there"):
        convert(asked(str(first.manifest.source.path), tmp_path / "plans"))
    assert everything(tmp_path / "plans") == {name}


@pytest.mark.usefixtures("no_builder")
def test_folders_of_dead_processes_are_swept_and_others_stay(source: Path, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f".trtkit-{dead.pid}-x", f".trtkit-{os.getppid()}-x", ".trtkit-notes-x", "mine"):
        (tmp_path / "plans" / name).mkdir(parents=True)
        (tmp_path / "plans" / name / "half.plan").write_bytes(b"half")
    with pytest.raises(BuildError):
        convert(asked(source, tmp_path / "plans"))
    assert everything(tmp_path / "plans") == {f".trtkit-{os.getppid()}-x", ".trtkit-notes-x", "mine"}


@pytest.mark.usefixtures("no_builder")
def test_equal_inputs_reuse_the_plan_without_a_build(copy: Copy) -> None:
    before = contents(copy.plan.parent)
    result = copy.again()
    assert result.reused
    assert result.manifest == PlanManifest.read(copy.plan)
    assert result.plan == copy.plan
    assert contents(copy.plan.parent) == before


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _other_key(path: Path) -> None:
    write_json(path, {**read_json(path), "key": "0" * 64})


DAMAGE: dict[str, Callable[[Copy], object]] = {
    "plan changed": lambda copy: _flip(copy.plan),
    "plan removed": lambda copy: copy.plan.unlink(),
    "onnx changed": lambda copy: _flip(copy.onnx),
    "onnx removed": lambda copy: copy.onnx.unlink(),
    "manifest of another key": lambda copy: _other_key(manifest_path(copy.plan)),
    "manifest and onnx removed": lambda copy: (manifest_path(copy.plan).unlink(), copy.onnx.unlink()),
}


@pytest.mark.usefixtures("no_builder")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_changed_or_missing_file_means_a_build(copy: Copy, damage: str) -> None:
    DAMAGE[damage](copy)
    with pytest.raises(BuildError, match="SIGKILL"):
        copy.again()


@pytest.mark.usefixtures("no_builder")
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("{")], ids=["removed", "no JSON"])
def test_without_its_manifest_an_onnx_counts_as_foreign(copy: Copy, spoil: Callable[[Path], object]) -> None:
    spoil(manifest_path(copy.plan))
    with pytest.raises(UsageError, match="no manifest beside it says that trtkit wrote it") as caught:
        copy.again()
    assert "--force" in caught.value.hint


@pytest.mark.usefixtures("no_builder")
@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "tf32"},
        {"precision": "fp16"},
        {"batch": "1:2:4"},
        {"shapes": ("x=1x8:2x8:4x8",)},
        {"tolerance": 0.25},
        {"options": {"optimization_level": 1}},
        {"force": True},
    ],
    ids=str,
)
def test_other_inputs_mean_a_build(copy: Copy, changes: dict[str, Any]) -> None:
    with pytest.raises(BuildError, match="SIGKILL"):
        copy.again(**changes)


@pytest.mark.usefixtures("no_builder")
def test_a_changed_source_means_a_build(copy: Copy, tmp_path: Path) -> None:
    copy.source = saved(perceptron(seed=1, hidden=16), tmp_path / "other")
    with pytest.raises(BuildError, match="SIGKILL"):
        copy.again()


def test_another_seed_means_another_plan_of_the_same_name(tmp_path: Path) -> None:
    zero = convert(asked("squeezenet1_1", tmp_path))
    one = convert(asked("squeezenet1_1", tmp_path, seed=1))
    assert not one.reused
    assert one.plan == zero.plan
    assert one.manifest.source.seed == 1
    assert one.manifest.key != zero.manifest.key
    assert one.manifest.onnx.sha256 != zero.manifest.onnx.sha256
    assert convert(asked("squeezenet1_1", tmp_path, seed=1)).reused


def test_force_builds_again_and_removes_the_verdict_on_the_older_plan(copy: Copy) -> None:
    validation_path(copy.plan).write_text("{}")
    before = PlanManifest.read(copy.plan)
    result = copy.again(force=True)
    assert not result.reused
    assert result.manifest.key == before.key
    assert result.manifest.timings_s != before.timings_s
    assert everything(copy.plan.parent) == {copy.plan.name, manifest_path(copy.plan).name, copy.onnx.name}
    assert as_text(PlanManifest.read(copy.plan)) == as_text(result.manifest)


def test_a_file_of_the_users_is_not_overwritten_unless_forced(source: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "plans" / "net.fp32.onnx"
    theirs.parent.mkdir()
    theirs.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"net\.fp32\.onnx exists, and no manifest") as caught:
        convert(asked(source, theirs.parent))
    assert "--force" in caught.value.hint
    assert contents(theirs.parent) == {theirs.name: b"mine"}
    result = convert(asked(source, theirs.parent, force=True))
    assert result.manifest.onnx.sha256 == sha256_file(theirs)


def test_the_source_itself_is_not_overwritten_even_if_forced(tmp_path: Path) -> None:
    source = saved(perceptron(hidden=16), tmp_path / "plans", "net.fp32.onnx")
    before = contents(source.parent)
    with pytest.raises(UsageError, match="would be written over its source"):
        convert(asked(source, source.parent, force=True))
    assert contents(source.parent) == before


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
    result = convert(asked(source, tmp_path / "plans", family="onnxruntime", shapes=shapes))
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
