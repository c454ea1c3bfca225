"""Rewrites that do not exist, do not go together, or would write where they must not."""

from __future__ import annotations

from pathlib import Path

from tests.bad_inputs.case import BadInput, Files, onnx_file
from tests.graph.models import relu
from trtkit.errors import CalibrationError, ModelError, TrtkitError, UsageError

__all__ = ["CASES"]

_MODEL = onnx_file(relu)


def _taken(folder: Path) -> None:
    _MODEL(folder)
    (folder / "taken.onnx").write_bytes(b"someone's")


def _tabled(rewrites: str) -> Files:
    def write(folder: Path) -> None:
        _MODEL(folder)
        (folder / "t.json").write_text(
            '{"schema": 2, "model": "m", "model_sha256": "0", "dtype": "int8", "method": "minmax", "tensors": {}, '
            f'"samples": 8, "transforms": [], "rewrites": {rewrites}}}'
        )

    return write


def _case(
    name: str,
    command: str,
    message: str,
    hint: str = ".",
    *,
    error: type[TrtkitError] = UsageError,
    files: Files = _MODEL,
) -> BadInput:
    return BadInput(f"rewrite {name}", command, error, message, hint, files)


CASES = (
    _case("unknown", "convert model.onnx --rewrite lrn_bond", "There is no rewrite 'lrn_bond'", "'lrn_band'"),
    _case("twice", "convert model.onnx --rewrite lrn_band,lrn_band", "is there twice", "once"),
    _case("safe and more", "convert model.onnx --rewrite safe,lrn_band", "neither one of none, safe, auto", "lrn_band"),
    _case("nothing", "convert model.onnx --rewrite ,", "neither one of none, safe, auto", "lrn_band"),
    _case("interface", "convert model.onnx --rewrite uint8_nhwc_input", "changes the model's inputs", "optimize"),
    _case("time alone", "convert model.onnx --rewrite-time 9", "--rewrite-time goes with --rewrite auto", "Add"),
    _case(
        "auto without plans",
        "calibrate model.onnx --synthetic 8 --rewrite auto",
        "calibrate builds none",
        "trtkit convert",
    ),
    _case("of a plan", "bench model.onnx --device cpu --rewrite lrn_bond", "no rewrite 'lrn_bond'", "'lrn_band'"),
    _case("table", "convert model.onnx -p int8 --calibration t.json", "no calibration table",
          error=CalibrationError, files=_tabled("3")),
    _case("lost place", "convert model.onnx -p int8 --family onnxruntime --calibration t.json",
          "made behind the rewrite lrn_band at norm1, which cannot be done again at norm1", "--rewrite none",
          error=CalibrationError, files=_tabled('{"lrn_band": ["norm1"]}')),
    _case("optimize without a file", "optimize model.onnx", "no.* was named", "-o faster.onnx"),
    _case("optimize no onnx", "optimize model.onnx -o faster.plan", r"does not end in \.onnx", "-o faster.onnx"),
    _case("optimize over its source", "optimize model.onnx -o model.onnx", "written over its source", "-o"),
    _case("optimize over another", "optimize model.onnx -o taken.onnx", "no report beside it", "--force", files=_taken),
    _case("optimize for nobody", "optimize model.onnx -o f.onnx --for tensorflow", "no family 'tensorflow'", ":cpu"),
    _case("optimize for no place", "optimize model.onnx -o f.onnx --for onnxruntime:tpu", "not run on 'tpu'", ":cuda"),
    _case("optimize no data", "optimize model.onnx -o f.onnx --data gone.npz", "is no file", r"\.npz"),
    _case("optimize time alone", "optimize model.onnx -o f.onnx --rewrite-time 9", "goes with --rewrite auto", "Add"),
    _case("optimize a missing file", "optimize gone.onnx -o f.onnx --for tensorrt", "does not exist", error=ModelError),
)  # fmt: skip
