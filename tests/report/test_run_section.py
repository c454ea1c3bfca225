"""What a page tells of one run: sentences, not values in Python's own form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.report.studies import bench_result, cell_of
from trtkit.report.run_section import section_of

CHECK: dict[str, Any] = {
    "finite": True,
    "not_finite": {},
    "rows": "all",
    "run_matches": True,
    "run_relative_l2": 0.0,
    "run_limit": 0.005,
    "matches": True,
    "relative_l2": 7.72e-7,
    "limit": 0.005,
    "agreement": None,
    "agreement_limit": 0.99,
    "against": "googlenet.onnx in ONNX Runtime (a CPU)",
}


def told(**check: Any) -> str:
    result = bench_result()
    conditions = replace(result.conditions, check={**CHECK, **check})
    facts = section_of(cell_of(replace(result, conditions=conditions))).facts
    (text,) = [text for name, text, _ in facts if name == "spot check"]
    return text


def test_a_check_that_passed() -> None:
    assert told() == (
        "all rows; every value finite; a plain run of the engine agrees (relative L2 error 0, limit 0.005); "
        "googlenet.onnx in ONNX Runtime (a CPU) agrees (relative L2 error 7.7e-07, limit 0.005)"
    )
    assert told(taken_over=True).endswith("that of an earlier measurement of the engine")
    assert told(rows=[0, 1, 8, 9]).startswith("rows 0, 1, 8, 9; ")


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ({"finite": False, "not_finite": {"y": 1192}}, "values that are not finite: 1,192 of y"),
        ({"run_matches": None, "run_problem": "No memory."}, "no plain run (No memory.)"),
        ({"run_matches": False, "run_relative_l2": 0.2}, "engine DIFFERS (relative L2 error 2.0e-01, limit 0.005)"),
        (
            {"matches": False, "relative_l2": None, "agreement": 0.4},
            "DIFFERS (40 % of the integers equal, at least 99 %)",
        ),
        ({"matches": None, "against": None}, "not compared with a reference: none was given"),
        ({"matches": None, "against": None, "problem": "It died."}, "not compared with a reference: It died."),
    ],
)
def test_what_did_not_pass_or_was_not_done(check: dict[str, Any], words: str) -> None:
    assert words in told(**check)


def test_settings_are_written_as_they_are_given() -> None:
    result = bench_result()
    chosen = replace(result.settings, shapes={"data": (8, 3, 224, 224), "k": ()}, affinity=(0, 1), spin=False)
    facts = section_of(cell_of(replace(result, settings=chosen))).facts
    (text,) = [text for name, text, _ in facts if name == "settings"]
    assert "shapes data 8x3x224x224 k scalar" in text and "affinity 0 1" in text and "spin no" in text
    assert not set("{}()[]'") & set(text)
