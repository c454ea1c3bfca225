"""AlexNet as torchvision has it: one column of 2014, no groups, no LRN, 3×224×224; torchvision's own key names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_defs.definition import IMAGENET_RGB, ModelDef

if TYPE_CHECKING:
    from model_defs.builder import GraphBuilder, Value

__all__ = ["DEFINITION"]


def _network(g: GraphBuilder) -> Value:
    x = g.conv("features.0", g.input, 64, 11, stride=4, pad=2, input_std=g.input_std)
    x = g.max_pool("features.2", g.relu("features.1", x), 3, stride=2)
    x = g.conv("features.3", x, 192, 5, pad=2)
    x = g.max_pool("features.5", g.relu("features.4", x), 3, stride=2)
    x = g.relu("features.7", g.conv("features.6", x, 384, 3, pad=1))
    x = g.relu("features.9", g.conv("features.8", x, 256, 3, pad=1))
    x = g.relu("features.11", g.conv("features.10", x, 256, 3, pad=1))
    x = g.max_pool("features.12", x, 3, stride=2)
    # torchvision's adaptive pooling to 6×6 follows here: of a 6×6 map it is the identity.
    x = g.flatten("flatten", x)
    x = g.relu("classifier.2", g.linear("classifier.1", x, 4096, rectified=True))
    x = g.relu("classifier.5", g.linear("classifier.4", x, 4096, rectified=True))
    return g.linear("classifier.6", x, 1000)


DEFINITION = ModelDef(
    name="alexnet_torchvision",
    summary="AlexNet in torchvision's form: no groups, no LRN; ends in logits. Fits torchvision weights.",
    source="Krizhevsky, arXiv:1404.5997; torchvision/models/alexnet.py",
    input_shape=(3, 224, 224),
    value_range=IMAGENET_RGB.value_range,
    preprocessing=IMAGENET_RGB,
    input_std=1.0,
    classes=1000,
    parameters=61_100_840,
    macs=714_188_480,
    output_name="logits",
    network=_network,
)
