"""Small ONNX models that the graph tests share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str | None] | None


def value(name: str, shape: Shape = ("N", 4), dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def tensor(name: str, array: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto] | None = None,
    outputs: Sequence[onnx.ValueInfoProto] | None = None,
    initializers: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 17,
    ir: int = 8,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model with input ``x`` and output ``y`` of N×4 unless told otherwise."""
    graph = helper.make_graph(
        nodes,
        "test",
        [value("x")] if inputs is None else inputs,
        [value("y")] if outputs is None else outputs,
        initializer=list(initializers),
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir)


def relu(**options: Any) -> onnx.ModelProto:
    return model([helper.make_node("Relu", ["x"], ["y"], name="relu")], **options)


def perceptron(seed: int = 0, hidden: int = 300, **options: Any) -> onnx.ModelProto:
    """Two Gemm layers with a Relu between, weights larger than a kilobyte: N×8 → N×4."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="fc1"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], name="fc2"),
    ]
    weights = [
        tensor("w1", rng.standard_normal((8, hidden), dtype=np.float32)),
        tensor("b1", rng.standard_normal(hidden, dtype=np.float32)),
        tensor("w2", rng.standard_normal((hidden, 4), dtype=np.float32)),
        tensor("b2", rng.standard_normal(4, dtype=np.float32)),
    ]
    return model(nodes, [value("x", ("N", 8))], [value("y")], weights, **options)


def with_branches() -> onnx.ModelProto:
    """y = Relu(x) or Sigmoid(x), by whether the sum of x is positive; both branches take ``x`` from outside."""
    branches = {
        f"{which}_branch": helper.make_graph(
            [helper.make_node(op, ["x"], [f"{which}_out"], name="same")], which, [], [value(f"{which}_out")]
        )
        for which, op in (("then", "Relu"), ("else", "Sigmoid"))
    }
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], name="same", keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], **branches),
    ]
    return model(nodes, initializers=[tensor("zero", np.float32(0))])
