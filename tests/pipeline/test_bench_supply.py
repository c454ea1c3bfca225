"""Engines for a benchmark, built into the cache: TensorRT-RTX, which builds here and cannot run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from tests.contract.test_families import conv_net
from tests.pipeline.test_bench_rows import Notes
from trtkit import worker
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.artifacts.plan_header import read_header
from trtkit.backends.probing import probe
from trtkit.pipeline.bench_family import Target, targets
from trtkit.pipeline.bench_measure import stage_request
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.bench_supply import Supply
from trtkit.stages.export import SourceRequest
from trtkit.stages.plan_cache import PlanCache


@pytest.fixture(scope="module")
def target() -> Target:
    can = probe("tensorrt-rtx")
    if can.cannot_build is not None:
        pytest.skip(can.cannot_build)
    return Target(Device("cuda"), can, "asked for")


def asked(folder: Path, **changes: object) -> BenchmarkRequest:
    onnx.save(conv_net(), folder / "net.onnx")
    return BenchmarkRequest(SourceRequest(str(folder / "net.onnx")), **changes)  # type: ignore[arg-type]


def test_an_engine_is_built_for_its_batch_and_kept(target: Target, tmp_path: Path) -> None:
    request, cache = asked(tmp_path), PlanCache(tmp_path / "cache")
    supply = Supply(request, cache, Notes())
    each = supply.prepare(target, "fp16", (4, 4, 4))
    assert read_header(each.artifact).family == "tensorrt-rtx"
    assert (each.profile, each.usual, each.batches) == ("x 4x3x8x8", 4, (4, 4))
    assert each.shapes_at(4) == {"x": (4, 3, 8, 8)}
    assert (each.subject.precision, each.subject.observed) == ("fp16", "fp16")
    assert each.subject.macs_per_image == 4 * 3 * 9 * 64
    assert each.reference == tmp_path / "net.onnx" and each.check_limit == 1e-2
    again = Supply(request, cache, Notes()).prepare(target, "fp16", (4, 4, 4))
    assert again.subject.sha256 == each.subject.sha256, "plans differ from build to build: this one was kept"
    shared = supply.prepare(target, "fp16", (1, 16, 16))
    assert shared.profile == "x 1x3x8x8:16x3x8x8:16x3x8x8" and shared.batches == (1, 16)
    assert shared.subject.sha256 != each.subject.sha256


def test_the_stage_is_told_where_kernels_are_kept_and_what_was_checked(target: Target, tmp_path: Path) -> None:
    request, cache = asked(tmp_path), PlanCache(tmp_path / "cache")
    prepared = Supply(request, cache, Notes()).prepare(target, "fp32", (2, 2, 2))
    settings = BenchSettings("compute", 2, {"x": (2, 3, 8, 8)})
    first = stage_request(request, cache, prepared, target, settings, 9.0, None)
    assert first.runtime_cache is not None and first.runtime_cache.parent == tmp_path / "cache" / "runtime"
    assert (first.reference, first.checked, first.timeout_s) == (tmp_path / "net.onnx", None, 9.0)
    assert first.host_code, "it was built here a moment ago"
    checked = {"matches": True, "against": "net.onnx in ONNX Runtime"}
    second = stage_request(request, cache, prepared, target, settings, None, checked)
    assert (second.reference, second.checked) == (None, checked)
    assert second.runtime_cache == first.runtime_cache


def test_what_onnx_runtime_computes_in_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request, cache = asked(tmp_path, family="onnxruntime"), PlanCache(tmp_path / "cache")
    cpu = Target(Device("cpu"), probe("onnxruntime"), "asked for")
    supply, settings = Supply(request, cache, Notes()), BenchSettings("compute", 2, {"x": (2, 3, 8, 8)})
    looks: list[str] = []
    real = worker.run

    def counting(job: str, *args: Any, **more: Any) -> Any:
        looks.append(job)
        return real(job, *args, **more)

    half, whole = (supply.prepare(cpu, precision, (1, 2, 4)) for precision in ("fp16", "fp32"))
    monkeypatch.setattr(worker, "run", counting)
    for _ in range(2):
        subject = stage_request(request, cache, half, cpu, settings, None, None).subject
        assert (subject.precision, subject.observed) == ("fp16", "fp32")
        assert subject.proof == "convolutions and matrix products on this CPU: 1 of 1 in FP32, between casts"
    assert looks == ["trtkit.backends.ort_executed:executed"]
    assert stage_request(request, cache, whole, cpu, settings, None, None).subject.observed == "fp32"
    forced = replace(request, force=True)
    stage_request(forced, cache, half, cpu, settings, None, None)
    assert len(looks) == 2, "float32 says it by itself; --force looks again"


def test_operators_that_onnx_runtime_left_to_the_cpu_are_in_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, cache = asked(tmp_path, family="onnxruntime"), PlanCache(tmp_path / "cache")
    cpu = Target(Device("cpu"), probe("onnxruntime"), "asked for")
    prepared = Supply(request, cache, Notes()).prepare(cpu, "fp32", (1, 2, 4))
    told: dict[str, Any] = {}

    def answer(job: str, arguments: dict[str, Any], **more: Any) -> Any:
        told.update(arguments)
        return SimpleNamespace(value={"numbers": {"fp32": 1}, "elsewhere": {"Conv": 1}})

    monkeypatch.setattr(worker, "run", answer)
    gpu = replace(cpu, device=Device("cuda"))
    found = stage_request(request, cache, prepared, gpu, BenchSettings("compute", 2, {"x": (2, 3, 8, 8)}), None, None)
    assert told["on_cuda"] and told["shapes"] == {"x": [1, 3, 8, 8]}
    assert found.elsewhere == {"Conv": 1} and found.subject.observed == prepared.subject.observed


def test_weights_of_a_definition_are_exported_once(target: Target, tmp_path: Path) -> None:
    request, cache = BenchmarkRequest(SourceRequest("squeezenet1_1")), PlanCache(tmp_path / "cache")
    supply = Supply(request, cache, Notes())
    assert supply.precisions() == ("fp32",)
    identity = supply.identity()
    (kept,) = (tmp_path / "cache" / "plans").glob("squeezenet1_1.source-*/squeezenet1_1.onnx")
    written = kept.stat().st_mtime_ns
    assert Supply(request, cache, Notes()).identity() == identity
    assert kept.stat().st_mtime_ns == written
    kept.write_bytes(kept.read_bytes()[:-1])
    assert Supply(request, cache, Notes()).identity() == identity
    assert kept.stat().st_mtime_ns != written, "a damaged file is made again"


def test_a_definition_is_measured_as_convert_would_build_it_and_a_file_as_it_is(tmp_path: Path) -> None:
    here = Target(Device("cpu"), probe("onnxruntime"), "asked for")
    cache = PlanCache(tmp_path / "cache")
    named = BenchmarkRequest(SourceRequest("squeezenet1_1"), rewrite="stem_space_to_depth")
    supply = Supply(named, cache, Notes())
    rewritten = supply.prepare(here, "fp32", (1, 1, 1))
    assert rewritten.subject.rewrites == ("stem_space_to_depth",) and rewritten.subject.observed == "fp32"
    base = Supply(BenchmarkRequest(SourceRequest("squeezenet1_1"), rewrite="none"), cache, Notes())
    plain = base.prepare(here, "fp32", (1, 1, 1))
    assert plain.subject.rewrites == () and plain.artifact != rewritten.artifact
    # The source is the same, its work too, and it is what the outputs are held against.
    assert rewritten.reference == plain.reference == plain.artifact
    assert rewritten.subject.model_sha256 == plain.subject.model_sha256
    assert rewritten.subject.macs_per_image == plain.subject.macs_per_image
    assert supply.identity() != base.identity()
    assert Supply(BenchmarkRequest(SourceRequest("squeezenet1_1")), cache, Notes()).identity()["rewrite"] == "safe"
    file = Supply(asked(tmp_path), cache, Notes())
    assert file.identity()["rewrite"] == "none" and file.prepare(here, "fp32", (1, 1, 1)).artifact.name == "net.onnx"


@pytest.mark.parametrize(
    ("numbers", "observed", "words"),
    [
        (onnx.TensorProto.FLOAT, "fp32", "the file's numbers are float32, and a CPU has no TF32"),
        (onnx.TensorProto.DOUBLE, None, "the file also holds numbers of type float64"),
    ],
)
def test_only_a_file_of_float32_is_known_to_run_in_it(
    numbers: int, observed: str | None, words: str, tmp_path: Path
) -> None:
    x, y = (onnx.helper.make_tensor_value_info(name, numbers, ["N", 3]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    request = BenchmarkRequest(SourceRequest(str(tmp_path / "m.onnx")), devices="cpu", output=tmp_path)
    (cpu,), _ = targets("onnxruntime", "cpu")
    subject = Supply(request, PlanCache(tmp_path / "cache"), Notes()).prepare(cpu, "fp32", (1, 1, 1)).subject
    assert (subject.observed, subject.proof) == (observed, words)
