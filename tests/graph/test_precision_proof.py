from __future__ import annotations

import json

import onnx
import pytest

from tests.backends.layer_samples import NAMES, Sample, sample
from trtkit.artifacts.layers import Layer, LayerReport, LayerTensor
from trtkit.artifacts.precision import PrecisionProof
from trtkit.backends import layer_log
from trtkit.graph.precision_proof import names_in_branches, prove


def proof_of(recorded: Sample, asked: str | None = None) -> PrecisionProof:
    report = layer_log.parse([recorded.message])
    assert report is not None
    return prove(recorded.nodes, report, asked or recorded.asked)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fp16", "4 of 4 Conv and 1 of 1 Gemm in FP16; LRN in FP32 (1)"),
        (
            "int8",
            "2 of 3 Conv and 1 of 1 Gemm in INT8; Conv in FP32 (or TF32) (1); Softmax in FP32 (1)",
        ),
        ("fp8", "2 of 3 Conv and 1 of 1 Gemm in FP8; Conv in FP32 (or TF32) (1); Softmax in FP32 (1)"),
        ("residual_fp32", "2 of 2 Conv, 1 of 1 ConvTranspose and 1 of 1 MatMul in FP32 (or TF32)"),
        ("batchnorm_fp32", "10 of 10 Conv and 1 of 1 Gemm in FP32 (or TF32)"),
        ("attention_fp16", "6 of 6 MatMul in FP16"),
        ("four_capabilities_fp32", "4 of 4 Conv and 1 of 1 Gemm in FP32 (or TF32)"),
        ("odd_names", "3 of 4 Conv and 1 of 1 Gemm in FP32 (or TF32); not proven: Conv 'dup'"),
    ],
)
def test_sentences_about_recorded_builds(name: str, sentence: str) -> None:
    assert proof_of(sample(name)).sentence == sentence


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_through_json(name: str) -> None:
    proof = proof_of(sample(name))
    assert PrecisionProof.from_json(json.loads(json.dumps(proof.to_json()))) == proof


def test_the_product_decides_and_not_the_kernels_around_it() -> None:
    proof = proof_of(sample("int8"))
    conv1 = next(node for node in proof.nodes if node.name == "conv1")
    assert conv1.dtype == "int8"
    assert conv1.layers == ("conv1_myl0_2",)
    assert [(node.name, node.dtype, node.reason) for node in proof.stayed] == [("conv3_float", "fp32", None)]
    assert proof.counts == {"Conv": {"fp32": 1, "int8": 2}, "Gemm": {"int8": 1}}
    assert proof.fraction("int8") == 0.75
    assert proof.fraction("fp32") == 0.25
    assert proof.fraction("fp16") == 0


def test_a_plan_that_is_not_what_was_asked_says_so() -> None:
    proof = proof_of(sample("four_capabilities_fp32"), "int8")
    assert proof.fraction("int8") == 0
    assert len(proof.stayed) == 5
    assert proof.sentence.startswith("0 of 4 Conv and 0 of 1 Gemm in INT8; Conv in FP32 (or TF32) (4); Gemm in FP32")


def test_tf32_cannot_be_told_from_fp32() -> None:
    proof = proof_of(sample("four_capabilities_fp32"), "tf32")
    assert proof.asked_dtype == "fp32"
    assert proof.fraction("tf32") == proof.fraction("fp32") == 1
    assert "FP32 (or TF32)" in proof.sentence
    assert proof.stayed == ()


def conv(name: str, dtype: str | None, *nodes: str, kind: str = "correlation") -> Layer:
    return Layer(name, kind, inputs=(LayerTensor("x", dtype, (1, 4)),), onnx_nodes=nodes)


def test_a_node_that_no_layer_names_is_unproven() -> None:
    report = LayerReport("builder-log", (conv("a_myl0_1", "int8", "a"),))
    proof = prove([("a", "Conv"), ("b", "Conv"), ("", "Gemm")], report, "int8")
    assert [(node.name, node.reason) for node in proof.unproven] == [
        ("b", "no layer names it"),
        ("", "the node has no name"),
    ]
    assert proof.fraction("int8") == pytest.approx(1 / 3)
    assert proof.counts == {"Conv": {"int8": 1, "unproven": 1}, "Gemm": {"unproven": 1}}
    assert proof.sentence == "1 of 2 Conv and 0 of 1 Gemm in INT8; not proven: Conv 'b', Gemm ''"


def test_a_prefix_of_a_name_is_another_name() -> None:
    report = LayerReport("builder-log", (conv("conv10_myl0_1", "int8", "conv10"),))
    assert prove([("conv1", "Conv")], report, "int8").fraction("int8") == 0


def test_a_shared_name_is_unproven_even_if_every_layer_agrees() -> None:
    report = LayerReport("builder-log", (conv("a", "int8", "a"), conv("b", "int8", "a")))
    proof = prove([("a", "Conv"), ("a", "Relu")], report, "int8")
    assert [node.reason for node in proof.nodes] == ["2 nodes have this name"]


def test_products_that_disagree_give_the_widest() -> None:
    report = LayerReport("builder-log", (conv("p", "int8", "a"), conv("q", "fp32", "a")))
    assert prove([("a", "Conv")], report, "int8").nodes[0].dtype == "fp32"


def test_the_product_named_after_the_node_is_preferred_to_one_that_took_over_its_bias() -> None:
    report = LayerReport(
        "builder-log", (conv("a_U7_myl0_1", "int8", "a"), conv("b+c_myl0_2", "fp32", "a", "b", "c", kind="gemm"))
    )
    proof = prove([("a", "Conv"), ("b", "MatMul"), ("c", "MatMul")], report, "int8")
    assert [node.dtype for node in proof.nodes] == ["int8", "fp32", "fp32"]


def test_without_a_known_product_the_widest_carrier_counts() -> None:
    report = LayerReport(
        "builder-log", (conv("k_myl0_1", "int8", "a", kind="kgen"), conv("l_myl0_2", "fp16", "a", kind="kgen"))
    )
    assert prove([("a", "MatMul")], report, "int8").nodes[0].dtype == "fp16"


def test_a_layer_of_unknown_type_proves_nothing() -> None:
    report = LayerReport("builder-log", (conv("a_myl0_1", None, "a"), conv("b_myl0_1", "int8", "b")))
    proof = prove([("a", "Conv"), ("b", "Conv")], report, "int8")
    assert proof.unproven[0].reason == "its layer does not tell its data types"
    assert proof.unproven[0].layers == ("a_myl0_1",)


def test_bare_names_prove_nothing() -> None:
    report = LayerReport("engine-inspector", (Layer("a + relu", ""),))
    proof = prove([("a", "Conv")], report, "fp16")
    assert proof.unproven[0].reason == "the layers were reported without data types"


def test_a_model_without_products() -> None:
    proof = prove([("r", "Relu")], LayerReport("builder-log", ()), "fp16")
    assert proof.fraction("fp16") is None
    assert proof.sentence == "no Conv, ConvTranspose, Gemm or MatMul in the model"


def test_a_long_list_of_unproven_nodes_is_shortened() -> None:
    proof = prove([(f"n{i}", "Conv") for i in range(9)], LayerReport("builder-log", (conv("x", "int8", "x"),)), "int8")
    assert proof.sentence.endswith("Conv 'n4' and 4 more")


def test_nodes_inside_branches_say_so_where_they_are_not_proven() -> None:
    report = LayerReport("builder-log", (conv("a", "fp16", "a"),))
    proof = prove([("a", "Conv"), ("b", "Conv"), ("c", "Conv")], report, "fp16", {"a", "b"})
    assert [node.reason for node in proof.nodes] == [
        None,
        "no layer names it; it is inside a branch of If, Loop or Scan",
        "no layer names it",
    ]
    assert proof.sentence == (
        "1 of 3 Conv in FP16; not proven: Conv 'b', Conv 'c' (1 of them inside a branch of If, Loop or Scan, whose "
        "layers engines do not name)"
    )


def test_names_in_branches() -> None:
    def graph(*names: str) -> onnx.GraphProto:
        nodes = [onnx.helper.make_node("Identity", ["x"], [f"y_{name}"], name=name) for name in names]
        return onnx.helper.make_graph(nodes, "g", [], [])

    main = graph("a", "both")
    choose = onnx.helper.make_node(
        "If", ["c"], ["z"], name="if", then_branch=graph("b"), else_branch=graph("c", "both")
    )
    main.node.append(choose)
    assert names_in_branches(onnx.helper.make_model(main)) == {"b", "c"}
