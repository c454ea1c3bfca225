"""Random small convolutional nets made of what the rewrites look for, and of what only resembles it."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto

from tests.graph.rewrites.oracle import net, node

LAST, FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


class Writer:
    """Appends blocks to a graph; every block takes an image and leaves one of at least 4×4."""

    def __init__(self, draw) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 1000)))
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.name, self.channels = "x", draw(st.sampled_from([3, 4]))
        self.size = (draw(st.integers(14, 18)), draw(st.integers(14, 18)))
        self.shape = ("N", self.channels, *self.size)

    def put(self, op, inputs, **attributes) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(node(op, inputs, name, f"n_{name}", **attributes))
        return name

    def stored(self, values, dtype=np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(values, dtype)
        return name

    def normal(self, *shape, scale=1.0) -> str:
        return self.stored(self.rng.standard_normal(shape) * scale)

    def conv(self, source=None, *, kernel=None, outputs=None, stride=1, group=1) -> str:
        inputs, draw = self.channels, self.draw
        kernel = kernel or draw(st.sampled_from([1, 2, 3]))
        outputs = outputs or draw(st.sampled_from([4, 6, 8]))
        pads = draw(st.lists(st.integers(0, kernel - 1), min_size=4, max_size=4)) if kernel > 1 else [0] * 4
        given = [self.normal(outputs, inputs // group, kernel, kernel, scale=(inputs * kernel**2 / group) ** -0.5)]
        if draw(st.booleans()):
            given.append(self.normal(outputs))
        attributes = {"strides": [stride] * 2, "pads": pads, **({"group": group} if group > 1 else {})}
        made = self.put("Conv", [source or self.name, *given], **attributes)
        if source is None:
            self.name, self.channels = made, outputs
            sizes = zip(self.size, pads[:2], pads[2:], strict=True)
            self.size = tuple((n + a + b - kernel) // stride + 1 for n, a, b in sizes)
        return made

    def block(self, kind: str) -> None:
        c, x, draw = self.channels, self.name, self.draw
        if kind == "conv":
            self.conv()
        elif kind == "strided" and min(self.size) > 7:
            self.conv(stride=2)
        elif kind == "groups" and c % 2 == 0:
            self.conv(group=2, outputs=8)
        elif kind == "wide groups":
            self.conv(kernel=1, outputs=16)
            self.conv(group=2, outputs=8)
        elif kind == "norm":
            numbers = [self.normal(c), self.normal(c), self.normal(c), self.stored(self.rng.uniform(0.5, 2, c))]
            self.name = self.put("BatchNormalization", [x, *numbers])
        elif kind == "arithmetic":
            op, number = draw(st.sampled_from(["Mul", "Add", "Sub", "Div"])), self.rng.uniform(0.5, 2, (c, 1, 1))
            self.name = self.put(op, [x, self.stored(number)])
        elif kind == "lrn":
            self.name = self.put("LRN", [x], size=draw(st.sampled_from([3, 5])), alpha=0.1)
        elif kind == "pool" and min(self.size) > 5:
            self.name = self.put(draw(st.sampled_from(["MaxPool", "AveragePool"])), [x], kernel_shape=[2, 2])
            self.size = tuple(n - 1 for n in self.size)
        elif kind == "pad":
            pads = draw(st.lists(st.integers(0, 1), min_size=4, max_size=4))
            self.name = self.put("Pad", [x, self.stored([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)])
            self.size = tuple(n + a + b for n, a, b in zip(self.size, pads[:2], pads[2:], strict=True))
        elif kind == "idle":
            op = draw(st.sampled_from(["Identity", "Dropout", "Cast"]))
            self.name = self.put(op, [x], **({"to": TensorProto.FLOAT} if op == "Cast" else {}))
        elif kind == "swish":
            sum_ = self.put("Add", [x, self.stored(3)])
            clip = self.put("Clip", [sum_, self.stored(0), self.stored(6)])
            self.name = self.put("Div", [self.put("Mul", [x, clip]), self.stored(6)])
        elif kind == "turned":
            turned = self.put("Transpose", [x], perm=LAST)
            turned = self.put("Add", [turned, self.normal(c)])
            turned = self.put("Relu", [turned])
            self.name = self.put("Transpose", [turned], perm=FIRST)
        elif kind == "parallel":
            ends = [self.put("Relu", [self.conv(x, kernel=1, outputs=4)]) for _ in range(2)]
            self.name, self.channels = self.put("Concat", ends, axis=1), 8
        elif kind == "residual":
            branch = self.conv(x, kernel=1, outputs=c)
            self.name = self.put("Add", [x, branch])
        elif kind == "dead":
            self.put("Mul", [self.put("Relu", [x]), self.stored(2)])
        elif kind == "computed":
            factor = self.put("Transpose", [self.normal(1, 1, c, 1)], perm=[0, 2, 3, 1])
            self.name = self.put("Mul", [x, factor])
        else:
            self.name = self.put("Relu", [x])

    def end(self, kind: str) -> tuple[str, ...]:
        if kind == "classifier":
            flat = self.put("Flatten", [self.name])
            count = self.channels * self.size[0] * self.size[1]
            scores = self.put("Gemm", [flat, self.normal(count, 5, scale=count**-0.5), self.normal(5)])
            return (self.put("Softmax", [scores]), scores)
        if kind == "mean":
            return (self.put("ReduceMean", [self.name], axes=[2, 3]),)
        if kind == "average":
            return (self.put("AveragePool", [self.name], kernel_shape=list(self.size)),)
        return (self.name,)


BLOCKS = (
    *("conv", "strided", "groups", "wide groups", "norm", "arithmetic", "lrn", "pool", "pad"),
    *("idle", "swish", "turned", "parallel", "residual", "dead", "computed", "relu"),
)


@st.composite
def nets(draw) -> onnx.ModelProto:
    writer = Writer(draw)
    for kind in draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=8)):
        writer.block(kind)
    if writer.name == "x":  # nothing but dead ends
        writer.block("relu")
    outputs = writer.end(draw(st.sampled_from(["classifier", "mean", "average", "map"])))
    return net(writer.nodes, {"x": writer.shape}, writer.weights, outputs)
