from __future__ import annotations

import json

import pytest

from trtkit.artifacts.layers import Layer, LayerReport, LayerTensor, widest


def tensor(dtype: str | None, *shape: int) -> LayerTensor:
    return LayerTensor("t", dtype, shape, "(Linear)")


CONV = Layer(
    name="conv_myl0_1",
    kind="correlation",
    inputs=(tensor("int8", -1, 3, 8, 8), tensor("fp32", -1, 4, 8, 8)),
    outputs=(tensor("fp32", -1, 4, 8, 8),),
    onnx_nodes=("conv", 'relu "1"\x1f'),
    tactic="stub",
    constants=(tensor("fp32", 1, 4, 1, 1), tensor("int8", 4, 3, 3, 3), tensor("fp32", 1)),
)
REPORT = LayerReport(
    "builder-log",
    (
        Layer("a", "shape_call"),
        CONV,
        Layer("w", "wait"),
        Layer("s", "signal"),
        Layer("k", "kgen", inputs=(tensor("fp32", 4),), onnx_nodes=("conv",)),
        Layer("l", "kgen", inputs=(tensor("fp16", 4),)),
        Layer("r", "kgen"),
    ),
)


def test_round_trip_through_json() -> None:
    assert LayerReport.from_json(json.loads(json.dumps(REPORT.to_json()))) == REPORT
    unknown = LayerReport("engine-inspector", (Layer("n", "", inputs=(LayerTensor("x", None),)),))
    assert LayerReport.from_json(json.loads(json.dumps(unknown.to_json()))) == unknown


def test_a_foreign_source_is_refused() -> None:
    with pytest.raises(ValueError, match="rumour"):
        LayerReport.from_json({"source": "rumour", "layers": []})


def test_compute_layers_leave_out_what_only_organises() -> None:
    assert [layer.name for layer in REPORT.compute_layers] == ["conv_myl0_1", "k", "l", "r"]


def test_counts_by_kind_and_dtype() -> None:
    assert REPORT.counts == {"kgen": {"fp16": 1, "fp32": 1, "unknown": 1}, "correlation": {"int8": 1}}
    assert list(REPORT.counts) == ["kgen", "correlation"]


def test_carriers() -> None:
    assert [layer.name for layer in REPORT.carriers("conv")] == ["conv_myl0_1", "k"]
    assert REPORT.carriers("con") == ()


def test_weights_are_neither_bias_nor_scale() -> None:
    assert CONV.weights == tensor("int8", 4, 3, 3, 3)
    assert Layer("g", "gemm", constants=(tensor("fp32", 1, 10), tensor("fp32", 1))).weights is None


@pytest.mark.parametrize(
    ("kind", "inputs", "constants", "dtype"),
    [
        ("correlation", ["int8", "fp32"], [], "int8"),  # the second input is a residual
        ("CaskConvolution", ["fp16"], ["fp32"], "fp32"),
        ("gemm", ["fp16"], ["int8"], "fp16"),  # weight-only quantization multiplies in FP16
        ("gemm", ["int8", "fp16"], [], "fp16"),  # two activations
        ("gemm", ["fp16", "fp16", "fp32"], [], "fp16"),  # the third is added
        ("kgen", ["int8", "fp32"], [], "fp32"),
        ("kgen", ["int64", "fp16", "bool"], [], "fp16"),
        ("kgen", ["int32"], [], None),
        ("kgen", ["int8", None], [], None),
        ("runtime_fusion", ["fp16"], ["fp16"], "fp16"),
        ("kgen", [], [], None),
    ],
)
def test_dtype(kind: str, inputs: list[str | None], constants: list[str], dtype: str | None) -> None:
    layer = Layer(
        "n", kind, inputs=tuple(tensor(t, 2, 3) for t in inputs), constants=tuple(tensor(t, 2, 3) for t in constants)
    )
    assert layer.dtype == dtype


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("c", "correlation", True),
        ("c", "CaskGemmConvolution", True),
        ("c", "CaskDeconvolutionV2", True),
        ("c", "MatrixMultiply", True),
        ("__myl_FcAdd_myl0_16", "runtime_fusion", True),
        ("__myl_MulAddCorrRelu_myl0_2", "kgen", True),
        ("__myl_Conc_myl0_24", "runtime_function", False),
        ("_gemm_mha_v2_myl0_7", "kgen", True),
        ("__myl_MulAddRelu_myl0_3", "kgen", False),
        ("__myl_MoveReplConc_myl0_1", "kgen", False),
        ("p", "maxpool", False),
        ("r", "Reformat", False),
    ],
)
def test_is_product(name: str, kind: str, expected: bool) -> None:
    assert Layer(name, kind).is_product is expected


def test_widest() -> None:
    assert widest(["int8", "fp16", "fp8"]) == "fp16"
    assert widest(["int32", "bool"]) is None
    assert widest([]) is None
    assert widest(["int8", None]) is None
