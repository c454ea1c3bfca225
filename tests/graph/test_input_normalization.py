"""The mean that a model subtracts itself: read in every spelling, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from calibration.preprocess import load_preprocessing
from calibration.suspicion import contradictions
from tests.graph.models import model, tensor, value
from trtkit.graph.input_normalization import InputNormalization, input_normalization

IMAGENET = np.array([123.675, 116.28, 103.53], np.float32)


def chain(*steps: tuple[str, np.ndarray | float | None]) -> onnx.ModelProto:
    """Elementwise steps on a graph input, then a convolution."""
    nodes, constants, name = [], [], "x"
    for number, (op, constant) in enumerate(steps):
        inputs = [name]
        if constant is not None:
            stored = np.asarray(constant, np.float32)
            constants.append(tensor(f"c{number}", stored.reshape(1, 3, 1, 1) if stored.size == 3 else stored))
            inputs.append(f"c{number}")
        name = f"t{number}"
        nodes.append(helper.make_node(op, inputs, [name], name=f"{op}{number}"))
    constants.append(tensor("w", np.ones((4, 3, 1, 1), np.float32)))
    nodes.append(helper.make_node("Conv", [name, "w"], ["y"], name="conv"))
    return model(nodes, [value("x", ("N", 3, 8, 8))], [value("y", ("N", 4, 8, 8))], constants)


@pytest.mark.parametrize(
    ("steps", "highest", "order"),
    [
        ([("Sub", IMAGENET), ("Div", IMAGENET)], 255, "RGB"),
        ([("Identity", None), ("Add", -IMAGENET[::-1])], 255, "BGR"),
        ([("Sub", [104, 117, 123])], 255, "BGR"),
        ([("Div", 255.0), ("Sub", IMAGENET / 255)], 255, "RGB"),
        ([("Mul", 1 / 255), ("Sub", IMAGENET[::-1] / 255)], 255, "BGR"),
        ([("Sub", IMAGENET / 255)], 1, "RGB"),
        ([("Sub", [127.5, 127.5, 127.5])], 255, None),
        ([("Sub", [0.5, 0.5, 0.5])], 1, None),
    ],
)
def test_every_spelling_is_read(steps: list[tuple[str, object]], highest: float, order: str | None) -> None:
    found = input_normalization(chain(*steps), "x")  # type: ignore[arg-type]
    assert found is not None
    assert (found.highest, found.channel_order) == (highest, order)
    assert found.node.startswith(("Sub", "Add"))


@pytest.mark.parametrize(
    "steps",
    [[], [("Relu", None)], [("Sub", 127.5)], [("Mul", IMAGENET)], [("Relu", None), ("Sub", IMAGENET)], [("Div", 0.0)]],
)
def test_nothing_is_read_into_other_models(steps: list[tuple[str, object]]) -> None:
    assert input_normalization(chain(*steps), "x") is None  # type: ignore[arg-type]


def test_an_input_with_two_readers_is_left_alone() -> None:
    twice = chain(("Sub", IMAGENET))
    twice.graph.node.append(helper.make_node("Relu", ["x"], ["z"], name="other"))
    assert input_normalization(twice, "x") is None


def test_a_preprocessing_that_contradicts_is_told() -> None:
    pixels = InputNormalization("sub", (123.675, 116.28, 103.53), 255, "RGB")
    imagenet, caffe, none = (load_preprocessing(name) for name in ("imagenet", "caffe", "none"))
    assert contradictions(pixels, none) == []
    (twice,) = contradictions(pixels, imagenet)
    assert "takes pixels from 0 to 255, and the preprocessing hands it -2.118 to 2.64" in twice
    assert "--preprocess none" in twice
    both = contradictions(pixels, caffe)
    assert len(both) == 2
    assert "in the order RGB, and the preprocessing hands it BGR" in both[1]
    (unit,) = contradictions(InputNormalization("sub", (0.485, 0.456, 0.406), 1, "RGB"), none)
    assert "takes pixels from 0 to 1" in unit
    assert contradictions(InputNormalization("sub", (9.0, 1.0, 5.0), None, None), imagenet) == []
