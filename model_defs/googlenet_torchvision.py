"""GoogLeNet as torchvision has it: BatchNorm, 3×3 where the paper has 5×5, input transform; torchvision's key names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_defs.definition import IMAGENET_RGB, ModelDef

if TYPE_CHECKING:
    from model_defs.builder import GraphBuilder, Value

__all__ = ["DEFINITION"]

# Channels of branch1, branch2.0, branch2.1, branch3.0, branch3.1, branch4.1.
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
_EPSILON = 1e-3


def _network(g: GraphBuilder) -> Value:
    # transform_input: from ImageNet's mean and std to (x - 0.5) / 0.5, the convention of the original weights.
    x = g.per_channel("transform_input.scale", g.input, "Mul", [std / 0.5 for std in (0.229, 0.224, 0.225)])
    x = g.per_channel("transform_input.shift", x, "Add", [(mean - 0.5) / 0.5 for mean in (0.485, 0.456, 0.406)])
    x = _basic_conv(g, "conv1", x, 64, 7, stride=2, input_std=g.input_std * 0.226 / 0.5)
    x = g.max_pool("maxpool1", x, 3, stride=2, ceil=True)
    x = _basic_conv(g, "conv2", x, 64, 1)
    x = _basic_conv(g, "conv3", x, 192, 3)
    x = g.max_pool("maxpool2", x, 3, stride=2, ceil=True)
    for block, channels in _INCEPTIONS.items():
        x = _inception(g, f"inception{block}", x, channels)
        if block == "3b":
            x = g.max_pool("maxpool3", x, 3, stride=2, ceil=True)
        elif block == "4e":
            x = g.max_pool("maxpool4", x, 2, stride=2, ceil=True)
    x = g.flatten("flatten", g.global_average_pool("avgpool", x))
    return g.linear("fc", x, 1000)


def _inception(g: GraphBuilder, block: str, x: Value, channels: tuple[int, int, int, int, int, int]) -> Value:
    one, reduce3, three, reduce5, five, projection = channels
    branch1 = _basic_conv(g, f"{block}.branch1", x, one, 1)
    branch2 = _basic_conv(g, f"{block}.branch2.1", _basic_conv(g, f"{block}.branch2.0", x, reduce3, 1), three, 3)
    branch3 = _basic_conv(g, f"{block}.branch3.1", _basic_conv(g, f"{block}.branch3.0", x, reduce5, 1), five, 3)
    # torchvision sets ceil_mode here too; with stride 1 it changes nothing.
    pooled = g.max_pool(f"{block}.branch4.0", x, 3, stride=1, pad=1)
    branch4 = _basic_conv(g, f"{block}.branch4.1", pooled, projection, 1)
    return g.concat(f"{block}.cat", [branch1, branch2, branch3, branch4])


def _basic_conv(
    g: GraphBuilder, name: str, x: Value, channels: int, kernel: int, *, stride: int = 1, input_std: float = 1.0
) -> Value:
    x = g.conv(f"{name}.conv", x, channels, kernel, stride=stride, pad=kernel // 2, bias=False, input_std=input_std)
    return g.relu(f"{name}.relu", g.batch_norm(f"{name}.bn", x, epsilon=_EPSILON))


DEFINITION = ModelDef(
    name="googlenet_torchvision",
    summary="GoogLeNet in torchvision's form: BatchNorm, 3×3 for 5×5, input transform inside, no auxiliary heads; "
    "ends in logits. Fits torchvision weights.",
    source="Szegedy et al., arXiv:1409.4842; torchvision/models/googlenet.py",
    input_shape=(3, 224, 224),
    value_range=IMAGENET_RGB.value_range,
    preprocessing=IMAGENET_RGB,
    input_std=1.0,
    classes=1000,
    parameters=6_624_904,
    macs=1_498_376_192,
    output_name="logits",
    network=_network,
    ignored_keys=(r"aux[12]\..+", r".+\.num_batches_tracked"),
)
