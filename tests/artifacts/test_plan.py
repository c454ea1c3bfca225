"""The manifest of a plan: complete, unchanged by its way through JSON, and refused where it does not belong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from tests.artifacts.test_model import MODEL
from tests.artifacts.test_validation import PASSED
from trtkit.artifacts.files import sha256_bytes, write_json
from trtkit.artifacts.layers import Layer, LayerReport, LayerTensor
from trtkit.artifacts.plan import SCHEMA, PlanManifest, Source, manifest_path, validation_path
from trtkit.artifacts.precision import NodePrecision, PrecisionProof
from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.backends.base import BuildOptions
from trtkit.errors import PlanError

CONTENT = b"the bytes of a plan"
OPTIONS = BuildOptions(
    OptimizationProfile({"x": ShapeRange((1, 3), (2, 3), (4, 3))}), compute_capability=("8.6", "8.9"), refit=True
)
MANIFEST = PlanManifest(
    file="net.fp16.null-0.1.plan",
    sha256=sha256_bytes(CONTENT),
    bytes=len(CONTENT),
    key="k" * 64,
    precision="fp16",
    family="null",
    version="0.1.0.0",
    targets=("8.6", "8.9"),
    device="NVIDIA H200 (compute capability 9.0)",
    driver="580.159.04",
    cuda="13.0",
    source=Source("net", None, "/models/net.onnx", "s" * 64, None, None, "w" * 64, "fp32", 1.0),
    onnx=MODEL,
    options=json.loads(json.dumps(OPTIONS.to_json())),
    flags=("REFIT", "STRONGLY_TYPED"),
    warnings=("a warning",),
    timings_s={"export": 0.25, "build": 1.5},
    peak_rss_bytes=1 << 30,
    layers=LayerReport(
        "builder-log", (Layer("conv", "Convolution", (LayerTensor("x", "fp16", (-1, 3)),), (), ("/conv",)),)
    ),
    proof=PrecisionProof("fp16", "builder-log", (NodePrecision("/conv", "Conv", "fp16", ("conv",)),)),
    validation=PASSED,
    environment={"trtkit": "0.1.0"},
    command=("trtkit", "convert", "net.onnx"),
    created="2026-11-23T09:00:00+00:00",
)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / MANIFEST.file
    path.write_bytes(CONTENT)
    write_json(manifest_path(path), MANIFEST.to_json())
    return path


def test_names_beside_a_plan() -> None:
    plan, onnx = Path("out/net.fp32.tensorrt-rtx-1.7.plan"), Path("net.fp32.onnxruntime.onnx")
    assert manifest_path(plan) == Path("out/net.fp32.tensorrt-rtx-1.7.plan.json")
    assert validation_path(plan) == Path("out/net.fp32.tensorrt-rtx-1.7.validation.json")
    assert manifest_path(onnx) == Path("net.fp32.onnxruntime.onnx.json")
    assert validation_path(onnx) == Path("net.fp32.onnxruntime.validation.json")


def test_a_manifest_from_before_there_were_rewrites_is_read() -> None:
    value = MANIFEST.to_json()
    del value["rewrites"]
    assert PlanManifest.from_json(value, Path()).rewrites is None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"layers": None, "proof": None, "peak_rss_bytes": None},
        {"device": None, "driver": None, "cuda": None, "targets": (), "flags": (), "warnings": ()},
        {"source": Source("net", "googlenet", None, "s" * 64, 7, None, None, "fp32", 57.5)},
    ],
)
def test_json_holds_every_field_and_comes_back_the_same(changes: dict[str, Any]) -> None:
    manifest = replace(MANIFEST, **changes)
    value = json.loads(json.dumps(manifest.to_json(), allow_nan=False))
    assert set(value) == {field.name for field in fields(PlanManifest)}
    assert PlanManifest.from_json(value, MODEL.path.parent) == manifest
    assert BuildOptions.from_json(value["options"]) == OPTIONS


def test_a_reader_meets_the_short_facts_first() -> None:
    names = list(MANIFEST.to_json())
    assert names[:3] == ["schema", "file", "sha256"]
    assert names[-3:] == ["proof", "validation", "layers"]


def test_the_files_are_found_where_they_lie_now(plan: Path) -> None:
    manifest = PlanManifest.read(plan)
    assert manifest.onnx.path == plan.parent / MODEL.path.name
    assert replace(manifest, onnx=MODEL) == MANIFEST


@pytest.mark.parametrize("schema", [None, 0, SCHEMA + 1, "1"])
def test_another_layout_is_refused(schema: object) -> None:
    with pytest.raises(PlanError, match=f"has schema {schema}; this trtkit reads schema {SCHEMA}") as caught:
        PlanManifest.from_json({**MANIFEST.to_json(), "schema": schema}, Path())
    assert "Update trtkit" in caught.value.hint


@pytest.mark.parametrize(
    "name", [field.name for field in fields(PlanManifest) if field.name not in ("schema", "rewrites")]
)
def test_a_missing_field_is_refused(name: str) -> None:
    value = MANIFEST.to_json()
    del value[name]
    with pytest.raises(PlanError, match="incomplete or was changed"):
        PlanManifest.from_json(value, Path())


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"source": {"name": "net"}},
        {"source": None},
        {"onnx": []},
        {"onnx": {**MODEL.to_json(), "inputs": [{"name": "x"}]}},
        {"targets": None},
        {"validation": None},
        {"validation": {**PASSED.to_json(), "checks": [{"case": "batch 1"}]}},
        {"layers": {"source": "builder-log"}},
        {"proof": {"asked": "fp16"}},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_a_changed_field_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="incomplete or was changed"):
        PlanManifest.from_json({**json.loads(json.dumps(MANIFEST.to_json())), **changes}, Path())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda plan: manifest_path(plan).unlink(), r"has no manifest: .*\.plan\.json is missing"),
        (lambda plan: plan.unlink(), "is not there; only its manifest is"),
        (lambda plan: plan.write_bytes(CONTENT[:-1]), "its SHA-256 or size differs"),
        (lambda plan: plan.write_bytes(CONTENT.upper()), "its SHA-256 or size differs"),
        (lambda plan: manifest_path(plan).write_text("{"), "is not readable JSON"),
    ],
    ids=["no manifest", "no plan", "cut short", "other bytes", "no JSON"],
)
def test_a_plan_that_its_manifest_does_not_describe(plan: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(plan)
    with pytest.raises(PlanError, match=message):
        PlanManifest.read(plan)
