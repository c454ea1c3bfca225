"""The report of a validation: its verdict in words, and its way through JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trtkit import metrics
from trtkit.artifacts.validation import OutputCheck, ValidationReport

DIFFERENCE = metrics.compare(np.array([[1.0, 2.0]]), np.array([[1.0, 2.002]]), rtol=1e-2, atol=1e-5)
EXACT = metrics.compare(np.ones((1, 2)), np.ones((1, 2)), rtol=1e-2, atol=1e-5)
BROKEN = metrics.compare(np.ones((1, 2)), np.array([[1.0, np.nan]]), rtol=1e-2, atol=1e-5)
CHECKS = (
    OutputCheck("batch 1", "y", "output", False, DIFFERENCE),
    OutputCheck("batch 1", "y", "before_softmax", True, EXACT),
    OutputCheck("batch 3", "y", "output", True, BROKEN, "qdq"),
)
CLASSES = (OutputCheck("batch 1", "y", "output", True, EXACT, judged_by="agreement"),)
PASSED = ValidationReport(
    status="passed",
    subject="plan",
    why_not_executed=None,
    where="NVIDIA H200",
    reference="ONNX Runtime FP32 (a CPU)",
    reference_sha256="a" * 64,
    candidate_sha256="b" * 64,
    tolerance_relative_l2=5e-3,
    needed_relative_l2=4.5e-4,
    seed=3,
    input_std=57.5,
    precision_asked="fp32",
    precision_observed="tf32",
    observed_because="the error has TF32's size",
    checks=CHECKS,
    seconds=1.25,
)
ELSEWHERE: dict[str, Any] = {
    "status": "not_executed",
    "subject": "onnx",
    "why_not_executed": "no CUDA device",
    "where": "a CPU",
}
NUMBERS = "relative L2 error 0.00045, tolerance 0.005"


def test_json_has_no_nan_and_comes_back_the_same() -> None:
    text = json.dumps(PASSED.to_json(), allow_nan=False)
    assert ValidationReport.from_json(json.loads(text)) == PASSED


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, f"passed on NVIDIA H200 against ONNX Runtime FP32 (a CPU) ({NUMBERS})"),
        (
            {"status": "failed", "needed_relative_l2": 0.25},
            "failed on NVIDIA H200 against ONNX Runtime FP32 (a CPU) (relative L2 error 0.25, tolerance 0.005)",
        ),
        (
            {"status": "failed", "needed_relative_l2": None},
            "failed on NVIDIA H200 against ONNX Runtime FP32 (a CPU) (relative L2 error not defined, tolerance 0.005)",
        ),
        ({"status": "failed", "why_not_executed": "It fell over."}, "failed: It fell over."),
        (
            ELSEWHERE,
            "plan built, not executed: no CUDA device; the ONNX that it was built from agrees with the source in "
            f"ONNX Runtime ({NUMBERS})",
        ),
        (
            {**ELSEWHERE, "needed_relative_l2": 0.25},
            "plan built, not executed: no CUDA device; the ONNX that it was built from DISAGREES with the source in "
            "ONNX Runtime (relative L2 error 0.25, tolerance 0.005)",
        ),
        (
            {**ELSEWHERE, "subject": "source", "needed_relative_l2": None, "checks": ()},
            "plan built, not executed: no CUDA device; its ONNX is the source itself",
        ),
        ({**ELSEWHERE, "needed_relative_l2": None, "checks": ()}, "plan built, not executed: no CUDA device"),
        (
            {**ELSEWHERE, "tolerance_relative_l2": None, "needed_relative_l2": 0.3},
            "plan built, not executed: no CUDA device; its Q/DQ ONNX runs in ONNX Runtime "
            "(quantization error on random inputs 0.3, relative L2; on data see the calibration report)",
        ),
        (
            {"status": "not_judged", "not_finite": {}, "checks": ()},
            "runs on NVIDIA H200; the artifact is the source itself, nothing to compare; every output is finite",
        ),
        (
            {"found_agreement": 0.9956, "tolerance_agreement": 0.99},
            f"passed on NVIDIA H200 against ONNX Runtime FP32 (a CPU) ({NUMBERS}; 99.56% of the integer outputs equal, "
            "at least 99.00% wanted)",
        ),
        (
            {"checks": CLASSES, "needed_relative_l2": None, "found_agreement": 1.0},
            "passed on NVIDIA H200 against ONNX Runtime FP32 (a CPU) (100.00% of the integer outputs equal)",
        ),
    ],
)
def test_the_verdict_in_words(changes: dict[str, Any], sentence: str) -> None:
    assert replace(PASSED, **changes).sentence == sentence


@pytest.mark.parametrize(
    ("changes", "passed"),
    [
        ({}, True),
        ({"needed_relative_l2": 5e-3}, True),
        ({"needed_relative_l2": 5.1e-3}, False),
        ({"needed_relative_l2": None}, False),
        ({"tolerance_relative_l2": None, "needed_relative_l2": 7.0}, True),
        ({"tolerance_relative_l2": None, "needed_relative_l2": None}, False),
        ({"subject": "source", "needed_relative_l2": None, "checks": ()}, True),
        ({"found_agreement": 0.98, "tolerance_agreement": 0.99}, False),
        ({"found_agreement": 0.99, "tolerance_agreement": 0.99}, True),
        ({"found_agreement": 0.5, "tolerance_agreement": None}, True),
        ({"checks": CLASSES, "needed_relative_l2": None, "found_agreement": 1.0}, True),
        ({"needed_relative_l2": None, "found_agreement": 1.0}, False),
    ],
)
def test_what_was_executed_agreed_or_not(changes: dict[str, Any], passed: bool) -> None:
    assert replace(PASSED, **changes).onnx_passed is passed


@pytest.mark.parametrize(
    ("changes", "required", "because"),
    [
        ({}, True, None),
        ({"status": "failed"}, False, "the plan disagrees with its reference"),
        ({"status": "failed", "checks": ()}, False, "the plan could not be validated"),
        (ELSEWHERE, False, None),
        (ELSEWHERE, True, "--require-validation asks for the plan's execution, and it was not executed"),
        ({**ELSEWHERE, "needed_relative_l2": 1.0}, True, "the ONNX that the plan was built from disagrees"),
        ({**ELSEWHERE, "needed_relative_l2": None, "checks": ()}, False, "could not be compared with the source"),
        ({"status": "not_judged", "not_finite": {}, "checks": ()}, True, None),
        ({"status": "not_judged", "not_finite": {"y": 3}, "checks": ()}, False, None),
        ({"status": "not_judged", "not_finite": {"y": 3}, "checks": ()}, True, "asks for finite outputs"),
    ],
)
def test_why_a_command_would_end_with_9(changes: dict[str, Any], required: bool, because: str | None) -> None:
    found = replace(PASSED, **changes).objection(execution_required=required)
    assert (found is None) == (because is None)
    assert because is None or because in str(found)


def test_a_report_of_before_integers_were_judged_reads_on() -> None:
    value = PASSED.to_json()
    for name in ("tolerance_agreement", "found_agreement", "not_finite"):
        del value[name]
    for check in value["checks"]:
        del check["judged_by"], check["difference"]["equal_fraction"]
    assert ValidationReport.from_json(value).sentence == PASSED.sentence
