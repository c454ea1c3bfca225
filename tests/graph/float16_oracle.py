"""What the float16 tests share: a cast whose result is checked from every side, and runs in two independent engines."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from tests.graph.models import model, tensor, value
from trtkit.graph.float16 import Float16Result, to_float16
from trtkit.graph.tree import every_graph

RNG = np.random.default_rng(7)


def net(*args, **kwargs) -> onnx.ModelProto:
    """``tests.graph.models.model``, with the shapes of outputs filled in: the checker asks for them."""
    result = model(*args, **kwargs)
    inferred = onnx.shape_inference.infer_shapes(result, data_prop=True).graph.output
    for output, found in zip(result.graph.output, inferred, strict=True):
        output.CopyFrom(found)
    for graph in every_graph(result.graph):
        for output in graph.output:
            if not output.type.tensor_type.HasField("shape"):
                output.type.tensor_type.shape.SetInParent()
    return result


def node(op_type, inputs, outputs, name=None, **attributes):
    return helper.make_node(op_type, inputs, outputs, name=name or op_type.lower(), **attributes)


def normal(*shape, scale=1.0):
    return (RNG.normal(size=shape) * scale).astype(np.float32)


def image(shape=("N", 4, 6, 6)):
    return [value("x", shape)]


def conv_lrn_softmax():
    return net(
        [
            node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
            node("Relu", ["c"], ["r"]),
            node("LRN", ["r"], ["l"], size=5),
            node("GlobalAveragePool", ["l"], ["g"]),
            node("Flatten", ["g"], ["f"]),
            node("Gemm", ["f", "fw", "fb"], ["s"]),
            node("Softmax", ["s"], ["y"]),
        ],
        image(),
        [value("y", ("N", 5))],
        [tensor("w", normal(8, 4, 3, 3)), tensor("b", normal(8)), tensor("fw", normal(8, 5)), tensor("fb", normal(5))],
    )


def checked(source: onnx.ModelProto, **options) -> Float16Result:
    """Cast; then full check, strict types, source and names unchanged, and a second cast that changes nothing."""
    before = source.SerializeToString(deterministic=True)
    result = to_float16(source, **options)
    assert source.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(result.model, full_check=True)
    onnx.shape_inference.infer_shapes(result.model, check_type=True, strict_mode=True, data_prop=True)
    assert [v.name for v in result.model.graph.output] == [v.name for v in source.graph.output]
    own = [node.name for node in result.model.graph.node]
    assert [node.name for node in source.graph.node if node.name not in own] == []
    again = to_float16(result.model, **options)
    assert not again.modified
    assert again.model.SerializeToString(deterministic=True) == result.model.SerializeToString(deterministic=True)
    return result


def run(model: onnx.ModelProto, **feeds: np.ndarray) -> list[np.ndarray]:
    """ONNX Runtime on the CPU, with basic optimizations only: what runs stays close to the graph under test."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor of the main graph."""
    graph = onnx.shape_inference.infer_shapes(copy.deepcopy(model), data_prop=True).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    types.update({v.name: v.type.tensor_type.elem_type for v in [*graph.value_info, *graph.input, *graph.output]})
    return types


def casts(model: onnx.ModelProto) -> list[tuple[str, str, str]]:
    """Every Cast of the main graph as (input, output, name of the target type)."""
    return [
        (n.input[0], n.output[0], TensorProto.DataType.Name(helper.get_node_attr_value(n, "to")))
        for n in model.graph.node
        if n.op_type == "Cast"
    ]


def relative_l2(reference: np.ndarray, candidate: np.ndarray) -> float:
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    return float(np.linalg.norm(c - r) / max(np.linalg.norm(r), 1e-30))
