"""The rules of validation, with both sides' outputs written by hand instead of executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stages.scripted_validation import (
    CPU,
    GPU,
    NOWHERE,
    Stage,
    batches,
    off,
    one,
    request,
    truth,
)
from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.artifacts.samples import SamplePlan
from trtkit.backends import executing
from trtkit.backends.base import Capabilities
from trtkit.backends.executing import Executed
from trtkit.errors import RunError
from trtkit.judging import AGAINST_QDQ, TOLERANCES
from trtkit.stages import validate as rules


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_the_needed_tolerance_is_the_error_and_decides(stage: Stage, precision: str) -> None:
    onnx_family = Capabilities("onnxruntime", "1.23", device="CPU")
    limit = TOLERANCES[precision]
    assert limit is not None
    for error, status in ((0.9 * limit, "passed"), (1.1 * limit, "failed")):
        report = stage.play(request(precision=precision), onnx_family, plan=off(error), reference=truth)
        assert report.status == status
        assert report.needed_relative_l2 == pytest.approx(error)
        assert report.tolerance_relative_l2 == limit


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_a_quantization_error_fails_nobody_without_a_tolerance(stage: Stage, precision: str) -> None:
    onnx_family = Capabilities("onnxruntime", "1.23", device="CPU")
    report = stage.play(request(precision=precision), onnx_family, plan=off(2.5), reference=truth)
    assert (report.status, report.tolerance_relative_l2) == ("not_judged", None)
    assert report.objection(execution_required=True) is None
    assert "quantization error on random inputs 2.5" in report.sentence
    assert report.needed_relative_l2 == pytest.approx(2.5)
    asked = request(precision=precision, tolerance=2.4)
    assert stage.play(asked, onnx_family, plan=off(2.5), reference=truth).status == "failed"
    assert stage.play(request(precision=precision), onnx_family, plan=one(np.nan), reference=truth).status == "failed"


def test_the_worst_case_counts_and_a_tolerance_of_ones_own_is_taken(stage: Stage) -> None:
    def worse(shape: tuple[int, ...]) -> np.ndarray:
        return truth(shape) * (1.25 if shape[0] == 3 else 1.01)

    report = stage.play(request(tolerance=0.3), CPU, plan=worse, reference=truth)
    assert report.needed_relative_l2 == pytest.approx(0.25)
    assert report.status == "passed"
    assert stage.play(request(tolerance=0.2), CPU, plan=worse, reference=truth).status == "failed"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_tolerance_passes_nan_or_infinity_of_the_candidate(stage: Stage, value: float) -> None:
    report = stage.play(request(tolerance=1e9), CPU, plan=one(value), reference=truth)
    assert report.needed_relative_l2 is None
    assert report.status == "failed"
    assert "not defined" in report.sentence


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_the_reference_says_too_is_no_fault(stage: Stage, value: float) -> None:
    report = stage.play(request(), CPU, plan=one(value), reference=one(value))
    assert report.needed_relative_l2 == 0
    assert report.status == "passed"


def test_infinities_of_different_sign_fail(stage: Stage) -> None:
    report = stage.play(request(), CPU, plan=one(-np.inf), reference=one(np.inf))
    assert report.needed_relative_l2 is None


@pytest.mark.parametrize(
    ("error", "seen", "said"),
    [
        (0.0, "fp32", "rounding in FP32 alone"),
        (1e-6, "fp32", "rounding in FP32 alone"),
        (2.9e-5, "fp32", "rounding in FP32 alone"),
        (6e-5, None, "too large for FP32"),
        (2e-4, "tf32", "10-bit mantissa"),
        (1.9e-2, "tf32", "10-bit mantissa"),
        (0.5, None, "too large for FP32"),
    ],
)
@pytest.mark.parametrize("asked", ["fp32", "tf32"])
def test_fp32_and_tf32_are_told_apart_by_the_error(
    stage: Stage, asked: str, error: float, seen: str | None, said: str
) -> None:
    report = stage.play(request(precision=asked), CPU, plan=off(error), reference=truth)
    assert report.precision_observed == seen
    assert said in str(report.observed_because)


def test_no_precision_is_observed_where_the_error_cannot_tell(stage: Stage) -> None:
    half = stage.play(request(precision="fp16"), CPU, plan=off(1e-6), reference=truth)
    broken = stage.play(request(), CPU, plan=one(np.nan), reference=truth)
    elsewhere = stage.play(request(), NOWHERE, onnx=off(1e-6), reference=truth)
    for report in (half, broken, elsewhere):
        assert (report.precision_observed, report.observed_because) == (None, None)


def test_where_nothing_runs_the_plan_its_onnx_is_compared(stage: Stage) -> None:
    report = stage.play(request(), NOWHERE, onnx=off(1e-6), reference=truth)
    assert (report.status, report.subject) == ("not_executed", "onnx")
    assert report.why_not_executed == "there is no GPU here"
    assert report.candidate_sha256 == "o" * 64
    assert report.onnx_passed
    assert stage.ran == [("onnxruntime", "m.fp32.onnx"), ("onnxruntime", "m.onnx")]


def test_nothing_is_run_where_the_onnx_is_the_source(stage: Stage) -> None:
    report = stage.play(request(reference_sha256="o" * 64), NOWHERE)
    assert (report.status, report.subject, report.checks) == ("not_executed", "source", ())
    assert report.needed_relative_l2 is None
    assert stage.ran == []


ON_CPU = Capabilities("onnxruntime", "1.23", device="CPU")
SAME = {"reference_sha256": "o" * 64}


def test_the_source_itself_is_executed_and_not_compared(stage: Stage) -> None:
    report = stage.play(request(**SAME), ON_CPU, plan=truth)
    assert (report.status, report.subject, report.checks) == ("not_judged", "plan", ())
    assert stage.ran == [("onnxruntime", "m.plan")]
    assert (report.not_finite, report.precision_observed) == ({}, None)
    assert report.objection(execution_required=True) is None
    assert report.sentence == "runs on a machine; the artifact is the source itself, nothing to compare; " + (
        "every output is finite"
    )


def test_the_source_itself_may_give_nan_unless_more_is_asked(stage: Stage) -> None:
    report = stage.play(request(**SAME), ON_CPU, plan=one(np.nan))
    assert (report.status, report.not_finite) == ("not_judged", {"y": 1})
    assert report.onnx_passed
    assert report.sentence.endswith("NaN or infinite values: 1 in y")
    assert report.objection(execution_required=False) is None
    assert "finite outputs" in str(report.objection(execution_required=True))


def test_the_source_itself_on_another_provider_is_compared(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(
        family: str, file: Path, samples: SamplePlan, results: Path, options: dict[str, Any], on_event: object
    ) -> Executed:
        found = stage._execute(family, file, samples, results, options, on_event)
        on_cpu = options.get("on_cpu", False)
        return Executed(found.outputs, "somewhere", "CPUExecutionProvider" if on_cpu else "CUDAExecutionProvider")

    monkeypatch.setattr(rules, "execute", execute)
    monkeypatch.setattr(executing, "execute", execute)
    report = stage.play(request(**SAME), ON_CPU, plan=off(0.5), reference=truth)
    assert report.status == "failed"
    assert report.needed_relative_l2 == pytest.approx(0.5)


def test_an_engine_of_the_source_itself_is_compared(stage: Stage) -> None:
    report = stage.play(request(**SAME), GPU, plan=off(0.5), reference=truth)
    assert (report.status, report.subject) == ("failed", "plan")
    assert report.needed_relative_l2 == pytest.approx(0.5)


def test_a_plan_for_another_gpu_is_not_executed(stage: Stage) -> None:
    report = stage.play(request(targets=("8.6", "8.9")), GPU, onnx=truth, reference=truth)
    assert report.status == "not_executed"
    assert report.why_not_executed == "it was built for compute capability 8.6, 8.9, and this GPU has 9.0"
    assert stage.play(request(targets=("9.0",)), GPU, plan=truth, reference=truth).status == "passed"


def test_a_quantized_engine_is_held_against_its_own_qdq_graph(stage: Stage) -> None:
    report = stage.play(request(precision="int8"), GPU, plan=off(0.55), onnx=off(0.5), reference=truth)
    assert stage.ran == [("tensorrt", "m.plan"), ("onnxruntime", "m.onnx"), ("onnxruntime", "m.fp32.onnx")]
    assert {(check.against, check.judged) for check in report.checks} == {("source", False), ("qdq", True)}
    assert report.needed_relative_l2 == pytest.approx(0.05 / 1.5)
    assert report.status == "passed"
    assert stage.play(request(precision="int8"), GPU, plan=off(0.8), onnx=off(0.5), reference=truth).status == "failed"


def test_a_quantized_engine_that_gives_nan_has_no_error_to_tell(stage: Stage) -> None:
    report = stage.play(request(precision="fp8"), GPU, plan=one(np.nan), onnx=truth, reference=truth)
    assert (report.status, report.needed_relative_l2) == ("failed", None)
    assert "relative L2 error not defined (NaN or infinite values: 3 in y), tolerance 0.1" in report.sentence


@pytest.mark.parametrize(("error", "status"), [(0.05, "passed"), (0.3, "failed"), (2e5, "failed")])
def test_a_quantized_engine_of_a_source_with_qdq_pairs_is_held_against_that(
    error: float, status: str, stage: Stage
) -> None:
    report = stage.play(request(precision="fp8", **SAME), GPU, plan=off(error), reference=truth)
    assert (report.status, report.tolerance_relative_l2) == (status, AGAINST_QDQ)
    assert {(check.against, check.judged) for check in report.checks} == {("qdq", True)}
    assert report.needed_relative_l2 == pytest.approx(error)


def test_a_reference_off_the_cpu_is_refused(stage: Stage) -> None:
    stage.provider = "CUDAExecutionProvider"
    with pytest.raises(RunError, match="ran on CUDAExecutionProvider instead of CPUExecutionProvider"):
        stage.play(request(), CPU, plan=truth, reference=truth)


def test_outputs_of_other_shapes_are_refused_by_name(stage: Stage) -> None:
    with pytest.raises(RunError, match=r"Output y of batch 1 has shape \(1, 3\); the reference gives \(1, 4\)"):
        stage.play(request(), CPU, plan=lambda shape: truth(shape)[:, :3], reference=truth)


def test_could_not_says_that_executing_the_plan_failed() -> None:
    report = rules.could_not(request(tolerance=0.5), CPU, RunError("It fell over.", hint="Pick it up."))
    assert (report.status, report.subject, report.checks) == ("failed", "plan", ())
    assert report.why_not_executed == "It fell over."
    assert report.sentence == "failed: It fell over."
    assert report.tolerance_relative_l2 == 0.5
    assert report.needed_relative_l2 is None


def test_could_not_says_that_the_onnx_was_not_compared() -> None:
    report = rules.could_not(request(), NOWHERE, RunError("It fell over.", hint="Pick it up."))
    assert (report.status, report.subject) == ("not_executed", "onnx")
    assert report.why_not_executed == "there is no GPU here; its ONNX was not compared: It fell over."
    assert not report.onnx_passed


@pytest.mark.parametrize(
    ("profile", "labels"),
    [
        (batches(1, 8, 32), ["batch 1", "batch 3"]),
        (batches(1, 2, 2), ["batch 1", "batch 2"]),
        (batches(4, 8, 16), ["batch 4"]),
        (batches(2, 2, 2), ["batch 2"]),
        (OptimizationProfile({"x": ShapeRange((2, 4), (2, 4), (2, 4))}), ["fixed shape"]),
        (OptimizationProfile({"x": ShapeRange((2, 4), (2, 5), (2, 6))}), ["optimum"]),
    ],
)
def test_samples_on_a_cpu_are_one_and_three_inside_the_profile(
    stage: Stage, profile: OptimizationProfile, labels: list[str]
) -> None:
    assert stage.labels(request(profile=profile), CPU) == labels
    assert stage.labels(request(profile=profile), NOWHERE) == labels


@pytest.mark.parametrize(
    ("profile", "labels"),
    [
        (batches(1, 8, 32), ["batch 1", "batch 8", "batch 32", "batch 5"]),
        (batches(1, 3, 4), ["batch 1", "batch 3", "batch 4"]),
        (batches(2, 2, 2), ["batch 2"]),
        (OptimizationProfile({"x": ShapeRange((2, 4), (2, 4), (2, 4))}), ["fixed shape"]),
        (OptimizationProfile({"x": ShapeRange((2, 4), (2, 5), (2, 6))}), ["minimum", "optimum", "maximum"]),
    ],
)
def test_samples_on_a_gpu_are_the_corners_and_an_odd_batch(
    stage: Stage, profile: OptimizationProfile, labels: list[str]
) -> None:
    assert stage.labels(request(profile=profile), GPU) == labels
