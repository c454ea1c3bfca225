"""Inputs as uint8, channels last: the same numbers behind them, the interface changed only where it should be."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from tests.graph.rewrites.oracle import applied, net, node, normal, ops, relative_l2, run
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.graph.io import specs
from trtkit.graph.pixels import normalized
from trtkit.graph.rewrites import ALL, apply_all, safe
from trtkit.graph.rewrites.uint8_nhwc_input import Uint8NhwcInput

IMAGENET = Preprocessing(32, (16, 16), "RGB", (124.0, 116.0, 104.0), (58.0, 57.0, 57.0), scale=0.5)


def image_net(pads=0, shape=("N", 3, 16, 16)):
    weights = {"w": normal(8, 3, 3, 3), "b": normal(8)}
    nodes = [node("Conv", ["x", "w", "b"], "c", "conv1", pads=[pads] * 4), node("Relu", ["c"], "y", "relu1")]
    return net(nodes, {"x": shape}, weights)


@pytest.mark.parametrize("preprocessing", [None, IMAGENET])
@pytest.mark.parametrize("pads", [0, 1])
def test_pixels_give_what_normalised_images_gave(preprocessing, pads):
    source = image_net(pads)
    result = applied(Uint8NhwcInput(preprocessing), source)
    assert [(spec.dtype, spec.shape) for spec in specs(result.model)[0]] == [("uint8", ("N", 16, 16, 3))]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    want = run(source, {"x": normalized(pixels, 1, preprocessing)})[0]
    folded, _ = apply_all(result.model, ["fold_batchnorm"])
    for model in (result.model, folded):
        assert relative_l2(want, run(model, {"x": pixels})[0]) < 1e-5
    left = ["Cast", "Transpose", *(["Sub"] if preprocessing and pads else []), "Conv", "Relu"]
    assert ops(folded) == left


def test_channels_last_models_are_only_cast():
    source = net([node("Add", ["x", "k"], "y")], {"x": ("N", 8, 9, 3)}, {"k": normal(3)})
    result = applied(Uint8NhwcInput(), source)
    assert ops(result.model) == ["Cast", "Add"]
    assert specs(result.model)[0][0].shape == ("N", 8, 9, 3)


def test_several_readers_read_the_same_pixels():
    nodes = [node("Relu", ["x"], "a"), node("Add", ["a", "x"], "y")]
    result = applied(Uint8NhwcInput(IMAGENET), net(nodes, {"x": ("N", 3, 4, 4)}))
    assert ops(result.model) == ["Cast", "Transpose", "Sub", "Mul", "Relu", "Add"]


@pytest.mark.parametrize("shape", [("N", 3), ("N", 5, 4, 4), ("N", 3, 4)])
def test_what_is_no_image_stays(shape):
    assert not Uint8NhwcInput().apply(net([node("Relu", ["x"], "y")], {"x": shape})).modified


def test_it_has_to_be_asked_for():
    rewrite = ALL["uint8_nhwc_input"]
    assert rewrite.changes_interface and rewrite.name not in safe("tensorrt-rtx")
    assert [name for name, item in ALL.items() if item.changes_interface] == [rewrite.name]
    cast = applied(rewrite, image_net()).model.graph.node[0]
    assert cast.attribute[0].i == TensorProto.FLOAT
