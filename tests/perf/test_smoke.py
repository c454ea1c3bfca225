"""The benchmarks' own parts: how rows are judged and printed, how commands are watched, and the tables from numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.perf import calibrate, convert
from tests.perf.measure import MIB, Row, alternate, markdown, python, run, trtkit, write


@pytest.mark.parametrize(
    ("row", "judged", "met"),
    [
        (Row("a", 2.0, "s", 2.0), 2.0, True),
        (Row("a", 2.1, "s", 2.0), 2.1, False),
        (Row("a", 3.0, "s", 1.5, 2.0, how="ratio"), 1.5, True),
        (Row("a", 3.1, "s", 1.5, 2.0, how="ratio"), 1.55, False),
        (Row("a", 5.0, "s", 3.0, 1.5, how="difference"), 3.5, False),
        (Row("a", 27.0, "dB", 27.0, relation=">"), 27.0, False),
        (Row("a", 0.85, reach=0.85, relation="≥"), 0.85, True),
        (Row("a", 36, reach=36, relation="<"), 36, False),
        (Row("a", 4.0, "s", None, 2.0, how="ratio"), 2.0, None),
    ],
)
def test_a_row_is_held_to_its_limit(row: Row, judged: float, met: bool | None) -> None:
    assert row.judged == pytest.approx(judged)
    assert row.met is met
    assert row.to_json()["met"] is met


def test_a_table_shows_the_ratio_and_what_was_missed() -> None:
    row = Row("time", 3.1, "s", 1.5, 2.0, "(plain)", how="ratio", note="why")
    assert markdown([row]).splitlines()[2:] == [
        "| time | 3.100 s | 2.000 s (plain) | 1.550 × | ≤ 1.500 × | 1.03 | **no** | why |"
    ]
    assert markdown([Row("layers", 582, reach=582)]).splitlines()[2] == (
        "| layers | 582 | – | 582 | ≤ 582 | 1.00 | yes |  |"
    )


def test_measurements_alternate() -> None:
    order: list[str] = []

    def take(name: str) -> float:
        order.append(name)
        return float(len(order))

    assert alternate(2, lambda: take("a"), lambda: take("b")) == [[1.0, 3.0], [2.0, 4.0]]
    assert order == ["a", "b", "a", "b"]


@pytest.mark.skipif(sys.platform != "linux", reason="high-water marks are read from /proc")
def test_a_watched_command_shows_its_memory_and_that_of_its_children() -> None:
    child = "import time; x = bytearray(120 << 20); time.sleep(0.6)"
    parent = f"import subprocess, sys; y = bytearray(60 << 20); subprocess.run([sys.executable, '-c', {child!r}])"
    found = run(python("-c", parent), watch=True)
    assert 120 * MIB < found.largest_bytes < 170 * MIB
    assert 180 * MIB < found.summed_bytes < 260 * MIB
    assert found.seconds > 0.6


def test_a_command_that_fails_says_so() -> None:
    with pytest.raises(RuntimeError, match="no such model"):
        run(python("-c", "raise SystemExit('no such model')"))


def test_the_toolkit_of_this_checkout_is_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "googlenet" in run(trtkit("models")).stdout


def test_the_convert_table_judges_every_number_of_the_issue(tmp_path: Path) -> None:
    found = {
        "model": "googlenet",
        "large": "alexnet",
        "help_s": [0.30, 0.36, 0.31],
        "idle_s": [0.01, 0.01, 0.02],
        "import_s": [0.2, 0.2, 0.01],
        "convert_s": [5.0, 4.0, 9.0],
        "polygraphy_s": [1.0, 1.5, 2.5],
        "convert_largest_bytes": 300 * MIB,
        "raw_largest_bytes": 199 * MIB,
        "reuse_s": [1.0],
        "large_s": [14.0],
        "large_summed_bytes": 3 * 1024 * MIB,
        "large_largest_bytes": 900 * MIB,
        "large_raw_largest_bytes": 890 * MIB,
    }
    rows = convert.rows_of(found)
    assert [row.met for row in rows] == [True, False, True, False, False, None, True, True]
    assert [round(row.judged, 3) for row in rows[3:6]] == [3.5, 1.508, 0.2]
    text = write(tmp_path, "convert", "Title", rows, {"found": found})
    kept = json.loads((tmp_path / "convert.json").read_text(encoding="utf-8"))
    assert (tmp_path / "convert.md").read_text(encoding="utf-8").startswith("# Title\n")
    assert text.count("**no**") == 3
    assert kept["found"] == found
    assert kept["environment"]["cores"] >= 1
    assert [row["met"] for row in kept["rows"]] == [row.met for row in rows]


def _calibration() -> dict:
    scores = {
        "samples": 1024,
        "sqnr_db": 27.2,
        "sqnr_low_db": 27.0,
        "sqnr_high_db": 27.4,
        "top1_agreement": 0.84,
        "top1_low": 0.82,
        "top1_high": 0.86,
    }
    return {
        "model": "googlenet",
        "accurate_model": "squeezenet1_1",
        "images": 256,
        "time": {
            "collect_s": [7.0, 8.0, 7.5],
            "plain_s": [6.0, 6.0, 5.0],
            "command_s": [9.0, 9.0, 9.0],
            "parts_s": [{"inference": 5.0, "statistics": 1.0}] * 3,
            "int8_bytes": 26,
            "fp32_bytes": 100,
        },
        "memory": {256: 400 * MIB, 1024: 421 * MIB, 4096: 419 * MIB},
        "accuracy": {
            "unseen": {"mse": scores, "chosen": scores},
            "method": "mse",
            "because": "the best",
            "convolutions": 26,
            "float_convolutions": ["a"],
            "samples": 205,
        },
        "engine": {
            "parsed": 582,
            "compute": 111,
            "kinds": {"kgen": 35},
            "float": [],
            "sentence": "all",
            "rewrites": ["lrn_band"],
        },
    }


def test_the_calibrate_table_judges_every_number_of_the_issue() -> None:
    found = _calibration()
    rows = calibrate.rows_of(found)
    expected = {
        "time of calibration": True,  # 7.5 / 6.0
        "the whole command": None,
        "256 images: peak of the largest process": True,
        "1024 images: peak of the largest process": False,
        "4096 images: peak of the largest process": True,
        "SQNR": True,
        "top-1 agreement": False,
        "left in float": False,
        "INT8 ONNX": True,
        "layers parsed": True,
        "compute layers": False,
        "kgen": True,
        "not INT8": True,
    }
    for words, met in expected.items():
        (row,) = [row for row in rows if words in row.name]
        assert row.met is met, row
    assert len(rows) == len(expected)
    assert rows[0].judged == pytest.approx(1.25)


def test_what_was_not_measured_is_not_in_the_table() -> None:
    found = _calibration()
    del found["accuracy"], found["engine"]
    assert all("SQNR" not in row.name and "TensorRT" not in row.name for row in calibrate.rows_of(found))


def test_larger_folders_hold_the_same_photographs_under_other_names(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in "abc":
        (photos / f"{name}.jpg").write_text(name)
    files = sorted(calibrate.enlarged(photos, 7, tmp_path / "seven").iterdir())
    assert [path.read_text() for path in files] == list("abcabca")


def test_half_of_the_accuracy_arguments_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        calibrate.main(["--out", str(tmp_path), "--photos", str(tmp_path), "--weights", "w.safetensors"])
    assert "belong together" in capsys.readouterr().err
