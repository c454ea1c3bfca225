"""SqueezeNet 1.1: fire modules, a convolution as classifier, 3×224×224; torchvision's key names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_defs.definition import IMAGENET_RGB, ModelDef

if TYPE_CHECKING:
    from model_defs.builder import GraphBuilder, Value

__all__ = ["DEFINITION"]

# Index in torchvision's `features`: (squeeze channels, channels of each of the two expand convolutions), or a pooling.
_FEATURES: dict[int, tuple[int, int] | None] = {
    2: None,
    3: (16, 64),
    4: (16, 64),
    5: None,
    6: (32, 128),
    7: (32, 128),
    8: None,
    9: (48, 192),
    10: (48, 192),
    11: (64, 256),
    12: (64, 256),
}


def _network(g: GraphBuilder) -> Value:
    x = g.conv("features.0", g.input, 64, 3, stride=2, input_std=g.input_std)
    x = g.relu("features.1", x)
    for index, channels in _FEATURES.items():
        if channels is None:
            x = g.max_pool(f"features.{index}", x, 3, stride=2, ceil=True)
        else:
            x = _fire(g, f"features.{index}", x, *channels)
    x = g.relu("classifier.2", g.conv("classifier.1", x, 1000, 1))
    return g.flatten("flatten", g.global_average_pool("classifier.3", x))


def _fire(g: GraphBuilder, block: str, x: Value, squeeze: int, expand: int) -> Value:
    x = g.relu(f"{block}.squeeze_activation", g.conv(f"{block}.squeeze", x, squeeze, 1))
    one = g.relu(f"{block}.expand1x1_activation", g.conv(f"{block}.expand1x1", x, expand, 1))
    three = g.relu(f"{block}.expand3x3_activation", g.conv(f"{block}.expand3x3", x, expand, 3, pad=1))
    return g.concat(f"{block}.cat", [one, three])


DEFINITION = ModelDef(
    name="squeezenet1_1",
    summary="SqueezeNet 1.1: small, no fully connected layer; ends in logits, averaged after a ReLU. "
    "Fits torchvision weights.",
    source="Iandola et al., arXiv:1602.07360; torchvision/models/squeezenet.py",
    input_shape=(3, 224, 224),
    value_range=IMAGENET_RGB.value_range,
    preprocessing=IMAGENET_RGB,
    input_std=1.0,
    classes=1000,
    parameters=1_235_496,
    macs=349_151_936,
    output_name="logits",
    network=_network,
)
