"""Quantization of a rewritten graph: layers are quantized under their own names, what a rewrite added stays float."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto

from tests.graph.qdq_models import inception
from tests.graph.rewrites.oracle import net, node, normal
from trtkit.graph.placement import place
from trtkit.graph.precision_proof import layers_of_the_source
from trtkit.graph.qdq import insert
from trtkit.graph.rewrites import ALL, apply_all, made_by, safe


def rewritten(stride):
    weights = {"w": normal(16, 3, 5, 5, scale=0.1), "v": normal(16, 16, 3, 3, scale=0.1)}
    nodes = [
        node("Conv", ["x", "w"], "c1", "conv1", strides=[stride, stride], pads=[2, 2, 2, 2]),
        node("Relu", ["c1"], "r1", "relu1"),
        node("LRN", ["r1"], "n1", "norm1", size=5),
        node("Conv", ["n1", "v"], "y", "conv2", pads=[1, 1, 1, 1]),
    ]
    return apply_all(net(nodes, {"x": ("N", 3, 16, 16)}, weights), safe("tensorrt-rtx"))[0]


@pytest.mark.parametrize("high_precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("stride", "stem"), [(2, "stem_space_to_depth_16"), (4, "stem_space_to_depth")])
def test_the_band_stays_float_and_the_layers_keep_their_names(stride, stem, high_precision):
    source = rewritten(stride)
    placement = place(source)
    assert {d.node for d in placement.decisions if d.rule == "Q1-weighted"} == {"conv1", "conv2"}
    assert "n1" in placement.tensors  # the tensor between norm1 and conv2 is still called what it was
    decided = {d.node: d for d in placement.decisions}
    band = [item.name for item in source.graph.node if made_by(item) == "lrn_band"]
    assert len(band) == 6 and {decided[name].rule for name in band} == {"F13-rewrite"}
    assert decided["norm1/lrn_band/sum"].why.endswith(": lrn_band") and "F13-rewrite" in placement.explain()
    # The image, padded and rearranged in front of conv1, is still the image: its maximum is kept.
    assert placement.raw == (next(item.input[0] for item in source.graph.node if item.name == "conv1"),)
    assert decided[f"conv1/{stem}/space_to_depth"].rule == "M1-moves"
    assert [name for name, op in layers_of_the_source(source) if op == "Conv"] == ["conv1", "conv2"]
    made = insert(source, placement, dict.fromkeys(placement.tensors, 4.0), "int8", high_precision=high_precision)
    onnx.checker.check_model(made, full_check=True)
    types = {item.name: item.data_type for item in made.graph.initializer}
    (total,) = [item for item in made.graph.node if item.name == "norm1/lrn_band/sum"]
    wanted = TensorProto.FLOAT16 if high_precision == "fp16" else TensorProto.FLOAT
    assert {types[name] for name in total.input[1:]} == {wanted}
    assert made_by(total) == "lrn_band"


def test_a_quantized_graph_is_left_in_order():
    """Weights behind a DequantizeLinear are computed, so nothing is folded into them."""
    source = inception()
    placement = place(source)
    quantized = insert(source, placement, dict.fromkeys(placement.tensors, 4.0), "int8")
    weighted = sum(item.op_type == "DequantizeLinear" for item in quantized.graph.node)
    result, _ = apply_all(quantized, [name for name, item in ALL.items() if not item.changes_interface])
    assert sum(item.op_type == "DequantizeLinear" for item in result.graph.node) == weighted
    onnx.checker.check_model(result, full_check=True)


def test_joined_groups_are_quantized_under_their_own_name_and_not_behind_a_dequantize():
    source = net([node("Conv", ["x", "w"], "y", "conv2", group=2)], {"x": ("N", 32, 6, 6)}, {"w": normal(32, 16, 3, 3)})
    joined, sites = apply_all(source, ["join_groups"])
    placement = place(joined)
    assert len(sites) == 1 and {d.node: d.rule for d in placement.decisions} == {"conv2": "Q1-weighted"}
    quantized = insert(source, place(source), {"x": 4.0}, "int8")
    assert "DequantizeLinear" in {item.op_type for item in quantized.graph.node}
    assert apply_all(quantized, ["join_groups"])[1] == ()
