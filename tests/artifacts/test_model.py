"""The ONNX model as a noun."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from trtkit.artifacts.model import OnnxModel, TensorSpec

X = TensorSpec("x", "float32", ("N", 3, 224, 224))
MODEL = OnnxModel(
    name="net",
    path=Path("somewhere/net.fp16.onnx"),
    sha256="a" * 64,
    precision="fp16",
    opset=17,
    inputs=(X, TensorSpec("scale", "float16", ())),
    outputs=(TensorSpec("y", "int64", ("N", "M")),),
    parents=("b" * 64, "c" * 64),
    transforms=("name_dynamic_dims", "float16"),
)


@pytest.mark.parametrize(
    ("spec", "dynamic", "text"),
    [
        (X, True, "x float32 N×3×224×224"),
        (TensorSpec("ids", "int64", (1, 16)), False, "ids int64 1×16"),
        (TensorSpec("scale", "float16", ()), False, "scale float16 scalar"),
    ],
)
def test_a_tensor(spec: TensorSpec, dynamic: bool, text: str) -> None:
    assert (spec.is_dynamic, spec.text) == (dynamic, text)
    assert TensorSpec.from_json(json.loads(json.dumps(asdict(spec)))) == spec


def test_a_model_comes_back_from_json_where_its_file_lies_now() -> None:
    value = json.loads(json.dumps(MODEL.to_json()))
    assert set(value) == {field.name for field in fields(OnnxModel)}
    assert value["path"] == "net.fp16.onnx", "artifacts move together, so no folder is written down"
    assert OnnxModel.from_json(value, Path("somewhere")) == MODEL
    assert OnnxModel.from_json(value, Path("elsewhere")).path == Path("elsewhere/net.fp16.onnx")


def test_a_moved_model_is_the_same_but_for_its_path() -> None:
    moved = MODEL.moved_to(Path("there/net.fp16.onnx"))
    assert moved.path == Path("there/net.fp16.onnx")
    assert moved.moved_to(MODEL.path) == MODEL
