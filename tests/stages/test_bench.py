"""One benchmark as the pipeline asks for it: real workers, real ONNX Runtime, and the scripted device."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.contract.test_families import conv_net
from tests.measurement.scripted import clean
from trtkit.artifacts.bench import BenchResult, Subject
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.device import Device
from trtkit.backends.null import MAGIC
from trtkit.backends.null_timed import FAILURES, VARIABLE
from trtkit.errors import PlanError, RunError, UsageError
from trtkit.graph.io import specs
from trtkit.measurement.failure import classify
from trtkit.stages.bench import BenchRequest, bench, composed, in_force
from trtkit.worker import Log, Progress

QUICK = BenchSettings("compute", 4, warmup_s=0.02, duration_s=0.15, max_duration_s=0.4, spinning=False)


def subject(family: str, file: Path, precision: str = "fp32") -> Subject:
    return Subject("net", "a" * 64, file.name, "b" * 64, family, "1.0", precision, macs_per_image=4 * 3 * 9 * 64)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    onnx.save(conv_net(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture
def null_plan(tmp_path: Path) -> Path:
    inputs, outputs = specs(conv_net())
    described = {"inputs": [asdict(spec) for spec in inputs], "outputs": [asdict(spec) for spec in outputs]}
    (tmp_path / "null.plan").write_bytes(MAGIC + json.dumps(described).encode())
    return tmp_path / "null.plan"


def on_null(plan: Path, monkeypatch: pytest.MonkeyPatch, *, script: dict[str, Any], **changes: Any) -> BenchResult:
    monkeypatch.setenv(VARIABLE, json.dumps(script))
    settings = replace(QUICK, **changes.pop("settings", {}))
    return bench(BenchRequest(subject("null", plan), plan, Device("cpu"), settings, **changes), lambda event: None)


def test_onnx_runtime_is_measured_checked_and_described(net: Path) -> None:
    events: list[Progress | Log] = []
    request = BenchRequest(subject("onnxruntime", net), net, Device("cpu"), QUICK, reference=net, command=("trtkit",))
    result = bench(request, events.append)
    assert not result.verdict.reasons, result.verdict
    assert len(result.timeline) >= 10
    assert result.throughput_images_per_s is not None
    assert result.settings.shapes == {"x": (4, 3, 8, 8)}
    assert result.settings.affinity == tuple(sorted(os.sched_getaffinity(0)))
    assert result.settings.threads == result.device.threads == len(result.settings.affinity)
    assert result.conditions.provider == "CPUExecutionProvider"
    assert result.conditions.stopped in ("confident", "max-duration")
    assert result.conditions.facts["optimize"] == "all"
    assert result.conditions.peak_rss_bytes
    check = result.conditions.check
    assert check is not None
    assert check["finite"] and check["run_matches"] and check["matches"]
    assert check["relative_l2"] < 1e-5
    assert check["against"].startswith("net.onnx in ONNX Runtime")
    assert (result.peak_source or "").startswith("measured GEMM")
    assert result.fraction_of_peak is not None
    assert result.fraction_of_peak < 1
    assert BenchResult.from_json(json.loads(json.dumps(result.to_json()))).conditions == result.conditions
    phases = [event.phase for event in events if isinstance(event, Progress)]
    assert list(dict.fromkeys(phases)) == ["Loading", "Warming up", "Checking", "Measuring"]


def test_another_function_is_invalid(net: Path, tmp_path: Path) -> None:
    other = conv_net()
    other.graph.initializer[0].raw_data = np.zeros(4 * 3 * 9, np.float32).tobytes()
    onnx.save(other, tmp_path / "other.onnx")
    result = bench(
        BenchRequest(subject("onnxruntime", net), net, Device("cpu"), QUICK, reference=tmp_path / "other.onnx"),
        lambda event: None,
    )
    assert [finding.id for finding in result.verdict.reasons] == ["wrong-output"]
    assert "other.onnx" in result.verdict.reasons[0].text


def test_a_reference_check_is_taken_over_instead_of_made_again(
    null_plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = {"matches": True, "relative_l2": 1e-6, "limit": 5e-3, "against": "net.onnx in ONNX Runtime"}
    result = on_null(null_plan, monkeypatch, script={}, checked=former, reference=Path("is-not-read.onnx"))
    assert result.conditions.check is not None
    assert result.conditions.check["taken_over"] is True
    assert result.conditions.check["against"] == former["against"]
    assert "unchecked" not in [finding.id for finding in result.verdict.notes]


def test_a_reference_that_cannot_run_leaves_a_note(null_plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = on_null(null_plan, monkeypatch, script={}, reference=null_plan)
    unchecked = next(finding for finding in result.verdict.notes if finding.id == "unchecked")
    assert "ONNX Runtime" in unchecked.text
    assert result.verdict.valid


@pytest.mark.parametrize("mode", MODES)
def test_the_null_family_has_every_mode(mode: str, null_plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = {"compute_ms": 2.0, "image_ms": 0.0, "h2d_ms": 0.5, "d2h_ms": 0.25, "noise": 0.001}
    result = on_null(null_plan, monkeypatch, script=script, settings={"mode": mode})
    assert result.verdict.valid
    compute = result.to_json()["summary"]["compute"]
    assert compute["p50_ms"] == pytest.approx(2.0, rel=0.01)
    copies = mode in ("transfers", "overlapped")
    assert result.to_json()["summary"]["latency"]["p50_ms"] == pytest.approx(2.75 if copies else 2.0, rel=0.01)
    rate = {"transfers": 4 / 2.75e-3}.get(mode, 4 / 2e-3)
    # The host's sleep is late by what the system likes; it is never early.
    assert 0.3 * rate < (result.throughput_images_per_s or 0) < 1.05 * rate


@pytest.mark.parametrize("reason", FAILURES)
def test_a_failure_tells_its_reason(reason: str, null_plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError) as caught:
        on_null(null_plan, monkeypatch, script={"fail_from_batch": 4, "fail_as": reason, "fail_when": "run"})
    assert classify(caught.value) == reason


def test_a_hang_ends_at_its_time_limit(null_plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="did not finish within") as caught:
        on_null(null_plan, monkeypatch, script={"hang_from_batch": 1}, timeout_s=1.0)
    assert classify(caught.value) == "timeout"


def test_a_crash_is_an_error_of_the_tree(null_plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="SIGSEGV") as caught:
        on_null(null_plan, monkeypatch, script={"crash_from_batch": 1})
    assert classify(caught.value) == "other"
    assert "null.plan at batch 4 on cpu" in caught.value.message


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({"outputs": "nan"}, "not-finite"),
        ({"outputs": "wrong"}, "timed-path"),
        ({"seen": {"throttle_reasons": {"hw_slowdown": 1.0}}}, "throttled"),
        ({"seen": {"foreign_processes": ["python (1)"]}}, "foreign-process"),
    ],
)
def test_what_the_device_did_becomes_a_reason(
    script: dict[str, Any], reason: str, null_plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = on_null(null_plan, monkeypatch, script=script)
    assert reason in [finding.id for finding in result.verdict.reasons]


def test_what_is_slow_at_first_becomes_a_note(null_plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = {"warmup_ms": [700.0, 300.0], "noise": 0.05, "graph_problem": "it synchronizes."}
    result = on_null(null_plan, monkeypatch, script=script, settings={"mode": "compute-graph"})
    found = {finding.id for finding in result.verdict.notes}
    assert {"compiled-first", "unstable", "graph-not-captured", "unchecked"} <= found
    assert result.verdict.valid


def test_a_mode_that_a_family_has_not_is_refused_with_those_it_has(net: Path) -> None:
    settings = replace(QUICK, mode="overlapped")
    with pytest.raises(UsageError, match="no mode 'overlapped'") as caught:
        bench(BenchRequest(subject("onnxruntime", net), net, Device("cpu"), settings), lambda event: None)
    assert "it has: compute" in caught.value.message


def test_a_broken_plan_is_a_plan_error(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x00" * 100)
    with pytest.raises(PlanError):
        bench(
            BenchRequest(subject("onnxruntime", tmp_path / "bad.onnx"), tmp_path / "bad.onnx", Device("cpu"), QUICK),
            lambda event: None,
        )


def test_data_of_the_users_own_is_fed(net: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.ones((6, 3, 8, 8), np.float32))
    result = bench(
        BenchRequest(subject("onnxruntime", net), net, Device("cpu"), QUICK, data=tmp_path / "data.npz", reference=net),
        lambda event: None,
    )
    assert result.verdict.valid


def test_what_a_cpu_leaves_open_is_filled_in() -> None:
    usable = tuple(sorted(os.sched_getaffinity(0)))
    settings = BenchSettings("compute", 1)
    assert in_force(settings, Device("cpu")).affinity == usable
    assert in_force(settings, Device("cpu")).threads == len(usable)
    assert in_force(replace(settings, threads=1), Device("cpu")).threads == 1
    assert in_force(replace(settings, affinity=usable[:1]), Device("cpu")).threads == 1
    assert in_force(settings, Device("cuda")) == settings


def test_the_limit_follows_the_precision(net: Path) -> None:
    def limit(precision: str, **asked: float) -> float:
        return BenchRequest(subject("null", net, precision), net, Device("cpu"), QUICK, **asked).limit  # type: ignore[arg-type]

    assert (limit("fp32"), limit("fp16"), limit("int8")) == (5e-3, 1e-2, 0.1)
    assert limit("fp16", check_limit=0.25) == 0.25


@pytest.mark.parametrize(
    ("asked", "error", "observed", "source"),
    [
        ("fp32", 7.6e-4, "tf32", "tf32"),  # a builder that multiplies FP32 in TF32, whatever it is told
        ("fp32", 2.0e-6, "fp32", "fp32"),
        ("tf32", 7.6e-4, "tf32", "tf32"),
        ("fp32", 5e-5, None, None),  # neither the one nor the other: no percentage instead of a guess
        ("fp32", None, None, None),
        ("fp16", 7.6e-4, None, "fp16"),
    ],
)
def test_the_check_tells_fp32_from_tf32_and_the_peak_follows(
    asked: str, error: float | None, observed: str | None, source: str | None, net: Path
) -> None:
    what = subject("tensorrt-rtx", net, asked)
    request = BenchRequest(what, net, Device("cuda"), QUICK)
    device = clean().device
    found = {
        "device": replace(device, name="NVIDIA H200").to_json(),
        "settings": QUICK.to_json(),
        "conditions": {"where": "NVIDIA H200"},
        "peak": None,
    }
    result = composed(request, found, clean().timeline, {"relative_l2": error, "matches": True}, None)
    assert result.subject.observed == observed
    assert result.peak_ops_per_s == {"tf32": 494.5e12, "fp32": 67e12, "fp16": 989.5e12, None: None}[source]
    assert ("relative L2 error" in (result.subject.proof or "")) == (observed is not None)
