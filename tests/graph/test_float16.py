"""trtkit.graph.float16: types, names, inputs and outputs, weights bit for bit, random nets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.graph.float16_oracle import (
    casts,
    checked,
    conv_lrn_softmax,
    element_types,
    image,
    net,
    node,
    normal,
    relative_l2,
    run,
)
from tests.graph.models import tensor, value
from trtkit.errors import ModelError
from trtkit.graph.float16 import to_float16

FLOAT, FLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16


def test_a_convolutional_net():
    source = conv_lrn_softmax()
    result = checked(source)
    types = element_types(result.model)
    assert {types[name] for name in ("w", "b", "fw", "fb", "c", "r", "g", "f", "s")} == {FLOAT16}
    assert {types[name] for name in ("x", "y", "l")} == {FLOAT}
    assert [(kept.name, kept.op_type) for kept in result.kept_float32] == [("lrn", "LRN"), ("softmax", "Softmax")]
    assert "squares" in result.kept_float32[0].reason
    assert casts(result.model) == [
        ("x", "x_float16", "FLOAT16"),
        ("r", "r_float32", "FLOAT"),
        ("l", "l_float16", "FLOAT16"),
        ("s", "s_float32", "FLOAT"),
    ]
    x = normal(3, 4, 6, 6)
    (want,), (got,) = run(source, x=x), run(result.model, x=x)
    assert got.dtype == np.float32
    assert relative_l2(want, got) < 2e-3
    # onnx.reference sums LRN's window one channel short, so its float32 is what its float16 is compared with.
    (want,), (got,) = (ReferenceEvaluator(m).run(None, {"x": x}) for m in (source, result.model))
    assert relative_l2(want, got) < 2e-3


def test_weights_are_rounded_to_nearest_even_bit_for_bit():
    weights = normal(8, 4, 3, 3)
    # Halfway between two float16 numbers (1 + 2⁻¹¹ and 1 + 3·2⁻¹¹), the largest, and infinity.
    weights.flat[:5] = [1 + 2**-11, 1 + 3 * 2**-11, 65504.0, -65519.0, np.inf]
    source = net([node("Conv", ["x", "w"], ["y"])], image(), [value("y", None)], [tensor("w", weights)])
    (stored,) = checked(source).model.graph.initializer
    assert stored.name == "w"
    got = numpy_helper.to_array(stored)
    assert got.dtype == np.float16
    assert got.tobytes() == weights.astype(np.float16).tobytes()
    assert [float(v) for v in got.flat[:5]] == [1.0, 1 + 2**-9, 65504.0, -65504.0, np.inf]


def test_weights_stored_as_float_data():
    source = net(
        [node("Add", ["x", "w"], ["y"])],
        [value("x")],
        [value("y")],
        [helper.make_tensor("w", FLOAT, [4], [1, 2, 3, 4])],
    )
    assert numpy_helper.to_array(checked(source).model.graph.initializer[0]).tolist() == [1, 2, 3, 4]


def test_float16_inputs_and_outputs():
    source = conv_lrn_softmax()
    result = checked(source, keep_io=False)
    types = element_types(result.model)
    assert (types["x"], types["y"]) == (FLOAT16, FLOAT16)
    x = normal(3, 4, 6, 6)
    (got,) = run(result.model, x=x.astype(np.float16))
    assert got.dtype == np.float16
    assert relative_l2(run(source, x=x)[0], got) < 2e-3


def test_tiny_weights_are_counted_and_not_clamped():
    weights = normal(64, 4, scale=0.1)
    weights[0] = [1e-9, -1e-9, 0, 3e-6]
    source = net([node("Gemm", ["x", "w"], ["y"], transB=1)], None, [value("y", ("N", 64))], [tensor("w", weights)])
    result = checked(source)
    (note,) = result.weight_notes
    half = weights.astype(np.float16)
    tiny = int(((half != 0) & (np.abs(half) < 2**-14)).sum())
    assert (note.flushed, note.subnormal, note.overflowing, note.cast) == (2, tiny, 0, True)
    assert (result.flushed_weights, result.subnormal_weights) == (2, tiny)
    assert numpy_helper.to_array(result.model.graph.initializer[0])[0, :3].tolist() == [0, 0, 0]


def test_outputs_that_are_weights_or_inputs_or_used_inside():
    source = net(
        [node("Relu", ["x"], ["r"]), node("Add", ["r", "w"], ["y"])],
        outputs=[value("y"), value("r"), value("w", (4,)), value("x")],
        initializers=[tensor("w", normal(4))],
    )
    for keep_io in (True, False):
        result = checked(source, keep_io=keep_io)
        x = normal(2, 4)
        feed = x if keep_io else x.astype(np.float16)
        for want, got in zip(run(source, x=x), run(result.model, x=feed), strict=True):
            np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)


def test_a_float16_model_stays_as_it_is():
    source = net(
        [node("MatMul", ["x", "w"], ["y"])],
        [value("x", ("N", 4), FLOAT16)],
        [value("y", ("N", 4), FLOAT16)],
        [tensor("w", normal(4, 4).astype(np.float16))],
    )
    result = to_float16(source)
    assert not result.modified and result.kept_float32 == ()
    assert result.model == source and result.model is not source


def test_unsorted_graphs_come_out_sorted():
    source = conv_lrn_softmax()
    nodes = list(reversed(source.graph.node))
    del source.graph.node[:]
    source.graph.node.extend(nodes)
    result = checked(source)
    assert result.model.graph.node[-1].op_type == "Softmax"


def test_metadata_and_versions_survive():
    source = conv_lrn_softmax()
    source.producer_name, source.doc_string, source.graph.doc_string = "someone", "a net", "its graph"
    source.metadata_props.add(key="k", value="v")
    got = checked(source).model
    assert (got.producer_name, got.doc_string, got.graph.doc_string) == ("someone", "a net", "its graph")
    assert (got.ir_version, got.opset_import, got.metadata_props[0].value) == (8, source.opset_import, "v")


def test_names_that_are_taken_are_not_taken_again():
    source = net(
        [node("Relu", ["x"], ["x_float16"], "x_to_float16"), node("Softmax", ["x_float16"], ["s"]),
         node("Relu", ["s"], ["y"], "last")]
    )  # fmt: skip
    names = [n.name for n in checked(source).model.graph.node]
    assert len(set(names)) == len(names)


def test_missing_external_data_and_sparse_weights_are_refused():
    source = conv_lrn_softmax()
    weights = source.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="w.bin")
    with pytest.raises(ModelError, match="weights 'w' lie in an external file"):
        to_float16(source)
    source = conv_lrn_softmax()
    source.graph.sparse_initializer.add()
    with pytest.raises(ModelError, match="sparse"):
        to_float16(source)


@st.composite
def random_nets(draw):
    """A few random layers on an image of 3 channels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    nodes, weights, current, channels = [], [], "x", 3
    for i in range(draw(st.integers(1, 6))):
        kind = draw(
            st.sampled_from(["Conv", "Relu", "LRN", "MaxPool", "BatchNormalization", "Concat", "Softmax", "Add"])
        )
        name, inputs, attributes = f"t{i}", [current], {}
        if kind == "Conv":
            after = draw(st.integers(1, 4))
            weights.append(tensor(f"w{i}", (rng.normal(size=(after, channels, 3, 3)) / 5).astype(np.float32)))
            inputs, attributes, channels = [current, f"w{i}"], {"pads": [1, 1, 1, 1]}, after
        elif kind == "BatchNormalization":
            for part in ("scale", "bias", "mean", "var"):
                weights.append(tensor(f"{part}{i}", rng.uniform(0.5, 1, channels).astype(np.float32)))
                inputs.append(f"{part}{i}")
        elif kind in ("Concat", "Add"):
            inputs = [current, current]
            attributes, channels = ({"axis": 1}, 2 * channels) if kind == "Concat" else ({}, channels)
        elif kind in ("LRN", "MaxPool", "Softmax"):
            attributes = {"LRN": {"size": 3}, "MaxPool": {"kernel_shape": [1, 1]}, "Softmax": {"axis": 1}}[kind]
        nodes.append(helper.make_node(kind, inputs, [name], f"n{i}", **attributes))
        current = name
    return net(nodes, [value("x", ("N", 3, 5, 5))], [value(current, None)], weights)


@given(random_nets(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_random_nets(source, keep_io):
    result = checked(source, keep_io=keep_io)
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 5)).astype(np.float32)
    (got,) = run(result.model, x=x if keep_io else x.astype(np.float16))
    assert relative_l2(run(source, x=x)[0], got) < 1e-2
    kinds = {n.op_type for n in source.graph.node}
    assert {kept.op_type for kept in result.kept_float32} == kinds & {"LRN", "Softmax"}
