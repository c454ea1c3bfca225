"""Calibration tables that lie in the output folder already: what is said, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from calibration.source import DataSpec
from tests.graph.qdq_models import inception
from tests.pipeline.small_calibration import Notes, int8, request, write_net
from trtkit.artifacts.calibration_table import CalibrationTable
from trtkit.errors import UsageError
from trtkit.pipeline.calibration import calibrate
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.quantization import Quantization
from trtkit.pipeline.table_kept import older_table

MADE_UP = DataSpec(synthetic=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_net(tmp_path_factory.mktemp("kept"))
    calibrate(request(folder, "out", method="minmax"))
    return folder


def _told(notes: Notes) -> list[str]:
    return [text for text in notes.texts if text.startswith("replaced") and "calibration.json" in text]


def test_the_same_calibration_again_replaces_nothing_and_another_one_says_so(folder: Path) -> None:
    notes = Notes()
    calibrate(request(folder, "out", method="minmax"), notes)
    assert not _told(notes)
    calibrate(replace(request(folder, "out", method="minmax"), precision="fp8"), notes)
    (text,) = _told(notes)
    assert text.endswith(f"an int8 table by minmax from 32 samples of {folder / 'data.npy'}")


@pytest.mark.slow
def test_a_synthetic_table_replaces_a_real_one_only_if_forced(folder: Path) -> None:
    wanted = request(folder, "guarded", method="minmax")
    table = calibrate(wanted).table_path
    before = table.read_bytes()
    made_up = request(folder, "guarded", method="minmax", data=MADE_UP)
    plan = int8(folder, "guarded", Quantization(data=MADE_UP, method="minmax"))
    for refused in (lambda: calibrate(made_up), lambda: convert(plan)):
        with pytest.raises(UsageError, match=r"made from real data .* synthetic samples would replace it") as caught:
            refused()
        assert "--force" in caught.value.hint
    assert table.read_bytes() == before
    notes = Notes()
    convert(replace(plan, force=True), notes)
    assert len(_told(notes)) == 1 and CalibrationTable.read(table).synthetic
    calibrate(wanted, notes)  # real data replace made-up ones unasked
    assert "SYNTHETIC samples of" in _told(notes)[1]
    calibrate(replace(made_up, force=True))
    assert CalibrationTable.read(table).synthetic


def test_a_table_that_cannot_be_read_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{")
    assert older_table(tmp_path / "t.json", MADE_UP, force=False) is None
    assert older_table(tmp_path / "none.json", MADE_UP, force=False) is None


def test_all_paths_of_the_json_document_start_from_here(folder: Path) -> None:
    found = json.loads(json.dumps(calibrate(request(folder, "paths", method="minmax")).to_json()))
    for path in (found["table"], found["onnx"]["path"], found["report"]["path"]):
        assert Path(path).parent == folder / "paths" and Path(path).is_file()


def test_scores_that_never_change_are_warned_about(folder: Path) -> None:
    model = inception()
    for constant in model.graph.initializer:
        if constant.name == "fc_w":
            constant.CopyFrom(onnx.numpy_helper.from_array(np.zeros(tuple(constant.dims), np.float32), "fc_w"))
    onnx.save(model, folder / "constant.onnx")
    wanted = request(folder, "constant", method="minmax")
    found = calibrate(replace(wanted, source=replace(wanted.source, text=str(folder / "constant.onnx"))))
    assert any("the same scores for all of the 8 held-out samples" in text for text in found.report.warnings)
