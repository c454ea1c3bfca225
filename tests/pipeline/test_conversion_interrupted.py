"""Convert that is interrupted, killed or stands in its own way: nothing half-made stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.conversions import Copy, asked, contents, everything
from trtkit.artifacts.plan import manifest_path
from trtkit.errors import BuildError, UsageError
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.listener import Silence
from trtkit.pipeline.request import ConvertResult
from trtkit.worker import Log, Progress

pytestmark = pytest.mark.usefixtures("one_probe")


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
