"""Refusals of TensorRT's ONNX parser in words; the lines are those of TensorRT-RTX 1.7.1 and TensorRT 11."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tests.graph.models import model, value
from trtkit.backends.trt_log import LogBook
from trtkit.backends.trt_parse import parse_error
from trtkit.errors import ModelError, TrtkitError


def lines(op: str, name: str, reason: str) -> tuple[str, ...]:
    return (
        f'ModelImporter.cpp:140: While parsing node number 12 [{op} -> "y"]:',
        f"ModelImporter.cpp:142: --- Begin node ---\nNode name: {name}",
        "ModelImporter.cpp:143: --- End node ---",
        f"ModelImporter.cpp:151: ERROR: {reason}",
    )


def refused(folder: Path, *errors: str) -> TrtkitError:
    book = LogBook()
    for text in errors:
        book.write("error", text)
    nodes = [
        helper.make_node("Cast", ["x"], ["d"], name="cast", to=TensorProto.UINT16),
        helper.make_node("Cast", ["d"], ["y"], name="back; 1", to=TensorProto.FLOAT),
    ]
    onnx.save(model(nodes, [value("x", ("N", 3))], [value("y", ("N", 3))]), folder / "m.onnx")
    return parse_error(book, "Polygraphy's\n words", "TensorRT 11.4.0.106", folder / "m.onnx")


NO_TYPE = (
    'onnxOpCheckers.cpp:241 In function checkCast:\n[6] convertDtype(onnxType, &newType) && "Unsupported data type!"'
)
NO_PLUGIN = (
    "onnxOpImporters.cpp:9100 In function importNonZero:\n[8] Assertion failed: creator && "
    "getPluginCreatorVersion(creator) == CreatorVersion::kV3ONE: NonZero plugin creator version 1 was not found in "
    "plugin registry."
)
NO_MODE = (
    'onnxOpCheckers.cpp:741 In function checkResize:\n[8] (mode == "align_corners" || mode == "half_pixel") && '
    '"TensorRT only supports half_pixel and " "align_corners!"'
)
ONE_LINE = (
    "In node 3 with name: head/foo and operator: Foo (checkFallbackPluginImporter): INVALID_NODE: creator && "
    '"Plugin not found, are the plugin name, version, and namespace correct?"'
)


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (
            lines("Cast", "cast", NO_TYPE),
            " at node 'cast' (operator Cast, float32 → uint16): it does not support this operator with these data "
            "types: Unsupported data type",
        ),
        (
            lines("NonZero", "where", NO_PLUGIN),
            " at node 'where' (operator NonZero): it has no implementation of this operator: NonZero plugin creator "
            "version 1 was not found in plugin registry",
        ),
        (
            lines("Resize", "rs", NO_MODE),
            " at node 'rs' (operator Resize): it does not support this operator in this form: TensorRT only supports "
            "half_pixel and align_corners",
        ),
        (
            lines("Cast", "back; 1", "onnxOpCheckers.cpp:1130 In function checkCast:\n[8] false"),
            " at node 'back; 1' (operator Cast, uint16 → float32): it does not support this operator in this form",
        ),
        ((ONE_LINE,), f" at node 'head/foo' (operator Foo): {ONE_LINE}"),
        (("something else",), ": something else"),
        ((), ": Polygraphy's words"),
    ],
)
def test_a_refusal_names_node_operator_types_and_why(errors: tuple[str, ...], words: str, tmp_path: Path) -> None:
    error = refused(tmp_path, *errors)
    assert isinstance(error, ModelError)
    assert error.message == f"TensorRT 11.4.0.106 cannot parse m.onnx{words}"
    assert "onnxruntime" in error.hint and "--verbose" in error.hint


def test_the_parsers_own_words_are_one_line_in_the_log(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, *lines("Resize", "rs", NO_MODE), *lines("Resize", "rs", NO_MODE)).log
    assert line == " ".join(NO_MODE.split())
    assert refused(tmp_path, "a", "b").log == ("a", "b"), "what was not understood is shown whole"


def test_a_model_that_cannot_be_read_hides_no_reason(tmp_path: Path) -> None:
    book = LogBook()
    for text in lines("Cast", "cast", NO_TYPE):
        book.write("error", text)
    message = parse_error(book, "", "TensorRT 11", tmp_path / "gone.onnx").message
    assert "at node 'cast' (operator Cast): it does not support" in message
