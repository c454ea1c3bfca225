"""Placement of Q/DQ pairs: each rule on a net that shows it, the user's recipe, and the table for people."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import model_defs
from tests.graph.models import model, relu, tensor, value
from tests.graph.qdq_models import conv, conv_weights, inception, node, normal, one_product, residual
from trtkit.errors import ModelError, UsageError
from trtkit.graph.placement import RULES, Placement, Recipe, place


def rules(placement: Placement) -> dict[str, str]:
    return {decision.node: decision.rule for decision in placement.decisions}


def test_an_inception_block():
    placement = place(inception())
    assert placement.tensors == ("x", "pool1", "reduce_relu", "pool2", "joined", "flat")
    # One pair for three convolutions and the pooling branch; the pooling keeps its scale.
    assert placement.consumers["pool1"] == (("one", 0), ("reduce", 0), ("pool2", 0))
    assert placement.shared == (("pool1", "pool2"),)
    assert placement.weights == dict.fromkeys(
        ["conv1_w", "one_w", "reduce_w", "three_w", "projection_w", "last_w", "fc_w"], 0
    )
    assert rules(placement) == {
        **dict.fromkeys(["conv1", "one", "reduce", "three", "projection", "last", "fc"], "Q1-weighted"),
        **dict.fromkeys(["relu1", "one_relu", "reduce_relu", "three_relu", "last_relu"], "F3-epilogue"),
        **dict.fromkeys(["norm", "y"], "F1-normalizes"),
        **dict.fromkeys(["pool1", "joined", "flat"], "M1-moves"),
        "projection_relu": "F3-epilogue",
        "mean": "F2-averages",
        "pool2": "Q2-passes",
    }
    assert {d.rule for d in placement.decisions} <= set(RULES)
    assert all(d.why.startswith(RULES[d.rule]) and d.quantized == d.rule.startswith("Q") for d in placement.decisions)


def test_the_model_is_not_changed():
    source = inception()
    before = source.SerializeToString(deterministic=True)
    place(source)
    assert source.SerializeToString(deterministic=True) == before


def test_fp8_leaves_pooling_and_large_windows_float():
    placement = place(inception(), dtype="fp8")
    assert rules(placement)["pool1"] == rules(placement)["pool2"] == "F11-fp8-pool"
    assert placement.shared == ()
    for side, rule in ((5, "Q1-weighted"), (7, "F10-fp8-window")):
        nodes = [conv("big", "x", side), node("Relu", ["big"], "r"), conv("small", "r")]
        source = model(
            nodes,
            [value("x", ("N", 3, 16, 16))],
            [value("small", None)],
            [*conv_weights("big", 16, 3, side), *conv_weights("small", 16, 16)],
        )
        assert rules(place(source, dtype="fp8"))["big"] == rule
        assert rules(place(source, dtype="int8"))["big"] == "Q1-weighted"
        assert rules(place(source, Recipe(include=("big",)), "fp8"))["big"] == "Q1-weighted"


@pytest.mark.parametrize("swapped", [False, True])
def test_the_shortcut_of_a_residual_block_is_quantized_and_not_the_branch(swapped):
    placement = place(residual(swapped=swapped))
    assert placement.consumers["stem_relu"] == (("a", 0), ("sum", 0 if swapped else 1))
    assert "b_bn" not in placement.tensors
    assert rules(placement)["sum"] == "Q3-residual"


@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_products_the_shorter_branch_is_the_residual(swapped):
    placement = place(residual(projection=True, swapped=swapped))
    assert placement.consumers["side_bn"] == (("sum", 0 if swapped else 1),)
    assert "b_bn" not in placement.tensors


def test_no_residual_without_a_product_of_its_own():
    nodes = [
        conv("a", "x"),
        node("Relu", ["a"], "a_relu"),  # the Relu is not part of the sum: the Add has no product to ride on
        node("Sigmoid", ["x"], "s"),
        node("Add", ["a_relu", "s"], "sum"),
        node("Add", ["sum", "c"], "y"),
    ]
    shape = ("N", 4, 6, 6)
    source = model(
        nodes, [value("x", shape)], [value("y", shape)], [*conv_weights("a", 4, 4), tensor("c", np.ones(1, np.float32))]
    )
    assert place(source).tensors == ("x",)


def test_the_residual_can_be_left_float():
    placement = place(residual(), Recipe(residual=False))
    assert placement.consumers["stem_relu"] == (("a", 0),)
    assert rules(placement)["sum"] == "F3-epilogue"
    assert rules(place(residual(), Recipe(exclude=("Add",))))["sum"] == "F5-excluded"


@pytest.mark.parametrize(
    ("product", "shape", "x_shape", "axis"),
    [
        (node("Conv", ["x", "w"], "y"), (8, 4, 3, 3), ("N", 4, 9, 9), 0),
        (node("Conv", ["x", "w"], "y", group=4), (8, 1, 3, 3), ("N", 4, 9, 9), 0),
        (node("ConvTranspose", ["x", "w"], "y"), (4, 8, 3, 3), ("N", 4, 9, 9), 1),
        (node("Gemm", ["x", "w"], "y", transB=1), (8, 4), ("N", 4), 0),
        (node("Gemm", ["x", "w"], "y"), (4, 8), ("N", 4), 1),
        (node("MatMul", ["x", "w"], "y"), (4, 8), ("N", 4), 1),
        (node("MatMul", ["x", "w"], "y"), (2, 4, 8), (2, "N", 4), 2),
    ],
)
def test_axis_of_the_output_channels(product, shape, x_shape, axis):
    source = one_product(product, normal(0, *shape), x_shape)
    assert place(source, Recipe(include=("y",))).weights == {"w": axis}


def test_a_transposed_convolution_is_quantized_only_if_asked_for():
    source = one_product(node("ConvTranspose", ["x", "w"], "y"), normal(0, 4, 8, 3, 3), ("N", 4, 9, 9))
    with pytest.raises(ModelError, match="no quantized deconvolution"):
        place(source)


def test_weights_in_a_constant_node():
    constant = helper.make_node("Constant", [], ["w"], name="w_node", value=tensor("", normal(0, 4, 8)))
    source = model([constant, node("MatMul", ["x", "w"], "y")], [value("x")], [value("y", ("N", 8))])
    assert place(source).weights == {"w": 1}


def test_products_without_stored_weights_stay_float():
    nodes = [
        node("Transpose", ["x"], "t", perm=[1, 0]),
        node("MatMul", ["x", "t"], "m"),
        node("MatMul", ["w", "t"], "wt"),
        node("Gemm", ["x", "w"], "y"),
    ]
    source = model(nodes, [value("x", (4, 4))], [value("y", (4, 4)), value("wt"), value("m")], [tensor("w", np.eye(4))])
    source.graph.initializer[0].CopyFrom(tensor("w", np.eye(4, dtype=np.float32)))
    found = {d.node: d for d in place(source).decisions}
    assert found["m"].rule == found["wt"].rule == "F4-no-weights"
    assert "Transpose 't'" in found["m"].why
    assert found["y"].rule == "Q1-weighted"


def test_weights_that_are_used_in_two_layouts():
    nodes = [node("Gemm", ["x", "w"], "h"), node("Gemm", ["h", "w"], "y", transB=1)]
    source = model(nodes, initializers=[tensor("w", normal(0, 4, 4))])
    assert rules(place(source)) == {"h": "Q1-weighted", "y": "F7-tied"}


def test_a_concat_that_is_not_free_says_so():
    """A U-Net's skip connection: quantized for the next convolution, and joined with another range later."""
    nodes = [
        conv("down", "x"),
        node("Relu", ["down"], "skip"),
        conv("deep", "skip"),
        node("Relu", ["deep"], "deep_relu"),
        node("Concat", ["skip", "deep_relu"], "both", axis=1),
        conv("up", "both"),
    ]
    shape = ("N", 4, 6, 6)
    weights = [*conv_weights("down", 4, 4), *conv_weights("deep", 4, 4), *conv_weights("up", 4, 8)]
    source = model(nodes, [value("x", shape)], [value("up", shape)], weights)
    placement = place(source)
    decision = next(d for d in placement.decisions if d.node == "both")
    assert decision.rule == "M2-concat-unequal"
    assert "'skip'" in decision.why
    assert placement.shared == ()
    together = place(source, Recipe(share_concat=True))
    assert together.shared == (("skip", "both"),)
    assert ("both", 0) in together.consumers["skip"]
    assert rules(together)["both"] == "Q4-concat"


def test_a_pooling_whose_result_is_read_in_float_reads_float():
    nodes = [conv("a", "x"), node("MaxPool", ["x"], "p", kernel_shape=[1, 1]), node("LRN", ["p"], "y", size=1)]
    shape = ("N", 4, 6, 6)
    source = model(nodes, [value("x", shape)], [value("y", shape), value("a", shape)], conv_weights("a", 4, 4))
    assert rules(place(source))["p"] == "F8-float-readers"
    assert place(source).consumers == {"x": (("a", 0),)}


def test_positions_of_maxima_are_taken_from_float():
    pool = helper.make_node("MaxPool", ["x"], ["p", "i"], name="p", kernel_shape=[2, 2])
    shape = ("N", 4, 6, 6)
    source = model(
        [pool, conv("a", "p"), conv("b", "x")],
        [value("x", shape)],
        [value("a", None), value("b", None), value("i", None, TensorProto.INT64)],
        [*conv_weights("a", 4, 4), *conv_weights("b", 4, 4)],
    )
    assert ("p", 0) not in place(source).consumers["x"]


def test_exclude_and_include():
    def quantized(**recipe) -> set[str]:
        placement = place(inception(), Recipe(**recipe))
        return {d.node for d in placement.decisions if d.rule == "Q1-weighted"}

    everything = quantized()
    assert quantized(exclude=("Gemm",)) == everything - {"fc"}
    assert quantized(exclude=("t*",)) == everything - {"three"}
    assert quantized(exclude=("Conv",), include=("last",)) == {"last", "fc"}
    assert quantized(smallest_channels=16) == everything - {"conv1"}
    assert quantized(smallest_channels=16, include=("conv1",)) == everything
    assert "it matches 't*'" in place(inception(), Recipe(exclude=("t*",))).explain()


def test_an_entry_that_matches_nothing_is_refused():
    with pytest.raises(UsageError, match="'conv_1' matches no node") as caught:
        place(inception(), Recipe(exclude=("conv_1",)))
    assert "conv1" in caught.value.hint


def test_recipes_round_trip_and_add_up(tmp_path):
    recipe = Recipe(exclude=("a", "b*"), include=("c",), smallest_channels=16, residual=False, share_concat=True)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.to_json()))
    assert Recipe.load(path) == recipe
    assert Recipe(exclude=("a",)).excluding(("b",)).exclude == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds list"),
        ('{"exclud": []}', "unknown key 'exclud'"),
        ('{"exclude": "Gemm"}', "exclude is a list of texts"),
        ('{"exclude": [1]}', "exclude is a list of texts"),
        ('{"residual": 1}', "residual is true or false"),
        ('{"smallest_channels": -1}', "smallest_channels is a whole number"),
        ('{"smallest_channels": true}', "smallest_channels is a whole number"),
    ],
)
def test_bad_recipes(tmp_path, text, message):
    path = tmp_path / "recipe.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        Recipe.load(path)


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        Recipe.load(tmp_path / "none.json")


@pytest.mark.parametrize("op", ["QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger"])
def test_a_quantized_model_is_refused(op):
    with pytest.raises(ModelError, match="quantized already") as caught:
        place(model([helper.make_node(op, ["x"], ["y"], name="q")]))
    assert "float model" in caught.value.hint


def test_nothing_to_quantize():
    with pytest.raises(ModelError, match="it has no Conv, ConvTranspose, Gemm, MatMul"):
        place(relu())
    with pytest.raises(ModelError, match="left out by the recipe"):
        place(residual(), Recipe(exclude=("Conv",)))


def test_names_must_be_there_and_unique():
    source = residual()
    source.graph.node[2].name = source.graph.node[0].name
    with pytest.raises(ModelError, match="shares its name 'stem'"):
        place(source)
    source.graph.node[2].name = ""
    with pytest.raises(ModelError, match="has no name"):
        place(source)


def test_float16_models_are_left_alone():
    source = one_product(node("Gemm", ["x", "w"], "y"), normal(0, 4, 4).astype(np.float16), ("N", 4))
    source.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    with pytest.raises(ModelError, match="only float32 is quantized"):
        place(source)


def test_explain_lists_every_node():
    text = place(inception()).explain()
    assert all(f"\n{name} " in text for name in ("conv1", "pool2", "joined", "y"))
    assert "one scale: pool1, pool2" in text
    assert max(len(line.split("  ")[0]) for line in text.splitlines() if not line.startswith("one scale")) <= 40
    used = {decision.rule for decision in place(inception()).decisions}
    assert all(f"\n{rule:13}" in text for rule in used)  # each in words, once, below the table
    assert text.count(RULES["Q1-weighted"]) == 1


@pytest.mark.parametrize(
    ("name", "products", "pairs"),
    [("alexnet", 8, 8), ("squeezenet1_1", 26, 18), ("googlenet", 58, 40), ("resnet50", 54, 54)],
)
def test_every_product_of_the_definitions_is_quantized(name, products, pairs):
    source: onnx.ModelProto = model_defs.get(name).build()
    placement = place(source)
    weighted = [d for d in placement.decisions if d.op_type in ("Conv", "Gemm")]
    assert len(weighted) == products
    assert {d.rule for d in weighted} == {"Q1-weighted"}
    assert len(placement.tensors) == pairs
