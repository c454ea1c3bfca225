"""A plan that is there, validated later: what must lie beside it, what it is compared with, what is written down."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import onnx
import pytest

from tests.graph.models import perceptron
from trtkit.artifacts.files import read_json, sha256_file, write_json
from trtkit.artifacts.plan import PlanManifest, manifest_path, validation_path
from trtkit.artifacts.validation import ValidationReport
from trtkit.errors import PlanError
from trtkit.pipeline import validation
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.listener import Silence
from trtkit.pipeline.request import ConvertRequest
from trtkit.pipeline.validation import validate_plan
from trtkit.stages.export import SourceRequest
from trtkit.stages.inspect import inspect

_probe = functools.cache(validation.probe)  # the look at a family gives the same each time: one worker is enough


@pytest.fixture(autouse=True)
def _one_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "probe", _probe)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An fp16 plan of ONNX Runtime's, whose ONNX is not its source; tests copy its folder before they touch it."""
    folder = tmp_path_factory.mktemp("converted")
    onnx.save(perceptron(hidden=16), folder / "net.onnx")
    request = ConvertRequest(
        SourceRequest(str(folder / "net.onnx")), precision="fp16", family="onnxruntime", output=folder / "plans"
    )
    return convert(request).plan


@pytest.fixture
def plan(converted: Path, tmp_path: Path) -> Path:
    """The plan in another folder than it was built in."""
    return shutil.copytree(converted.parent, tmp_path / "moved") / converted.name


@pytest.fixture
def lonely(plan: Path, tmp_path: Path) -> Path:
    """The plan on a machine where its source is not."""
    path = manifest_path(plan)
    manifest = read_json(path)
    manifest["source"]["path"] = str(tmp_path / "elsewhere" / "net.onnx")
    write_json(path, manifest)
    return plan


def source_of(plan: Path) -> Path:
    return Path(str(PlanManifest.read(plan).source.path))


def test_a_moved_folder_validates(plan: Path) -> None:
    report = validate_plan(plan)
    assert (report.status, report.subject) == ("passed", "plan")
    assert report.candidate_sha256 == sha256_file(plan)
    assert report.reference_sha256 == sha256_file(source_of(plan))
    assert 0 < (report.needed_relative_l2 or 0) < 1e-2
    assert {check.case for check in report.checks} >= {"batch 1"}


def test_the_record_names_the_plan_and_inspect_shows_it(plan: Path) -> None:
    assert inspect(plan).later is None
    report = validate_plan(plan, seed=7)
    record = read_json(validation_path(plan))
    assert record["plan"] == plan.name
    assert record["plan_sha256"] == sha256_file(plan)
    assert record["report"]["seed"] == 7
    assert ValidationReport.from_json(record["report"]) == report
    assert record["capabilities"]["family"] == "onnxruntime"
    assert inspect(plan).later == report
    shown = inspect(plan).to_json()["later_validation"]
    assert ValidationReport.from_json(shown) == report
    # A record of another plan is not shown.
    write_json(validation_path(plan), {**record, "plan_sha256": "0" * 64})
    assert inspect(plan).later is None
    validation_path(plan).write_text("{")
    assert inspect(plan).later is None


def test_a_seed_of_ones_own_draws_other_inputs(plan: Path) -> None:
    one, two = validate_plan(plan, seed=1), validate_plan(plan, seed=2)
    assert one.needed_relative_l2 != two.needed_relative_l2
    assert (one.status, two.status) == ("passed", "passed")


def test_a_tolerance_too_small_fails_and_is_written_down(plan: Path) -> None:
    report = validate_plan(plan, tolerance=1e-9)
    assert report.status == "failed"
    assert report.tolerance_relative_l2 == 1e-9
    assert read_json(validation_path(plan))["report"]["status"] == "failed"


def test_the_right_reference_is_taken(lonely: Path, converted: Path, tmp_path: Path) -> None:
    shutil.copy(source_of(converted), tmp_path / "ref.onnx")
    report = validate_plan(lonely, reference=tmp_path / "ref.onnx")
    assert report.status == "passed"


def test_a_wrong_reference_is_refused(plan: Path, tmp_path: Path) -> None:
    onnx.save(perceptron(seed=1, hidden=16), tmp_path / "wrong.onnx")
    with pytest.raises(PlanError, match=r"wrong\.onnx is not the model that .* was made from: its SHA-256 differs"):
        validate_plan(plan, reference=tmp_path / "wrong.onnx")
    assert not validation_path(plan).exists()


def test_a_missing_source_asks_for_a_reference(lonely: Path) -> None:
    with pytest.raises(PlanError, match=r"source model net\.onnx is not at .*elsewhere") as caught:
        validate_plan(lonely)
    assert "--reference" in caught.value.hint


def test_a_changed_source_is_not_taken_for_the_reference(lonely: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    onnx.save(perceptron(seed=1, hidden=16), tmp_path / "elsewhere" / "net.onnx")
    with pytest.raises(PlanError, match="its SHA-256 differs"):
        validate_plan(lonely)


def test_a_changed_onnx_beside_the_plan_is_refused(plan: Path) -> None:
    onnx.save(perceptron(seed=1, hidden=16), PlanManifest.read(plan).onnx.path)
    with pytest.raises(PlanError, match=r"net\.fp16\.onnx is not the ONNX that .* was built from") as caught:
        validate_plan(plan)
    assert "--force" in caught.value.hint
    assert not validation_path(plan).exists()


def test_a_missing_onnx_is_named(plan: Path) -> None:
    PlanManifest.read(plan).onnx.path.unlink()
    with pytest.raises(PlanError, match=r"net\.fp16\.onnx, from which .* was built, is missing beside it"):
        validate_plan(plan)


def test_a_missing_manifest_is_named(plan: Path) -> None:
    manifest_path(plan).unlink()
    with pytest.raises(PlanError, match=r"has no manifest: .*\.onnx\.json is missing beside it"):
        validate_plan(plan)


def test_a_changed_plan_is_refused(plan: Path) -> None:
    plan.write_bytes(plan.read_bytes() + b"\x00")
    with pytest.raises(PlanError, match=r"is not the plan that .* describes"):
        validate_plan(plan)


class Notes(Silence):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_another_version_of_the_family_is_told(plan: Path) -> None:
    path = manifest_path(plan)
    write_json(path, {**read_json(path), "version": "0.9"})
    listener = Notes()
    assert validate_plan(plan, listener).status == "passed"
    assert "the plan was built by onnxruntime 0.9" in listener.notes[0]
