"""AlexNet as Krizhevsky trained it and Caffe published it: two groups, local response normalisation, 3×227×227."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_defs.definition import ModelDef
from trtkit.artifacts.preprocessing import Preprocessing

if TYPE_CHECKING:
    from model_defs.builder import GraphBuilder, Value

__all__ = ["DEFINITION"]

_PREPROCESSING = Preprocessing(
    resize=256,
    crop=(227, 227),
    channel_order="BGR",
    # Channel means of the prototxt's mean_file, imagenet_mean.binaryproto, as Caffe's classification example uses them.
    mean=(104.00698793, 116.66876762, 122.67891434),
    std=(1.0, 1.0, 1.0),
    resize_mode="stretch",
)


def _network(g: GraphBuilder) -> Value:
    x = g.conv("conv1", g.input, 96, 11, stride=4, input_std=g.input_std)
    x = _norm_pool(g, 1, g.relu("relu1", x))
    x = g.conv("conv2", x, 256, 5, pad=2, groups=2)
    x = _norm_pool(g, 2, g.relu("relu2", x))
    x = g.relu("relu3", g.conv("conv3", x, 384, 3, pad=1))
    x = g.relu("relu4", g.conv("conv4", x, 384, 3, pad=1, groups=2))
    x = g.relu("relu5", g.conv("conv5", x, 256, 3, pad=1, groups=2))
    x = g.max_pool("pool5", x, 3, stride=2)
    x = g.flatten("flatten", x)
    x = g.relu("relu6", g.linear("fc6", x, 4096, rectified=True))
    x = g.relu("relu7", g.linear("fc7", x, 4096, rectified=True))
    return g.softmax("prob", g.linear("fc8", x, 1000))


def _norm_pool(g: GraphBuilder, number: int, x: Value) -> Value:
    x = g.lrn(f"norm{number}", x, size=5, alpha=1e-4, beta=0.75, bias=1.0)
    return g.max_pool(f"pool{number}", x, 3, stride=2)


DEFINITION = ModelDef(
    name="alexnet",
    summary="AlexNet of 2012 in Caffe's form: two groups, LRN before pooling; ends in Softmax. Fits BVLC weights.",
    source="Krizhevsky, Sutskever, Hinton, NIPS 2012; BVLC Caffe models/bvlc_alexnet/deploy.prototxt",
    input_name="data",
    input_shape=(3, 227, 227),
    value_range=_PREPROCESSING.value_range,
    preprocessing=_PREPROCESSING,
    input_std=58.0,  # 255 times torchvision's ImageNet std, averaged over the channels
    classes=1000,
    parameters=60_965_224,
    macs=724_406_816,
    output_name="prob",
    network=_network,
)
