"""Write line_reader.onnx, in place of your model: a small network whose batch and width are both dynamic."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)


def weights(name: str, *shape: int) -> onnx.TensorProto:
    scale = np.sqrt(2 / np.prod(shape[1:]))
    return numpy_helper.from_array((scale * rng.standard_normal(shape)).astype(np.float32), name)


def conv(name: str, source: str, *, kernel: int) -> list[onnx.NodeProto]:
    pads = [kernel // 2] * 4
    return [
        helper.make_node("Conv", [source, f"{name}.weight"], [f"{name}.out"], name=name, pads=pads),
        helper.make_node("Relu", [f"{name}.out"], [name], name=f"{name}.relu"),
    ]


nodes = [
    *conv("conv1", "image", kernel=3),
    helper.make_node("MaxPool", ["conv1"], ["pool1"], name="pool1", kernel_shape=[2, 2], strides=[2, 2]),
    *conv("conv2", "pool1", kernel=3),
    helper.make_node("ReduceMean", ["conv2"], ["columns"], name="columns", axes=[2], keepdims=1),
    helper.make_node("Conv", ["columns", "head.weight"], ["letters"], name="head"),
]
graph = helper.make_graph(
    nodes,
    "line_reader",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 32, "width"])],
    [helper.make_tensor_value_info("letters", TensorProto.FLOAT, ["batch", 64, 1, "columns"])],
    [weights("conv1.weight", 32, 1, 3, 3), weights("conv2.weight", 64, 32, 3, 3), weights("head.weight", 64, 64, 1, 1)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "line_reader.onnx")
print("wrote line_reader.onnx")
