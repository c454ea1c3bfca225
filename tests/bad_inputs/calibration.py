"""Calibration data, tables, caches and recipes that are at fault, and options that contradict each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from tests.bad_inputs.case import BadInput, Files
from tests.graph.qdq_models import inception
from trtkit.errors import CalibrationError, ModelError, TrtkitError, UsageError

__all__ = ["CASES"]


def _model(folder: Path) -> None:
    onnx.save(inception(), folder / "model.onnx")


def _arrays(**arrays: np.ndarray) -> Files:
    def write(folder: Path) -> None:
        _model(folder)
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values)

    return write


def _text(name: str, text: str) -> Files:
    def write(folder: Path) -> None:
        _model(folder)
        (folder / name).write_text(text)

    return write


def _pictures(folder: Path) -> None:
    _model(folder)
    (folder / "photos").mkdir()
    for index in range(4):
        Image.new("RGB", (32, 32), (index, 50, 90)).save(folder / "photos" / f"{index}.png")


def _another_size(folder: Path) -> None:
    _pictures(folder)
    recipe = {"resize": 32, "crop": 32, "channel_order": "RGB", "mean": [0, 0, 0], "std": [1, 1, 1]}
    (folder / "p.json").write_text(json.dumps(recipe))


def _broken_pictures(folder: Path) -> None:
    _pictures(folder)
    for path in (folder / "photos").iterdir():
        path.write_bytes(b"<html>not found</html>")


def _other_table(dtype: str) -> Files:
    table = {
        "schema": 2,
        "model": "other",
        "model_sha256": "0" * 64,
        "dtype": dtype,
        "method": "minmax",
        "tensors": {name: {"amax": 1.0, "method": "minmax"} for name in ("x", "pool1", "pool2", "reduce_relu")},
        "samples": 8,
        "transforms": [],
    }
    more = ("joined", "norm", "one_relu", "three_relu", "projection_relu", "last_relu", "mean", "flat", "relu1")
    table["tensors"] |= {name: {"amax": 1.0, "method": "minmax"} for name in more}  # type: ignore[operator]
    return _text("t.json", json.dumps(table))


_GOOD = np.random.default_rng(0).standard_normal((6, 3, 16, 16)).astype(np.float32)
_NAN = _GOOD.copy()
_NAN[4, 0, 0, 0] = np.nan


def _case(
    name: str,
    options: str,
    message: str,
    hint: str = ".",
    files: Files = _model,
    error: type[TrtkitError] = UsageError,
    command: str = "calibrate",
) -> BadInput:
    return BadInput(f"{command} {name}", f"{command} model.onnx {options} -o out", error, message, hint, files)


CASES = (
    _case("nothing to calibrate with", "", "from data or from a TensorRT cache; neither", "--synthetic 64"),
    _case("data and made-up data", "--data a.npy --synthetic 8", "not both", "--data"),
    _case("an unknown method", "--synthetic 8 --method magic", "no calibration method 'magic'", "Choose"),
    _case("another precision", "--synthetic 8 -p fp16", "int8 or fp8 here, not 'fp16'", "Choose"),
    _case("fp8 to a cache", "--synthetic 8 -p fp8 --to-trt-cache c", "hold int8 scales", "fp8 out"),
    _case(
        "a header of no cache", "--synthetic 8 --trt-cache-header TRT-8601-MinMaxCalibration", "none is to be", "Add"
    ),
    _case("a header of nothing", "--synthetic 8 --to-trt-cache c --trt-cache-header x", "'x' is no header", "TRT-8601"),
    _case("a cache and a method", "--from-trt-cache c --method mse", "--method goes with", "leave --method out"),
    _case("a limit of no data", "--from-trt-cache c --limit 3", "--limit goes with --data", "leave --limit out"),
    _case("a missing cache", "--from-trt-cache c", "c cannot be read: No such", "TensorRT", error=CalibrationError),
    _case(
        "a text that is no cache",
        "--from-trt-cache c",
        "c is no TensorRT calibration cache: its first line is 'hello'",
        "write_calibration_cache",
        _text("c", "hello\n"),
        CalibrationError,
    ),
    _case(
        "a cache of another model",
        "--from-trt-cache c",
        "no scale for .* tensors; .* Of its 1 names 1 are no tensors of this model",
        "--exclude",
        _text("c", "TRT-8601-EntropyCalibration2\nstranger: 3c010a14\n"),
        CalibrationError,
    ),
    _case("an exclusion of nothing", "--synthetic 8 --exclude Convv", "'Convv' matches no node", "Conv"),
    _case(
        "a recipe that is none", "--synthetic 8 --recipe r", "unknown key 'colour'", "keys", _text("r", '{"colour": 1}')
    ),
    _case("data that are not there", "--data nowhere", "nowhere does not exist", "a list file", error=CalibrationError),
    _case("images without preparation", "--data photos", "Nothing says how images become", "--preprocess", _pictures),
    _case(
        "images of another size",
        "--data photos --preprocess p.json",
        "crops to 32×32, and the model's input is x float32 N×3×16×16",
        "FILE.json with a crop of the input's height",
        _another_size,
    ),
    _case(
        "images that are none",
        "--data photos --preprocess imagenet",
        "photos holds no usable sample: 4 × not an image",
        "other data",
        _broken_pictures,
        CalibrationError,
    ),
    _case(
        "a value that is not a number",
        "--data a.npy --holdout 0",
        "input 'x' holds NaN in row 4",
        "Remove or repair",
        _arrays(a=_NAN),
        CalibrationError,
    ),
    _case(
        "channels last",
        "--data a.npy",
        "samples of shape 16×16×3, and the model takes",
        r"transpose\(0, 3, 1, 2\)",
        _arrays(a=np.ascontiguousarray(_GOOD.transpose(0, 2, 3, 1))),
        CalibrationError,
    ),
    _case(
        "a single sample",
        "--data a.npy",
        "There is 1 sample: with 1 of them held out, nothing is left",
        "--holdout",
        _arrays(a=_GOOD[:1]),
        CalibrationError,
    ),
    _case("a holdout of one and a half", "--data a.npy --holdout 1.5", "holdout is 1.5", "0.25", _arrays(a=_GOOD)),
    _case("int8 without scales", "--precision int8", "needs thresholds", "--calibration", command="convert"),
    _case(
        "a table of other weights",
        "--precision int8 --calibration t.json --family onnxruntime",
        "made for other weights: for the other with SHA-256 000000000000…, and this model has",
        "--allow-other-weights",
        _other_table("int8"),
        CalibrationError,
        "convert",
    ),
    _case(
        "a table of another type",
        "--precision int8 --calibration t.json --family onnxruntime",
        "is for fp8, and the precision asked for is int8",
        "--precision int8",
        _other_table("fp8"),
        CalibrationError,
        "convert",
    ),
    _case(
        "a table that is none",
        "--precision int8 --calibration t.json --family onnxruntime",
        "t.json.*schema",
        "Calibrate again",
        _text("t.json", '{"hello": 1}'),
        CalibrationError,
        "convert",
    ),
    _case(
        "other weights without a table",
        "--precision int8 --synthetic 8 --allow-other-weights",
        "--allow-other-weights goes with --calibration",
        "leave",
        command="convert",
    ),
    BadInput(
        "calibrate a model with nothing to quantize",
        "calibrate relu.onnx --synthetic 8 -o out",
        ModelError,
        "Nothing in the model can be quantized",
        "--precision fp16",
        lambda folder: onnx.save(
            onnx.helper.make_model(
                onnx.helper.make_graph(
                    [onnx.helper.make_node("Relu", ["x"], ["y"], name="relu")],
                    "g",
                    [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4])],
                    [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 4])],
                ),
                opset_imports=[onnx.helper.make_opsetid("", 17)],
                ir_version=8,
            ),
            folder / "relu.onnx",
        ),
    ),
)
