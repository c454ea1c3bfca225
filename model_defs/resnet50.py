"""ResNet-50 v1.5, MLPerf's reference: stride 2 sits in the 3×3 convolution; torchvision's key names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_defs.definition import IMAGENET_RGB, ModelDef

if TYPE_CHECKING:
    from model_defs.builder import GraphBuilder, Value

__all__ = ["DEFINITION"]

_STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
"""Blocks and bottleneck width of each stage; the stage's output is four times as wide."""

_EPSILON = 1e-5
_LAST_GAMMA = 0.25
"""Seeded gamma at the end of each block. At 1 the activations would grow several hundredfold over the 16 blocks."""


def _network(g: GraphBuilder) -> Value:
    x = g.conv("conv1", g.input, 64, 7, stride=2, pad=3, bias=False, input_std=g.input_std)
    x = g.relu("relu", g.batch_norm("bn1", x, epsilon=_EPSILON))
    x = g.max_pool("maxpool", x, 3, stride=2, pad=1)
    for stage, (blocks, width) in enumerate(_STAGES, start=1):
        for block in range(blocks):
            x = _bottleneck(g, f"layer{stage}.{block}", x, width, stride=2 if stage > 1 and block == 0 else 1)
    x = g.flatten("flatten", g.global_average_pool("avgpool", x))
    return g.linear("fc", x, 1000)


def _bottleneck(g: GraphBuilder, block: str, x: Value, width: int, *, stride: int) -> Value:
    y = g.conv(f"{block}.conv1", x, width, 1, bias=False)
    y = g.relu(f"{block}.relu", g.batch_norm(f"{block}.bn1", y, epsilon=_EPSILON))
    y = g.conv(f"{block}.conv2", y, width, 3, stride=stride, pad=1, bias=False)
    y = g.relu(f"{block}.relu_1", g.batch_norm(f"{block}.bn2", y, epsilon=_EPSILON))
    y = g.conv(f"{block}.conv3", y, 4 * width, 1, bias=False)
    y = g.batch_norm(f"{block}.bn3", y, epsilon=_EPSILON, gamma=_LAST_GAMMA)
    if x.shape != y.shape:
        x = g.conv(f"{block}.downsample.0", x, 4 * width, 1, stride=stride, bias=False)
        x = g.batch_norm(f"{block}.downsample.1", x, epsilon=_EPSILON)
    return g.relu(f"{block}.relu_2", g.add(f"{block}.add", y, x))


DEFINITION = ModelDef(
    name="resnet50",
    summary="ResNet-50 v1.5 (stride in the 3×3 convolution), as in MLPerf Inference; ends in logits. "
    "Fits torchvision weights.",
    source="He et al., arXiv:1512.03385; torchvision/models/resnet.py",
    input_shape=(3, 224, 224),
    value_range=IMAGENET_RGB.value_range,
    preprocessing=IMAGENET_RGB,
    input_std=1.0,
    classes=1000,
    parameters=25_557_032,
    macs=4_089_184_256,
    output_name="logits",
    network=_network,
    ignored_keys=(r".+\.num_batches_tracked",),
)
