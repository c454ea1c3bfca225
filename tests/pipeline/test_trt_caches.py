"""TensorRT's calibration caches through the whole pipeline: in, out, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.trt_cache import read_cache
from tests.pipeline.small_calibration import Notes, request, write_net
from trtkit.errors import CalibrationError, UsageError
from trtkit.pipeline.calibration import CalibrationResult, calibrate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_net(tmp_path_factory.mktemp("calibration"))


@pytest.fixture(scope="module")
def done(folder: Path) -> CalibrationResult:
    return calibrate(request(folder, "done", method="minmax,percentile:99,entropy,mse"))


def test_a_tensorrt_cache_goes_out_and_comes_back(folder: Path, done: CalibrationResult) -> None:
    cache = folder / "net.cache"
    calibrate(replace(request(folder, "out", method=done.table.method), to_trt_cache=cache))
    cache.write_text(cache.read_text() + "(Unnamed Layer* 3) [Convolution]_output: 3c010a14\nstranger: 3c010a14\n")
    assert set(read_cache(cache).scales) > set(done.table.tensors)
    notes = Notes()
    back = calibrate(replace(request(folder, "back", data=None), from_trt_cache=cache), notes)
    assert back.cache is not None
    assert back.cache.unmatched == ("stranger",)
    assert len(back.cache.fused) == 1
    assert any("1 are fused tensors" in text for text in notes.texts)
    written = json.loads(back.report_path.read_text())["cache"]
    assert written["matched"] == list(done.table.tensors)
    assert (written["unmatched"], len(written["fused"]), written["missing"]) == (["stranger"], 1, [])
    assert [found.accuracy for found in back.report.methods] == [None]
    for name, amax in done.table.amax.items():
        assert back.table.amax[name] == pytest.approx(amax, rel=1e-6)


def test_a_cache_that_lacks_tensors_is_refused_by_name(folder: Path) -> None:
    cache = folder / "short.cache"
    cache.write_text("TRT-8601-EntropyCalibration2\nx: 3c010a14\n")
    with pytest.raises(CalibrationError, match=r"no scale for \d+ of \d+ tensors; the first: pool1"):
        calibrate(replace(request(folder, "none", data=None), from_trt_cache=cache))


def test_data_beside_a_cache_tell_how_good_it_is(folder: Path, done: CalibrationResult) -> None:
    cache = folder / "scored.cache"
    made = calibrate(replace(request(folder, "to_cache", method="minmax"), to_trt_cache=cache))
    assert made.trt_cache == (cache, "TRT-8601-MinMaxCalibration")
    assert cache.read_text().startswith("TRT-8601-MinMaxCalibration\n")
    back = calibrate(replace(request(folder, "scored"), from_trt_cache=cache))
    (found,) = back.report.methods
    assert (found.method, back.report.samples, back.report.held_out) == ("trt-cache", 0, 40)
    assert found.accuracy is not None and found.accuracy["samples"] == 40
    wanted = next(result for result in done.report.methods if result.method == "minmax")
    # The same thresholds but for their rounding, on more samples: near, and not equal.
    assert found.accuracy["sqnr_db"] == pytest.approx(wanted.sqnr_db, abs=3)
    again = replace(request(folder, "again"), from_trt_cache=cache, to_trt_cache=folder / "again.cache")
    assert calibrate(again).trt_cache == (folder / "again.cache", "TRT-8601-MinMaxCalibration")
    named = replace(again, trt_cache_header="TRT-100300-EntropyCalibration2")
    assert calibrate(named).trt_cache == (folder / "again.cache", "TRT-100300-EntropyCalibration2")


def test_caches_that_cannot_be_written_are_refused_before_anything_is_computed(folder: Path) -> None:
    wanted = replace(request(folder, "none"), to_trt_cache=folder / "none.cache")
    for wrong, named in (
        (replace(wanted, precision="fp8"), "hold int8 scales"),
        (replace(wanted, trt_cache_header="8601"), "'8601' is no header"),
        (replace(wanted, to_trt_cache=None, trt_cache_header="TRT-8601-MinMaxCalibration"), "none is to be written"),
    ):
        with pytest.raises(UsageError, match=named):
            calibrate(wrong)
    assert not (folder / "none").exists()
