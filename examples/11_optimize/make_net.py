"""Write ``net.onnx``: a strided convolution on three channels and an LRN, two things that engines do slowly."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(0)
weights = {
    "conv1.weight": random.normal(0, 0.1, (64, 3, 7, 7)).astype(np.float32),
    "conv1.bias": random.normal(0, 0.1, 64).astype(np.float32),
}
nodes = [
    helper.make_node(
        "Conv", ["image", *weights], ["conv1"], name="conv1", kernel_shape=[7, 7], strides=[2, 2], pads=[3, 3, 3, 3]
    ),
    helper.make_node("LRN", ["conv1"], ["norm1"], name="norm1", size=5),
    helper.make_node("GlobalAveragePool", ["norm1"], ["scores"], name="pool"),
]
graph = helper.make_graph(
    nodes,
    "net",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 112, 112])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 64, 1, 1])],
    [numpy_helper.from_array(values, name) for name, values in weights.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "net.onnx")
