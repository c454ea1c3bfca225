"""Convert into a folder where something lies: what is reused, built again, replaced or left alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.graph.models import perceptron
from tests.graph.rewrites.oracle import net, node
from tests.pipeline.conversions import Copy, as_text, asked, contents, everything, saved
from trtkit.artifacts.files import read_json, sha256_file, write_json
from trtkit.artifacts.plan import PlanManifest, manifest_path, validation_path
from trtkit.errors import BuildError, UsageError
from trtkit.graph import io
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.listener import Silence
from trtkit.pipeline.validation import validate_plan

pytestmark = pytest.mark.usefixtures("one_probe")


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
@pytest.mark.parametrize(
    ("spoil", "state"),
    [(Path.unlink, "is missing"), (lambda path: path.write_text("{"), "cannot be read")],
    ids=["removed", "no JSON"],
)
def test_a_plan_that_lost_its_manifest_is_said_to(copy: Copy, spoil: Callable[[Path], object], state: str) -> None:
    spoil(manifest_path(copy.plan))
    with pytest.raises(UsageError) as caught:
        copy.again()
    name = copy.plan.name
    assert f"{name} and net.fp32.onnx are in" in caught.value.message
    assert f"their manifest {name}.json, which says what they were made from, {state}." in caught.value.message
    assert "Put the manifest back" in caught.value.hint and "--force" in caught.value.hint


@pytest.mark.usefixtures("no_builder")
def test_an_onnx_that_is_left_alone_counts_as_foreign(copy: Copy) -> None:
    copy.plan.unlink()
    manifest_path(copy.plan).unlink()
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
        {"agreement": 0.5},
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


class Notes(Silence):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_fp16_inputs_and_outputs_replace_the_plan_of_that_name_and_say_so(source: Path, tmp_path: Path) -> None:
    """The name tells model, precision and family alone."""
    plain = convert(asked(source, tmp_path / "plans", precision="fp16"))
    listener = Notes()
    both = convert(asked(source, tmp_path / "plans", precision="fp16", fp16_io=True), listener)
    assert both.plan == plain.plan
    assert not both.reused
    assert any(note.startswith(f"replaced {plain.plan}, which was damaged, or made") for note in listener.notes)
    assert {spec.dtype for spec in both.manifest.onnx.inputs} == {"float16"}
    assert PlanManifest.read(both.plan).key == both.manifest.key != plain.manifest.key
    again = Notes()
    assert convert(asked(source, tmp_path / "plans", precision="fp16", fp16_io=True), again).reused
    assert not again.notes


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
    source.write_bytes(source.read_bytes() + onnx.ModelProto(producer_name="again").SerializeToString())
    before = contents(source.parent)
    with pytest.raises(UsageError, match="would be written over its source"):
        convert(asked(source, source.parent, force=True))
    assert contents(source.parent) == before


def test_a_source_in_its_own_folder_is_taken_where_its_bytes_stay(source: Path, tmp_path: Path) -> None:
    made = convert(asked(source, tmp_path / "first"))
    alone = tmp_path / "alone"
    alone.mkdir()
    path = alone / made.manifest.onnx.path.name
    shutil.copyfile(made.manifest.onnx.path, path)
    before = path.read_bytes()
    result = convert(asked(path, alone))
    assert result.manifest.onnx.path == path and path.read_bytes() == before
    assert result.plan.exists() and convert(asked(path, alone)).reused


def test_the_onnx_of_another_plan_is_left_to_it(tmp_path: Path) -> None:
    source = saved(net([node("LRN", ["x"], "y", "norm", size=5)], {"x": ("N", 8, 4, 4)}, {}), tmp_path / "source")
    folder, listener = tmp_path / "out", Notes()
    first = convert(asked(source, folder, family="onnxruntime", rewrite="none"), listener)
    assert first.manifest.onnx.path.name == f"{source.stem}.fp32.onnx" and listener.notes == []
    second = convert(asked(source, folder, family="null", rewrite="lrn_band"), listener)
    assert second.manifest.onnx.path.name == f"{second.plan.stem}.built-from.onnx"
    assert any(first.plan.name in note and second.manifest.onnx.path.name in note for note in listener.notes)
    for done in (first, second):
        assert io.sha256_of(done.manifest.onnx.path) == done.manifest.onnx.sha256
    assert validate_plan(first.plan).status == "not_judged"
    assert convert(asked(source, folder, family="null", rewrite="lrn_band")).reused
    first.plan.unlink()
    third = convert(asked(source, folder, family="null", rewrite="lrn_band", force=True))
    assert third.manifest.onnx.path.name == first.manifest.onnx.path.name, "nobody else has it any more"
    assert not second.manifest.onnx.path.exists() and everything(folder) >= {third.plan.name}
