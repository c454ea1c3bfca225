"""Command lines that contradict themselves or the model."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper

from tests.bad_inputs.case import BadInput, onnx_file
from tests.graph.models import model, relu, value
from trtkit.errors import TrtkitError, UsageError

__all__ = ["CASES", "REFUSED_BY_FAMILY"]

_DYNAMIC = onnx_file(relu)
_STATIC = onnx_file(lambda: relu(inputs=[value("x", (1, 4))], outputs=[value("y", (1, 4))]))
_TWO_DYNAMIC = onnx_file(
    lambda: model(
        [helper.make_node("Add", ["x", "z"], ["y"], name="add")],
        [value("x", ("N", 3, "H")), value("z", ("N", 3, "H"))],
        [value("y", ("N", 3, "H"))],
    )
)


def _case(
    name: str,
    options: str,
    message: str,
    hint: str = ".",
    files: object = _DYNAMIC,
    error: type[TrtkitError] = UsageError,
) -> BadInput:
    return BadInput(name, f"convert model.onnx {options}", error, message, hint, files)  # type: ignore[arg-type]


def _output_is_a_file(folder: Path) -> None:
    _DYNAMIC(folder)
    (folder / "taken").touch()


def _source_would_be_overwritten(folder: Path) -> None:
    onnx_file(relu, "model.fp32.onnx")(folder)
    with (folder / "model.fp32.onnx").open("ab") as file:  # the same model in other bytes
        file.write(onnx.ModelProto(producer_name="again").SerializeToString())


CASES = (
    BadInput("no source", "convert", UsageError, "Missing argument", "trtkit convert --help"),
    BadInput("unknown command", "konvert x.onnx", UsageError, "No such command 'konvert'", "trtkit --help"),
    _case("unknown option", "--fast", "No such option: --fast", "trtkit convert --help"),
    _case("unknown precision", "--precision fp99", "no precision 'fp99'; allowed: fp32, tf32, fp16", "Choose"),
    _case("unknown family", "--family openvino", "no family 'openvino'", "tensorrt-rtx"),
    _case("family of the tests", "--family null", "no family 'null'", "tensorrt-rtx, onnxruntime, or auto"),
    _case("agreement above 1", "--agreement 2", "--agreement': .* 1", "--help"),
    _case("agreement no number", "--agreement nan", "--agreement( nan is no share|': )", "."),
    _case("require-int8 without int8", "--require-int8 1", "--require-int8 counts .* precision is fp32", "int8"),
    _case("require-int8 no number", "-p int8 --require-int8 nan", "--require-int8( nan is no share|': )", "."),
    _case("limit without data", "-p int8 --limit 8", "--limit goes with --data or --synthetic", "leave --limit out"),
    _case("resume without data", "-p int8 --resume", "--resume goes with --data", "leave --resume out"),
    _case("method with a table", "-p int8 --calibration t.json --method mse", "--method goes with --data", "--method"),
    _case("exclude without scales", "-p int8 --exclude Gemm", "--exclude goes with .* or --calibration", "--exclude"),
    _case("table and data", "-p int8 --calibration t.json --synthetic 8", "--calibration is a table", "one of them"),
    _case("fp16-io without fp16", "--fp16-io", "--fp16-io .* the precision is fp32", "--precision fp16"),
    _case("batch out of order", "--batch 8:4:16", "--batch 8:4:16 is not in order", "--batch 4:8:16"),
    _case("batch zero", "--batch 0", "a size of 0 is not possible"),
    _case("batch negative", "--batch=-1", "a size of -1 is not possible"),
    _case("batch no number", "--batch big", "'big' is not a whole number"),
    _case("batch of two", "--batch 1:8", "has 2 numbers; it takes MIN:OPT:MAX"),
    _case("batch of a fixed model", "--batch 4", "no dynamic batch axis.*'x' 1x4", "Leave --batch out", _STATIC),
    _case("open dimension", "", "'x' .* without a range: H", "--shapes 'x=1x3xH:32x3xH:128x3xH'", _TWO_DYNAMIC),
    _case("shapes of no input", "--shapes imput=1x4", "no input 'imput'. Its inputs are: 'x' Nx4", "--shapes"),
    _case("shapes without a name", "--shapes 1x4", "not of the form NAME=SHAPE", "--shapes 'x=1x4:32x4:128x4'"),
    _case("shapes of a wrong rank", "--shapes x=1x4x4", "has 3 dimensions, .* has 2: Nx4", "--shapes"),
    _case("shapes against a fixed size", "--shapes x=1x5", "dimension 1 .* fixed at 4 .* cannot be 5", "Write 4"),
    _case("shapes out of order", "--shapes x=4x4:2x4:8x4", "not in order: dimension 0 goes 4, 2, 8"),
    _case("shapes twice", "--shapes x=1x4 --shapes x=2x4", "names the input 'x' twice", "one --shapes"),
    _case(
        "shapes that contradict",
        "--shapes x=1x3x8 --shapes z=1x3x9",
        "'H' has one size .* 8:8:8 from --shapes for 'x' .* 9:9:9 from --shapes for 'z'",
        "same MIN:OPT:MAX",
        _TWO_DYNAMIC,
    ),
    _case("workspace", "--workspace lots", "'lots' is not a size", "512MiB"),
    _case(
        "optimization level", "--optimization-level 9", "--optimization-level': .* less than or equal to 5", "--help"
    ),
    _case("hardware compatibility", "--hardware-compatibility all", "not 'all'", "Choose one"),
    _case("compute capability", "--family tensorrt-rtx --compute-capability ampere", "ampere", "."),
    _case("output is a file", "--output taken", "taken", "folder", _output_is_a_file),
    _case("weights of a file", "--weights w.npz", "a file that holds its own weights", "Leave --weights out"),
    _case("seed no number", "--seed one", "--seed': .* valid integer", "--help"),
    BadInput(
        "source would be overwritten",
        "convert model.fp32.onnx --family onnxruntime",
        UsageError,
        "written over its source",
        "another folder",
        _source_would_be_overwritten,
    ),
    BadInput("export of no definition", "export vgg", UsageError, "vgg.*alexnet", "."),
    BadInput("export of a file", "export model.onnx", UsageError, "is an ONNX file already", "trtkit convert"),
    BadInput(
        "export to another format",
        "export squeezenet1_1 --output x.pt",
        UsageError,
        r"ends in \.onnx, not x\.pt",
        r"x\.pt\.onnx",
    ),
)

REFUSED_BY_FAMILY = (
    _case("timing cache", "--family onnxruntime --timing-cache t", "--timing-cache cannot .* onnxruntime", "."),
    _case("sparse weights", "--family onnxruntime --sparse-weights", "--sparse-weights cannot .* onnxruntime", "."),
    _case("refit", "--family onnxruntime --refit", "--refit cannot .* onnxruntime", "."),
)
"""Options that ONNX Runtime, which is installed everywhere, cannot honour."""
