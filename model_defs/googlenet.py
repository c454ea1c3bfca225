"""GoogLeNet as Caffe published it: local response normalisation, 5×5 branches, no auxiliary heads, 3×224×224."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_defs.definition import ModelDef
from trtkit.artifacts.preprocessing import Preprocessing

if TYPE_CHECKING:
    from model_defs.builder import GraphBuilder, Value

__all__ = ["DEFINITION"]

_PREPROCESSING = Preprocessing(
    resize=256,
    crop=(224, 224),
    channel_order="BGR",
    mean=(104.0, 117.0, 123.0),
    std=(1.0, 1.0, 1.0),
    resize_mode="stretch",
)

# Channels of: 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5, pool_proj (table 1 of the paper).
_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
_POOL_AFTER = {"3b": "pool3/3x3_s2", "4e": "pool4/3x3_s2"}


def _network(g: GraphBuilder) -> Value:
    x = g.conv("conv1/7x7_s2", g.input, 64, 7, stride=2, pad=3, input_std=g.input_std)
    x = g.relu("conv1/relu_7x7", x)
    x = g.max_pool("pool1/3x3_s2", x, 3, stride=2, ceil=True)
    x = g.lrn("pool1/norm1", x, size=5, alpha=1e-4, beta=0.75, bias=1.0)
    x = _conv_relu(g, "conv2", "3x3_reduce", x, 64, 1)
    x = _conv_relu(g, "conv2", "3x3", x, 192, 3)
    x = g.lrn("conv2/norm2", x, size=5, alpha=1e-4, beta=0.75, bias=1.0)
    x = g.max_pool("pool2/3x3_s2", x, 3, stride=2, ceil=True)
    for block, channels in _INCEPTIONS.items():
        x = _inception(g, f"inception_{block}", x, channels)
        if block in _POOL_AFTER:
            x = g.max_pool(_POOL_AFTER[block], x, 3, stride=2, ceil=True)
    x = g.flatten("flatten", g.average_pool("pool5/7x7_s1", x, 7))
    return g.softmax("prob", g.linear("loss3/classifier", x, 1000))


def _inception(g: GraphBuilder, block: str, x: Value, channels: tuple[int, int, int, int, int, int]) -> Value:
    one, reduce3, three, reduce5, five, projection = channels
    branch1 = _conv_relu(g, block, "1x1", x, one, 1)
    branch3 = _conv_relu(g, block, "3x3", _conv_relu(g, block, "3x3_reduce", x, reduce3, 1), three, 3)
    branch5 = _conv_relu(g, block, "5x5", _conv_relu(g, block, "5x5_reduce", x, reduce5, 1), five, 5)
    pooled = g.max_pool(f"{block}/pool", x, 3, stride=1, pad=1)
    branch_pool = _conv_relu(g, block, "pool_proj", pooled, projection, 1)
    return g.concat(f"{block}/output", [branch1, branch3, branch5, branch_pool])


def _conv_relu(g: GraphBuilder, block: str, layer: str, x: Value, channels: int, kernel: int) -> Value:
    x = g.conv(f"{block}/{layer}", x, channels, kernel, pad=kernel // 2)
    return g.relu(f"{block}/relu_{layer}", x)


DEFINITION = ModelDef(
    name="googlenet",
    summary="GoogLeNet of 2014 in Caffe's form: LRN, 5×5 branches, no auxiliary heads; ends in Softmax. "
    "Fits BVLC weights.",
    source="Szegedy et al., arXiv:1409.4842; BVLC Caffe models/bvlc_googlenet/deploy.prototxt",
    input_name="data",
    input_shape=(3, 224, 224),
    value_range=_PREPROCESSING.value_range,
    preprocessing=_PREPROCESSING,
    input_std=58.0,  # 255 times torchvision's ImageNet std, averaged over the channels
    classes=1000,
    parameters=6_998_552,
    macs=1_582_671_872,
    output_name="prob",
    network=_network,
)
