from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.backends.layer_samples import NAMES, sample
from trtkit.artifacts.layers import Layer, LayerTensor
from trtkit.backends import layer_inspector, layer_log
from trtkit.errors import PlanError
from trtkit.graph.precision_proof import prove

# TensorRT 10, with an execution context: format and type in one text, weights summed up, bindings as names.
TEN: dict[str, Any] = {
    "Layers": [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to stem + stem_relu",
            "LayerType": "Reformat",
            "Inputs": [
                {
                    "Name": "x",
                    "Location": "Device",
                    "Dimensions": [1, 3, 8, 8],
                    "Format/Datatype": "Row major linear FP32",
                }
            ],
            "Outputs": [
                {
                    "Name": "Reformatted Input Tensor 0 to stem + stem_relu",
                    "Location": "Device",
                    "Dimensions": [1, 3, 8, 8],
                    "Format/Datatype": "Row major Int8 format",
                }
            ],
            "ParameterType": "Reformat",
            "Origin": "REFORMAT",
            "TacticValue": "0x00000000000003e8",
            "StreamId": 0,
            "Metadata": "",
        },
        {
            "Name": "stem + stem_relu",
            "LayerType": "CaskConvolution",
            "Inputs": [
                {"Name": "q", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Row major Int8 format"},
                {"Name": "residual", "Dimensions": [1, 4, 8, 8], "Format/Datatype": "Row major linear FP32"},
            ],
            "Outputs": [{"Name": "y", "Dimensions": [1, 4, 8, 8], "Format/Datatype": "Row major linear FP32"}],
            "ParameterType": "Convolution",
            "Kernel": [3, 3],
            "Weights": {"Type": "Int8", "Count": 108},
            "Bias": {"Type": "Float", "Count": 4},
            "Activation": "RELU",
            "TacticName": "sm80_xmma_fprop_implicit_gemm_i8i8_i8i32_f32",
            "TacticValue": "0x1",
            "StreamId": 0,
            "Metadata": "[ONNX Layer: stem]\x1e[ONNX Layer: stem_relu]\x1e",
        },
    ],
    "Bindings": ["x", "y"],
}

# TensorRT 11: two fields, network inputs and outputs as objects.
ELEVEN: dict[str, Any] = {
    "Layers": [
        {
            "Name": "fc_myl0_9",
            "LayerType": "gemm",
            "Inputs": [
                {"Name": "a", "Dimensions": [-1, 16], "Datatype": "Half", "Format": "(Linear) Row major linear format"}
            ],
            "Constants": [
                {"Name": "w", "Dimensions": [16, 10], "Strides": [1, 16], "Datatype": "Half", "Format": "(Transposed)"}
            ],
            "Outputs": [{"Name": "b", "Dimensions": [-1, 10], "Datatype": "Float", "Format": None}],
            "TacticName": "",
            "StreamId": 0,
            "Metadata": "[ONNX Layer: fc]\x1f[ONNX Layer: fc_add]",
        }
    ],
    "I/O Tensors": [{"Name": "a", "IOMode": "Input", "DataType": "Half", "Dimensions": [-1, 16]}],
    "Engine Metadata": {"Multi-Device": "Disabled"},
}


def test_tensorrt_10() -> None:
    report = layer_inspector.parse(json.dumps(TEN))
    assert report.source == "engine-inspector"
    reformat, conv = report.layers
    assert (reformat.kind, reformat.dtype, reformat.tactic) == ("Reformat", "fp32", "0x00000000000003e8")
    assert conv.onnx_nodes == ("stem", "stem_relu")
    assert conv.tactic == "sm80_xmma_fprop_implicit_gemm_i8i8_i8i32_f32"
    assert conv.weights == LayerTensor("Weights", "int8", (108,))
    assert conv.dtype == "int8", "the float residual is added afterwards"
    assert conv.is_product


def test_tensorrt_11() -> None:
    (gemm,) = layer_inspector.parse(json.dumps(ELEVEN)).layers
    assert gemm == Layer(
        name="fc_myl0_9",
        kind="gemm",
        inputs=(LayerTensor("a", "fp16", (-1, 16), "(Linear) Row major linear format"),),
        outputs=(LayerTensor("b", "fp32", (-1, 10), None),),
        onnx_nodes=("fc", "fc_add"),
        tactic=None,
        constants=(LayerTensor("w", "fp16", (16, 10), "(Transposed)"),),
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_inspector_and_the_log_read_the_same_layers_alike(name: str) -> None:
    logged = layer_log.parse([sample(name).message])
    assert logged is not None

    def tensors(found: tuple[LayerTensor, ...]) -> list[dict[str, Any]]:
        words = {"fp32": "Float", "fp16": "Half", "int8": "Int8", "fp8": "FP8"}
        return [
            {"Name": t.name, "Dimensions": list(t.shape or ()), "Datatype": words[str(t.dtype)], "Format": t.format}
            for t in found
        ]

    text = json.dumps(
        {
            "Layers": [
                {
                    "Name": layer.name,
                    "LayerType": layer.kind,
                    "Inputs": tensors(layer.inputs),
                    "Constants": tensors(layer.constants),
                    "Outputs": tensors(layer.outputs),
                    "TacticName": layer.tactic or "",
                    "StreamId": 0,
                    "Metadata": "\x1f".join(f"[ONNX Layer: {node}]" for node in layer.onnx_nodes),
                }
                for layer in logged.layers
            ]
        }
    )
    assert layer_inspector.parse(text).layers == logged.layers


def test_bare_names_when_profiling_verbosity_is_not_detailed() -> None:
    report = layer_inspector.parse('{"Layers": ["conv1 + relu1"\n,"fc"\n],\n"Bindings": ["x"\n,"y"\n]}')
    assert [(layer.name, layer.kind, layer.onnx_nodes) for layer in report.layers] == [
        ("conv1 + relu1", "", ()),
        ("fc", "", ()),
    ]
    assert not report.has_dtypes
    assert report.counts == {"unknown": {"unknown": 2}}


def test_raw_control_characters_and_unescaped_quotes_are_read() -> None:
    text = (
        '{"Layers": [{\n  "Name": "norm \'x\' _q__myl0_6",\n  "LayerType": "maxpool",\n  "Inputs": [],\n'
        '  "Outputs": [],\n  "TacticName": "k",\n  "StreamId": 0,\n'
        '  "Metadata": "[ONNX Layer: norm "q"]\x1f[ONNX Layer: back\\slash]\x1f[ONNX Layer: fine \\" escaped]"\n}]}'
    )
    (layer,) = layer_inspector.parse(text).layers
    assert layer.onnx_nodes == ('norm "q"', "back\\slash", 'fine " escaped')


def test_a_weight_count_of_zero_is_no_constant() -> None:
    value = {"Layers": [{"Name": "m", "LayerType": "Gemm", "Weights": {"Type": "Half", "Count": 0}, "Bias": {}}]}
    (layer,) = layer_inspector.parse(json.dumps(value)).layers
    assert layer.constants == ()
    assert layer.dtype is None


def test_an_engine_without_layers_is_an_empty_report() -> None:
    assert layer_inspector.parse('{"Layers": [], "Bindings": []}').layers == ()


@pytest.mark.parametrize("text", ["", "no JSON", "{}", '"text"', '{"Layers": 3}', "[1"])
def test_anything_else_is_an_error_that_quotes_it(text: str) -> None:
    with pytest.raises(PlanError) as caught:
        layer_inspector.parse(text)
    assert repr(text[:60]) in caught.value.message
    assert caught.value.hint


def test_a_real_engine_of_a_gpu_with_convolutions_that_became_matrix_products() -> None:
    """Recorded on an H200: Myelin adds a note behind the name of a 1×1 convolution that it runs as a GEMM."""
    recorded = json.loads((Path(__file__).parents[1] / "data" / "inspector" / "resnet50_fp16_hopper.json").read_text())
    report = layer_inspector.parse(recorded["text"])
    proof = prove([(name, op) for name, op in recorded["nodes"]], report, recorded["asked"])
    assert "layer3.0.conv3" in {name for layer in report.layers if layer.kind == "gemm" for name in layer.onnx_nodes}
    assert proof.unproven == ()
    assert proof.fraction("fp16") == 1.0
    assert len(proof.nodes) >= 4
