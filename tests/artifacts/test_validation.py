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
            "failed on NVIDIA H200 against ONNX Runtime FP32 (a CPU) (relative L2 error no tolerance, tolerance 0.005)",
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
    ],
)
def test_what_was_executed_agreed_or_not(changes: dict[str, Any], passed: bool) -> None:
    assert replace(PASSED, **changes).onnx_passed is passed
