"""What only a GPU can show: plans that are executed. Run with ``python -m pytest tests/gpu`` on such a machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtkit.backends.base import Capabilities
from trtkit.backends.probing import probe
from trtkit.cli.main import main

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def can() -> Capabilities:
    found = probe("tensorrt-rtx")
    if found.cannot_run is not None:
        pytest.skip(f"no GPU that TensorRT-RTX can use: {found.cannot_run}")
    return found


def convert(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["convert", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_plan_is_executed_and_agrees(
    can: Capabilities, capsys: pytest.CaptureFixture[str], tmp_path: Path, precision: str
) -> None:
    arguments = ["squeezenet1_1", "-p", precision, "-o", str(tmp_path), "--batch", "1:4:16", "--require-validation"]
    code, result = convert(capsys, *arguments, "--compute-capability", "current")
    manifest = result["manifest"]
    assert code == 0
    assert manifest["validation"]["status"] == "passed"
    assert manifest["validation"]["subject"] == "plan"
    assert {check["case"] for check in manifest["validation"]["checks"]} == {
        "batch 1",
        "batch 3",
        "batch 4",
        "batch 16",
    }
    assert manifest["targets"] == [can.gpus[0].compute_capability]
    assert manifest["layers"]["source"] == "engine-inspector"
    wanted = "fp32" if precision == "fp32" else "fp16"
    assert manifest["proof"]["counts"] == {"Conv": {wanted: 26}}


def test_precision_is_observed(can: Capabilities, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, result = convert(capsys, "squeezenet1_1", "-p", "tf32", "-o", str(tmp_path), "--batch", "1:2:4")
    report = result["manifest"]["validation"]
    assert report["precision_observed"] in ("fp32", "tf32")
    assert "relative L2" in report["observed_because"]


def test_runtime_cache_is_written_and_makes_the_next_run_faster(
    can: Capabilities, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cache = tmp_path / "kernels.cache"
    plan = tmp_path / f"squeezenet1_1.fp16.tensorrt-rtx-{can.short_version}.plan"
    _, first = convert(
        capsys, "squeezenet1_1", "-p", "fp16", "-o", str(tmp_path), "--batch", "1:2:4", "--runtime-cache", str(cache)
    )
    assert cache.stat().st_size > 1000
    assert main(["validate", str(plan), "--runtime-cache", str(cache), "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["status"] == "passed"
    assert second["seconds"] < first["manifest"]["validation"]["seconds"]


def test_damaged_weights_fail_the_validation(
    can: Capabilities, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The check can fail: a plan of other weights, smuggled in under the name of the right one, is found out."""
    onnx = tmp_path / "m.onnx"
    assert main(["export", "squeezenet1_1", "-o", str(onnx)]) == 0
    other = tmp_path / "other"
    assert main(["convert", "squeezenet1_1", "--seed", "1", "-o", str(other), "--batch", "1:2:4"]) == 0
    capsys.readouterr()
    plan = next(other.glob("*.plan"))
    manifest_file = plan.with_name(plan.name + ".json")
    manifest = json.loads(manifest_file.read_text())
    from trtkit.artifacts.files import sha256_file

    manifest["source"] |= {"definition": None, "path": str(onnx), "sha256": sha256_file(onnx)}
    manifest_file.write_text(json.dumps(manifest))
    assert main(["validate", str(plan), "--json"]) == 9
    assert json.loads(capsys.readouterr().out)["status"] == "failed"


def test_wrong_shape_is_a_run_error(can: Capabilities, tmp_path: Path) -> None:
    from trtkit import worker
    from trtkit.artifacts.model import TensorSpec
    from trtkit.artifacts.samples import SampleCase, SamplePlan
    from trtkit.backends.registry import worker_env
    from trtkit.errors import RunError

    assert main(["convert", "squeezenet1_1", "-o", str(tmp_path), "--batch", "1:2:4"]) == 0
    plan = next(tmp_path.glob("*.plan"))
    shape = (64, 3, 224, 224)
    samples = SamplePlan(
        0, (TensorSpec("input", "float32", ("N", *shape[1:])),), 1.0, (SampleCase("x", {"input": shape}),)
    )
    with pytest.raises(RunError, match="Executing the plan failed"):
        worker.run(
            "trtkit.backends.jobs:execute",
            {
                "family": "tensorrt-rtx",
                "plan": str(plan),
                "samples": samples.to_json(),
                "results": str(tmp_path / "r.npz"),
            },
            what="the test",
            env=worker_env("tensorrt-rtx"),
        )


def test_onnxruntime_runs_on_cuda_or_says_that_it_does_not(
    can: Capabilities, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, result = convert(capsys, "squeezenet1_1", "--family", "onnxruntime", "-o", str(tmp_path), "--batch", "1:2:4")
    report = result["manifest"]["validation"]
    assert code == 0
    assert report["where"].endswith(("CUDAExecutionProvider", "CPUExecutionProvider"))
    assert np.isfinite(report["needed_relative_l2"])


def test_fp8_is_executed_and_agrees_with_its_own_qdq_model(
    can: Capabilities, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["squeezenet1_1", "-p", "fp8", "--synthetic", "16", "-o", str(tmp_path), "--batch", "1:2:4"]
    code, result = convert(capsys, *arguments, "--require-validation")
    report = result["manifest"]["validation"]
    assert code == 0, report
    assert {check["against"] for check in report["checks"]} == {"source", "qdq"}
    assert all(check["judged"] == (check["against"] == "qdq") for check in report["checks"])
    assert result["manifest"]["proof"]["counts"]["Conv"].get("fp8", 0) > 20


def test_int8_is_refused_before_the_build_where_the_version_cannot(
    can: Capabilities, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if "int8" not in can.refused_precisions:
        pytest.skip(f"tensorrt-rtx {can.version} builds INT8")
    code, result = convert(capsys, "squeezenet1_1", "-p", "int8", "--synthetic", "8", "-o", str(tmp_path))
    assert code == 2
    assert "1.7" in result["error"]["message"] and "INT8" in result["error"]["message"]
